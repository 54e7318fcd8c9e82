"""A client that is answered while it still sends reads its answer, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority, needs_openssl
from engine.hall import Transport, connection, engine
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler, stream_request_body

from leeward._core.config import Config
from leeward._core.connection import Life
from leeward.engine import linger
from leeward.engine.engine import Engine

MIB = 1024 * 1024


class Counters:
    open = requests = in_flight = 0


@stream_request_body
class Refuses(RequestHandler):
    """Answers 401 as soon as it sees the headers."""

    def prepare(self) -> None:
        self.set_status(401)
        self.finish("who are you?")

    def data_received(self, chunk: bytes) -> None:
        raise AssertionError("it has answered")


class Hello(RequestHandler):
    def get(self) -> None:
        self.write("hello")

    post = get


def loops() -> list[Any]:
    found = [pytest.param(asyncio.new_event_loop, id="asyncio")]
    try:
        import uvloop
    except ImportError:
        return found
    return [*found, pytest.param(uvloop.new_event_loop, id="uvloop")]


@pytest.fixture(params=loops())
def run(request: pytest.FixtureRequest) -> Callable[[Awaitable[Any]], Any]:
    def running(main: Any) -> Any:
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(asyncio.wait_for(main, 40))

    return running


class Served:
    def __init__(self, engine: Engine, address: Any) -> None:
        self.engine, self.address = engine, address

    async def gone(self) -> None:
        """Until the last connection has ended."""
        while self.engine.live:
            self.emptied.clear()
            await self.emptied.wait()

    emptied: asyncio.Event


@contextlib.asynccontextmanager
async def serving(
    tls: ssl.SSLContext | None = None, handlers: Sequence[Any] = (), **arguments: Any
) -> AsyncIterator[Served]:
    app = Application([("/refuses", Refuses), ("/", Hello), *handlers])
    emptied = asyncio.Event()
    engine = Engine(HTTPServer(app, **arguments), Config(""), Counters(), emptied.set, tls)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    loop = asyncio.get_running_loop()
    loop.add_reader(listener.fileno(), lambda: engine.accept(*listener.accept()))
    found = Served(engine, listener.getsockname())
    found.emptied = emptied
    try:
        yield found
    finally:
        loop.remove_reader(listener.fileno())
        listener.close()
        engine.close_rest()
        await found.gone()


UPLOADS = {
    "401": (b"POST /refuses HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", b"401", {}),
    "401 chunked": (
        b"POST /refuses HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n",
        b"401",
        {},
    ),
    "400, too large": (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
        b"400",
        {"max_body_size": 1000},
    ),
    "400, no Host": (b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n", b"400", {}),
    "431": (
        b"POST / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 2000 + b"\r\nContent-Length: %d\r\n\r\n",
        b"431",
        {"max_header_size": 1000},
    ),
}


@pytest.mark.parametrize("name", UPLOADS)
def test_a_megabyte_sent_in_small_pieces(name: str, run: Any) -> None:
    """It sends all of it, looking at nothing, and then reads the whole answer and its end."""
    head, status, arguments = UPLOADS[name]

    async def main() -> None:
        async with serving(**arguments) as served:
            loop = asyncio.get_running_loop()
            with socket.socket() as client:
                client.setblocking(False)
                await loop.sock_connect(client, served.address)
                await loop.sock_sendall(client, head % MIB)
                for _ in range(256):
                    await loop.sock_sendall(client, b"a" * (MIB // 256))
                    await asyncio.sleep(0)
                answer = b""
                while piece := await loop.sock_recv(client, 65536):
                    answer += piece
                assert answer.split(b" ")[1] == status, answer
                if name.startswith("401"):
                    assert answer.endswith(b"who are you?")
            await served.gone()

    run(main())


def test_without_it_the_answer_is_lost(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test above is about: a close at once resets the client that still sends."""
    monkeypatch.setattr("leeward.engine.connection.Connection.sends_on", lambda self: False)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        test_a_megabyte_sent_in_small_pieces("401", run)


def test_requests_behind_the_last_one(run: Any) -> None:
    """Pipelined behind `Connection: close`: not carried out, and no reset for them."""

    async def main() -> None:
        async with serving() as served:
            reader, writer = await asyncio.open_connection(*served.address)
            get = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
            writer.write(get.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + get * 2000)
            answer = await reader.read()
            assert answer.count(b"HTTP/1.1 200") == 1 and answer.endswith(b"hello")
            writer.write(get * 2000)
            await writer.drain()
            writer.close()
            await served.gone()

    run(main())


def test_a_whole_request_is_closed_at_once(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing lingers that has been read to its end."""
    made: list[object] = []
    original = linger.Linger.__init__

    def counting(self: Any, link: Any) -> None:
        made.append(link)
        original(self, link)

    monkeypatch.setattr(linger.Linger, "__init__", counting)

    async def main() -> None:
        async with serving() as served:
            for body in (b"", b"hello"):
                reader, writer = await asyncio.open_connection(*served.address)
                head = (
                    b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
                )
                writer.write(head % len(body) + body)
                assert (await reader.read()).endswith(b"hello")
                await served.gone()
                writer.close()
        assert not made

    run(main())


@stream_request_body
class Ahead(RequestHandler):
    """Answers with more than the kernel takes, before it has seen all of its request."""

    def data_received(self, chunk: bytes) -> None:
        for size in (8 * MIB, 1000):
            self.write(b"x" * size)
            self.flush()
        self.finish()

    def post(self) -> None:
        raise AssertionError("it is no request")


def test_what_waits_to_be_sent_is_sent_before_our_fin(run: Any) -> None:
    """It was dropped: nothing can be written behind `write_eof`."""

    async def main() -> None:
        async with serving(handlers=[("/ahead", Ahead)]) as served:
            reader, writer = await asyncio.open_connection(*served.address)
            writer.write(b"POST /ahead HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            writer.write(b"1\r\na\r\n")
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"zz\r\n")
            answer = await reader.read()
            assert answer.count(b"x") == 8 * MIB + 1000 and answer.endswith(b"\r\n0\r\n\r\n")
            writer.close()
            await served.gone()

    run(main())


async def refused(served: Served) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that has its 400, and whose connection lingers."""
    reader, writer = await asyncio.open_connection(*served.address)
    writer.write(b"POST / HTTP/1.1\r\nContent-Length: 9999999999\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 400")
    (member,) = served.engine.live
    assert member.life is Life.CLOSING
    return reader, writer


async def ends(writer: asyncio.StreamWriter, pause: float) -> None:
    """Send until the server has had enough."""
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        while True:
            writer.write(b"a" * 1000)
            await writer.drain()
            await asyncio.sleep(pause)


def test_silence_is_not_waited_for(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linger, "_SILENCE", 0.2)

    async def main() -> None:
        async with serving() as served:
            _, writer = await refused(served)
            await served.gone()
            writer.close()

    run(main())


def test_one_that_never_stops_has_its_time(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte renews the silence, and none the whole."""
    monkeypatch.setattr(linger, "_LONGEST", 1.0)

    async def main() -> None:
        async with serving() as served:
            _, writer = await refused(served)
            await ends(writer, 0.02)
            await served.gone()

    run(main())


def test_one_that_sends_too_much_has_had_enough(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linger, "_LEAST", 100_000)

    async def main() -> None:
        async with serving(max_body_size=1000) as served:
            _, writer = await refused(served)
            await ends(writer, 0)
            await served.gone()

    run(main())


def test_a_client_that_ends_is_closed(run: Any) -> None:
    """No timer is waited for: 5 s of silence are more than this test has."""

    async def main() -> None:
        async with serving() as served:
            _, writer = await refused(served)
            writer.close()
            async with asyncio.timeout(linger._SILENCE - 1):
                await served.gone()

    run(main())


@pytest.mark.parametrize("reason", ["stop", "reload"])
def test_a_drain_is_not_held_up(run: Any, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drain, before or after, makes the patience short."""
    monkeypatch.setattr(linger, "_SILENCE", 60.0)
    monkeypatch.setattr(linger, "_SHORT", 0.1)

    async def main() -> None:
        async with serving() as served:
            _, before = await refused(served)
            reader, after = await asyncio.open_connection(*served.address)
            after.write(b"POST / HTTP/1.1\r\nContent-Length: 9999999\r\n")
            while served.engine.counters.in_flight != 1:
                await asyncio.sleep(0)
            served.engine.begin_drain(reason, 0.0)
            after.write(b"\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 400")
            await served.gone()
            before.close()
            after.close()

    run(main())


def test_a_handler_hears_of_the_end_at_once(run: Any) -> None:
    """Its request will never be complete: it is not kept waiting for the lingering client."""

    async def main() -> None:
        told: list[str] = []

        @stream_request_body
        class Answers(RequestHandler):
            def prepare(self) -> None:
                self.finish("enough")

            def data_received(self, chunk: bytes) -> None:
                pass

        original = Application.get_handler_delegate

        def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
            delegate = original(self, *args, **kwargs)
            closing = delegate.on_connection_close

            def on_close() -> None:
                told.append("closed")
                closing()

            delegate.on_connection_close = on_close  # type: ignore[method-assign]
            return delegate

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Application, "get_handler_delegate", watched)
            async with serving() as served:
                served.engine._http.request_callback.add_handlers(".*", [("/early", Answers)])
                reader, writer = await asyncio.open_connection(*served.address)
                writer.write(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
                assert (await reader.read()).endswith(b"enough")
                (member,) = served.engine.live
                assert member.life is Life.CLOSING
                while not told:
                    await asyncio.sleep(0)
                writer.close()
                await served.gone()
        assert told == ["closed"]

    run(main())


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_application_that_closes_does_not_wait(run: Any, when: str) -> None:
    """`close_all_connections` waits for each end: those that linger, or would, are cut."""

    async def main() -> None:
        async with serving() as served:
            if when == "after":
                _, writer = await refused(served)
            else:
                _, writer = await asyncio.open_connection(*served.address)
                writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\nabc")
                while not served.engine._in_flight:
                    await asyncio.sleep(0)
            async with asyncio.timeout(linger._SILENCE - 1):
                await served.engine._http.close_all_connections()
                await served.gone()
            writer.close()

    run(main())


@needs_openssl
def test_tls(run: Any, tmp_path: Path) -> None:
    """The client sends to its end and reads the answer; TLS has an end for each direction too."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    Authority(tmp_path / "ca").make(certificate, key)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(certificate, key)
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ours.check_hostname, ours.verify_mode = False, ssl.CERT_NONE

    async def main() -> None:
        async with serving(theirs) as served:
            reader, writer = await asyncio.open_connection(*served.address, ssl=ours)
            writer.write(b"POST /refuses HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % MIB)
            for _ in range(64):
                writer.write(b"a" * (MIB // 64))
                await writer.drain()
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 401") and answer.endswith(b"who are you?")
            writer.close()
            await served.gone()

    run(main())


def test_who_was_reset_meanwhile_is_no_error(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncio's `write_eof` raises ENOTCONN then, in whatever the application calls."""

    def reset(self: Transport) -> None:
        raise OSError(107, "Transport endpoint is not connected")

    monkeypatch.setattr(Transport, "write_eof", reset)

    async def main() -> None:
        member, transport = connection(engine(Application()))
        linger.Linger(member)
        transport.protocol.connection_lost(None)

    run(main())
