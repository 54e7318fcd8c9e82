"""A body that is read in pieces ends, and is bounded, as under Tornado's own server."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest
from engine.hall import ask, served
from engine.port import run
from tornado.web import Application, RequestHandler, stream_request_body

SERVERS = ["tornado", "leeward", "leeward plain"]


@stream_request_body
class Stored(RequestHandler):
    """Stores what comes, and each piece takes its time."""

    ends: asyncio.Future[tuple[int, bool]]
    patience: float

    async def prepare(self) -> None:
        self.stored, self.at_work = 0, False
        await asyncio.sleep(self.patience)

    async def data_received(self, chunk: bytes) -> None:
        self.at_work = True
        await asyncio.sleep(0.02)  # what the store takes
        self.stored += len(chunk)
        self.at_work = False

    def on_connection_close(self) -> None:
        super().on_connection_close()
        Stored.ends.set_result((self.stored, self.at_work))

    def put(self) -> None:
        raise AssertionError("half a body is no request")


HALVES = {
    "length": b"Content-Length: 1000000\r\n\r\n",
    "chunked": b"Transfer-Encoding: chunked\r\n\r\nf4240\r\n",
}
SENT = 190_000


@pytest.mark.parametrize("patience", [0, 0.05])
@pytest.mark.parametrize("framing", HALVES)
@pytest.mark.parametrize("by", SERVERS)
def test_a_client_that_leaves_amid_an_upload(by: str, framing: str, patience: float) -> None:
    """All that it sent is stored, and who stores it is told behind that: he may close the file."""
    Stored.patience = patience
    head = b"PUT / HTTP/1.1\r\nHost: x\r\n" + HALVES[framing]

    async def main() -> tuple[int, bool]:
        Stored.ends = asyncio.get_running_loop().create_future()
        app = Application([("/", Stored)], log_function=lambda _: None)
        async with served(app, by) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head + SENT * b"a")
            await writer.drain()
            writer.close()
            return await asyncio.wait_for(Stored.ends, 10)

    stored, at_work = run(main())
    assert not at_work
    # Up to 6.6 Tornado drops what of a chunk is less than a piece.
    assert stored == SENT or (by == "tornado" and framing == "chunked")


@stream_request_body
class Writes(RequestHandler):
    """Is at work on the first of what comes until it is let go on."""

    begun: asyncio.Event
    go_on: asyncio.Event
    ends: asyncio.Future[bool]
    where: str

    async def prepare(self) -> None:
        self.at_work = False
        if Writes.where == "prepare":
            await self._write()

    async def data_received(self, chunk: bytes) -> None:
        await self._write()

    async def _write(self) -> None:
        self.at_work = True
        Writes.begun.set()
        await Writes.go_on.wait()
        self.at_work = False

    def on_connection_close(self) -> None:
        super().on_connection_close()
        Writes.ends.set_result(self.at_work)


class Answers(RequestHandler):
    def get(self) -> None:
        self.write("I am here")


@pytest.mark.parametrize("where", ["prepare", "data_received"])
@pytest.mark.parametrize("framing", HALVES)
@pytest.mark.parametrize("by", SERVERS)
def test_a_client_that_is_reset_amid_an_upload(by: str, framing: str, where: str) -> None:
    """Who is at work on a piece is told behind that, once: he may close what he writes to."""
    Writes.where = where
    head = b"PUT / HTTP/1.1\r\nHost: x\r\n" + HALVES[framing]

    async def main() -> bool:
        Writes.begun, Writes.go_on = asyncio.Event(), asyncio.Event()
        Writes.ends = asyncio.get_running_loop().create_future()
        app = Application([("/", Writes), ("/other", Answers)], log_function=lambda _: None)
        async with served(app, by) as port:
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(head + 1000 * b"a")
                await asyncio.wait_for(Writes.begun.wait(), 10)
                linger = struct.pack("ii", 1, 0)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            # Behind this the loop has seen the reset.
            await ask(port, b"GET /other HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert not Writes.ends.done()
            Writes.go_on.set()
            return await asyncio.wait_for(Writes.ends, 10)

    assert not run(main())


@stream_request_body
class Bounded(RequestHandler):
    """Sets its own limit once it has seen what comes first."""

    first: asyncio.Event

    def prepare(self) -> None:
        self.request.connection.set_max_body_size(8)
        self.came = 0

    def data_received(self, chunk: bytes) -> None:
        self.came += len(chunk)
        self.request.connection.set_max_body_size(int(self.get_argument("limit")))
        Bounded.first.set()

    def put(self) -> None:
        self.write(f"came: {self.came}")


@pytest.mark.parametrize(("limit", "rest"), [(100, b"8\r\nabcdefgh"), (5, b"2\r\nab")])
@pytest.mark.parametrize("by", SERVERS)
def test_a_limit_that_is_set_while_a_chunked_body_comes(by: str, limit: int, rest: bytes) -> None:
    """It counts from the next chunk on."""
    app = Application([("/", Bounded)], log_function=lambda _: None)
    head = b"PUT /?limit=%d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" % limit

    async def main() -> bytes:
        Bounded.first = asyncio.Event()
        async with served(app, by) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head + b"Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n")
            await asyncio.wait_for(Bounded.first.wait(), 10)
            writer.write(rest + b"\r\n0\r\n\r\n")
            answer = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            return answer

    answer = run(main())
    assert answer.endswith(b"came: 12") if limit == 100 else answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("by", SERVERS)
def test_a_chunk_too_large_that_is_announced_behind_another(by: str) -> None:
    """It is refused when it is announced: nobody waits for what nobody takes."""
    Bounded.first = asyncio.Event()
    app = Application([("/", Bounded)], log_function=lambda _: None)
    head = b"PUT /?limit=8 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def main() -> bytes:
        async with served(app, by) as port:
            return await ask(port, head + b"4\r\nabcd\r\nffff\r\n")

    assert run(main()).startswith(b"HTTP/1.1 400 ")
