"""Handlers that read their connection's stream themselves; and what pipelined requests share."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest
from engine.port import EVERY_SERVER, Port, run, serving
from tornado.iostream import StreamClosedError
from tornado.web import Application, RequestHandler

from leeward._core.config import Config

SERVERS = pytest.mark.parametrize(("engine", "loop"), EVERY_SERVER)
USER = contextvars.ContextVar("USER", default="anonymous")


class Connect(RequestHandler):
    """A proxy's: answers by hand, then hears what comes, line by line."""

    SUPPORTED_METHODS = ("CONNECT", "GET")  # type: ignore[assignment]
    heard: list[bytes]
    closed: asyncio.Event

    async def connect(self) -> None:
        stream: Any = self.request.connection.stream  # type: ignore[union-attr]
        await stream.write(b"HTTP/1.0 200 Connection established\r\n\r\n")
        try:
            while True:
                line = await stream.read_until(b"\n")
                Connect.heard.append(line)
                await stream.write(b"heard " + line)
        except StreamClosedError:
            Connect.closed.set()

    async def get(self) -> None:
        stream: Any = self.request.connection.stream  # type: ignore[union-attr]
        Connect.heard.append(await stream.read_bytes(5))
        self.write("got it")


class Who(RequestHandler):
    def initialize(self) -> None:
        if name := self.get_cookie("u"):
            USER.set(name)

    def get(self) -> None:
        self.write(f"<{USER.get()}>")


def application() -> Application:
    Connect.heard, Connect.closed = [], asyncio.Event()
    return Application([("/who", Who), (".*", Connect)], log_function=lambda _: None)


@SERVERS
@pytest.mark.parametrize("end", ["fin", "reset"])
def test_a_tunnel(engine: str, loop: str, end: str) -> None:
    """Bytes in both directions, those that came with the head too; and its end."""

    async def main() -> None:
        async with serving(application(), Config("", engine=engine)) as port:
            reader, writer = await port.connect()
            writer.write(b"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\nearly\n")
            assert (
                await reader.readuntil(b"\r\n\r\n")
                == b"HTTP/1.0 200 Connection established\r\n\r\n"
            )
            assert await reader.readline() == b"heard early\n"
            for text in (b"one\n", b"x" * 200_000 + b"\n", b"two\n"):
                writer.write(text)
                assert await reader.readexactly(6 + len(text)) == b"heard " + text
            if end == "fin":
                writer.write_eof()
            else:
                writer.transport.abort()
            await Connect.closed.wait()
            writer.close()
        assert [it[:5] for it in Connect.heard] == [b"early", b"one\n", b"xxxxx", b"two\n"]

    run(main(), loop)


@SERVERS
def test_what_it_does_not_read_is_the_next_request(engine: str, loop: str) -> None:
    async def main() -> bytes:
        async with serving(application(), Config("", engine=engine)) as port:
            ask = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
            last = b"GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            return await port.ask(ask + b"12345" + last)

    answer: bytes = run(main(), loop)
    assert Connect.heard == [b"12345"]
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert b"got it" in answer and answer.endswith(b"<anonymous>")


@SERVERS
def test_context_variables_stay_with_their_connection(engine: str, loop: str) -> None:
    """What `initialize` sets is met by nobody else, in pipelined requests either."""

    async def ask(port: Port, cookie: bytes) -> bytes:
        one = b"GET /who HTTP/1.1\r\nHost: x\r\n%s\r\n"
        return await port.ask(2 * (one % cookie) + one % b"Connection: close\r\n")

    async def main() -> tuple[bytes, bytes]:
        async with serving(application(), Config("", engine=engine)) as port:
            return await ask(port, b"Cookie: u=alice\r\n"), await ask(port, b"")

    alices, others = run(main(), loop)
    assert alices.count(b"<alice>") >= 2
    assert others.count(b"<anonymous>") == 3 and b"alice" not in others


class Detached(RequestHandler):
    error: Any

    async def get(self) -> None:
        stream = self.detach()
        try:
            raise OSError("broken")
        except OSError as error:
            stream.close(exc_info=error)  # type: ignore[arg-type]
            Detached.error = stream.error is error and stream.closed()


@SERVERS
def test_a_stream_is_closed_by_an_error(engine: str, loop: str) -> None:
    async def main() -> bytes:
        app = Application([("/", Detached)], log_function=lambda _: None)
        async with serving(app, Config("", engine=engine)) as port:
            return await port.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

    assert run(main(), loop) == b"" and Detached.error is True


class Waits(RequestHandler):
    begun: asyncio.Event
    may_end: asyncio.Event

    async def get(self) -> None:
        Waits.begun.set()
        await Waits.may_end.wait()
        self.write(f"<{len(self.request.headers['X-Ticket'])}>")


@SERVERS
def test_a_long_head_behind_a_request_is_read_to_its_end(engine: str, loop: str) -> None:
    """Longer than what is read ahead of an answer, where that is allowed."""

    async def main() -> bytes:
        Waits.begun, Waits.may_end = asyncio.Event(), asyncio.Event()
        app = Application([("/", Waits)], log_function=lambda _: None)
        config = Config("", engine=engine, max_header=1 << 20)
        async with serving(app, config) as port:
            reader, writer = await port.connect()
            head = b"GET / HTTP/1.1\r\nHost: x\r\nX-Ticket: %s"
            writer.write(head % b"a" + b"\r\n\r\n" + head % (b"b" * 200_000))
            await Waits.begun.wait()
            await writer.drain()
            for _ in range(100):  # until it has read as much as it will
                await asyncio.sleep(0)
            Waits.may_end.set()
            answer = await reader.readuntil(b"<1>")
            writer.write(b"b" * 200_000 + b"\r\nConnection: close\r\n\r\n")
            answer += await reader.read()
            writer.close()
            return answer

    answer: bytes = run(main(), loop)
    assert answer.count(b"HTTP/1.1 200 OK") == 2 and answer.endswith(b"<400000>")
