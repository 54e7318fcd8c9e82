"""What an application does wrong, or rarely, ends as it ends under Tornado's own server."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable
from typing import Any

import pytest
from engine.hall import ask, served
from engine.port import run
from tornado.httputil import HTTPOutputError
from tornado.iostream import StreamClosedError
from tornado.web import Application, RequestHandler, stream_request_body
from tornado.websocket import WebSocketHandler

SERVERS = ["tornado", "leeward", "leeward plain"]
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADE = (
    b"GET /socket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: %b\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def frame(text: bytes) -> bytes:
    return struct.pack("!BB4x", 0x81, 0x80 | len(text)) + text  # masked by nothing


class Heard(RequestHandler):
    """Notes which of the last methods are called."""

    heard: list[str]

    def on_finish(self) -> None:
        Heard.heard.append("finished")


# --- Content-Length and body disagree -----------------------------------------------------------


class Disagreeing(Heard):
    async def get(self) -> None:
        self.set_header("Content-Length", "4")
        if self.get_argument("flush", ""):
            self.write("ab")
            await self.flush()
        self.write(self.get_argument("body"))


@pytest.mark.parametrize(
    "body", ["short=&body=x", "body=longer", "flush=1&body=x", "flush=1&body=xyz"]
)
@pytest.mark.parametrize("by", SERVERS)
def test_another_length_than_was_said(by: str, body: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is cut, and the request's life ends with its line in the log and `on_finish`."""
    Heard.heard = []
    app = Application([("/", Disagreeing)])

    async def main() -> bytes:
        async with served(app, by) as port:
            with caplog.at_level(logging.INFO):
                return await ask(port, GET.replace(b"/", b"/?" + body.encode(), 1))

    answer = run(main())
    assert not answer.endswith(b"xyz")
    assert Heard.heard == ["finished"]
    lines = [it.getMessage() for it in caplog.records]
    assert sum(it.startswith("200 GET /?") for it in lines) == 1
    assert "Failed to flush partial response" not in lines


class WritingOn(Heard):
    """Has answered, and writes to the connection itself."""

    said: list[str]

    async def get(self) -> None:
        connection: Any = self.request.connection
        if self.get_argument("flush", ""):
            await self.flush()
        await self.finish("x")
        await asyncio.sleep(0)
        try:
            connection.write(b"HTTP/1.1 200 OK\r\n\r\n")
        except HTTPOutputError:
            WritingOn.said.append("refused")
        except Exception as error:  # Tornado's stream is closed
            WritingOn.said.append(type(error).__name__)


@pytest.mark.parametrize("flush", ["", "flush=1"])
@pytest.mark.parametrize("by", SERVERS)
def test_nothing_is_sent_behind_an_answer(by: str, flush: str) -> None:
    """Behind a proxy that shares connections it was the next client's answer.

    Tornado refuses it where Content-Length has told the answer's length, and there alone.
    """
    Heard.heard, WritingOn.said = [], []
    app = Application([("/", WritingOn)], log_function=lambda _: None)

    async def main() -> bytes:
        async with served(app, by) as port:
            return await ask(port, GET.replace(b"/", b"/?" + flush.encode(), 1))

    if by == "tornado" and flush:
        pytest.skip("sends it")
    answer = run(main())
    assert answer.count(b"HTTP/1.1") == 1 and answer.endswith(
        (b"\r\n\r\nx", b"1\r\nx\r\n0\r\n\r\n")
    )
    assert WritingOn.said == ["refused"]


# --- a stream that was taken --------------------------------------------------------------------


class Taking(RequestHandler):
    """Forgets that it is to answer no more."""

    async def get(self) -> None:
        connection: Any = self.request.connection
        stream = connection.detach()
        wanted = self.get_argument("then", "")
        if wanted == "write":
            self.write("x")
        elif wanted == "raise":
            raise ZeroDivisionError
        elif wanted == "close":
            connection.close()
        asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(self.say(stream)))

    async def say(self, stream: Any) -> None:
        await stream.write(b"raw")
        stream.close()

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        connection: Any = self.request.connection
        assert connection.stream is None
        super().write_error(status_code, **kwargs)


@pytest.mark.parametrize("then", ["", "write", "close"])
@pytest.mark.parametrize("by", SERVERS)
def test_nothing_of_http_is_sent_on_a_detached_stream(by: str, then: str) -> None:
    app = Application([("/", Taking)], log_function=lambda _: None)

    async def main() -> bytes:
        async with served(app, by) as port:
            return await ask(port, GET.replace(b"/", b"/?then=" + then.encode(), 1))

    assert run(main()) == b"raw"


@stream_request_body
class TakingMidway(RequestHandler):
    """Has seen enough of the body: the rest is its own to read."""

    came = 0

    def data_received(self, chunk: bytes) -> None:
        connection: Any = self.request.connection
        self.came += len(chunk)
        # The first read is 64 KiB, as the first window; only behind it one is more than a piece.
        if self.came > 65536 and connection.stream is not None:
            stream = connection.detach()
            asyncio.get_running_loop().call_soon(
                lambda: asyncio.ensure_future(self.say(stream, self.came))
            )

    async def say(self, stream: Any, came: int) -> None:
        rest = await stream.read_bytes(LONG - came)
        await stream.write(b"%d" % (came + rest.count(b"y")))
        stream.close()


LONG = 300_000


@pytest.mark.parametrize("coding", ["fixed", "chunked"])
@pytest.mark.parametrize("by", ["leeward", "leeward plain"])
def test_what_a_handler_has_not_read_of_a_body_is_the_streams(by: str, coding: str) -> None:
    """Of one read of the transport a part has been delivered: not an octet is lost."""
    app = Application([("/", TakingMidway)], log_function=lambda _: None)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
    if coding == "fixed":
        head, size = head + b"Content-Length: 400000\r\n\r\n", b""
    else:
        head, size = head + b"Transfer-Encoding: chunked\r\n\r\n", b"61a80\r\n"

    async def main() -> bytes:
        async with served(app, by) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head)
            await reader.readuntil(b"\r\n\r\n")
            writer.write(size + b"y" * LONG)
            said = await reader.read()
            writer.close()
            return said

    assert run(main()) == b"%d" % LONG


class Reading(RequestHandler):
    outcome: asyncio.Future[str]

    async def get(self) -> None:
        stream = self.detach()
        await stream.write(b"go")
        try:
            if self.get_argument("late", ""):
                await stream.read_bytes(2)  # of three, and FIN is behind them
            else:
                await stream.read_until(b"\n", max_bytes=2)
            await stream.read_until(b"\n")
        except StreamClosedError as error:
            Reading.outcome.set_result(str(error.real_error))
        stream.close()


async def read(by: str, path: bytes) -> str:
    Reading.outcome = asyncio.get_running_loop().create_future()
    async with served(Application([("/", Reading)]), by) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET.replace(b"/", path, 1))
        await reader.readexactly(2)
        writer.write(b"abc")
        writer.write_eof()
        async with asyncio.timeout(10):
            found = await Reading.outcome
            await reader.read()
        writer.close()
        return found


@pytest.mark.parametrize("by", SERVERS)
def test_a_read_behind_the_end(by: str) -> None:
    """What came before it is read; who wants more is told, and does not wait for ever."""
    assert run(read(by, b"/?late=1")) == "None"


@pytest.mark.parametrize("by", SERVERS)
def test_a_read_that_cannot_be_satisfied(by: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tornado.general"):
        assert run(read(by, b"/")) == r"delimiter b'\n' not found within 2 bytes"
    text = r"Unsatisfiable read, closing connection: delimiter b'\n' not found within 2 bytes"
    assert [it.getMessage() for it in caplog.records] == [text]


class Watching(Heard):
    """Learns of its client's end by the stream, as programs did before Tornado 5."""

    began: asyncio.Event

    async def get(self) -> None:
        connection: Any = self.request.connection
        gone = asyncio.Event()
        connection.stream.set_close_callback(lambda: (Heard.heard.append("gone"), gone.set()))
        if self.get_argument("wait", ""):
            Watching.began.set()
            await gone.wait()
        self.write("x")


@pytest.mark.parametrize("by", SERVERS)
def test_a_close_callback_of_the_stream(by: str) -> None:
    """It is called if the client leaves amid the request, and not when it was answered."""
    Heard.heard = []
    app = Application([("/", Watching)], log_function=lambda _: None)

    async def main() -> None:
        Watching.began = asyncio.Event()
        async with served(app, by) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(GET)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            writer.close()
            await writer.wait_closed()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(GET.replace(b"/", b"/?wait=1", 1))
            await Watching.began.wait()
            writer.write_eof()
            await asyncio.wait_for(reader.read(), 10)
            writer.close()

    run(main())
    assert Heard.heard == ["finished", "gone", "finished"]


# --- WebSockets ---------------------------------------------------------------------------------


class Echo(WebSocketHandler):
    goes_on: asyncio.Event
    closed: asyncio.Future[None]

    async def on_message(self, message: str | bytes) -> None:
        await Echo.goes_on.wait()
        await self.write_message(message)

    def on_close(self) -> None:
        Echo.closed.set_result(None)


async def converse(by: str, request: bytes, talk: Callable[..., Any]) -> bytes:
    Echo.goes_on, Echo.closed = asyncio.Event(), asyncio.get_running_loop().create_future()
    app = Application([("/socket", Echo)], log_function=lambda _: None)
    async with served(app, by) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        async with asyncio.timeout(10):
            await talk(reader, writer)
            answer = await reader.read()
            await Echo.closed
        writer.close()
        return answer


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("by", SERVERS)
def test_a_websocket_whose_client_has_said_fin(by: str, loop: str) -> None:
    """The messages that came are answered, the one at work too, and `on_close` follows."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(frame(b"one") + frame(b"two"))
        writer.write_eof()
        for _ in range(10):  # turns of the loop: it comes while the first is at work
            await asyncio.sleep(0.001)
        Echo.goes_on.set()

    assert run(converse(by, UPGRADE % b"Upgrade", talk), loop) == b"\x81\x03one\x81\x03two"


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("by", SERVERS)
def test_a_websocket_whose_client_says_all_at_once(by: str, loop: str) -> None:

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(b"one"))
        writer.write_eof()
        Echo.goes_on.set()

    answer = run(converse(by, UPGRADE % b"Upgrade", talk), loop)
    assert answer.startswith(b"HTTP/1.1 101 ") and answer.endswith(b"\r\n\r\n\x81\x03one")


@pytest.mark.parametrize("by", SERVERS)
def test_a_handshake_that_says_close_as_well(by: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        Echo.goes_on.set()
        writer.write(frame(b"one"))
        assert await reader.readexactly(5) == b"\x81\x03one"
        writer.write_eof()

    assert run(converse(by, UPGRADE % b"Upgrade, close", talk)) == b""
