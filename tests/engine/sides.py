"""Sides of a comparison: each is given octets, cut into pieces, and says what it read.

A side is a callable `(pieces) -> Verdict`.  `Ours` runs the parser alone,
`Simulated` runs Tornado's own HTTP1ServerConnection over a stream that is only
simulated (fast enough for 100,000 inputs), `Connected` a real server in this
process over a socket pair.  They answer alike: any can be compared with any.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

from tornado import httputil
from tornado.http1connection import HTTP1ConnectionParameters, HTTP1ServerConnection
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream, StreamClosedError, UnsatisfiableReadError

from leeward.engine import body as engine_body
from leeward.engine import head as engine_head

#: Octets that a body may have, on every side.
MAX_BODY = 1000
#: Octets that a head may have, as Tornado has it by default.
MAX_HEAD = 65536


class Request(NamedTuple):
    """One request as the application would get it."""

    method: str
    target: str
    version: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    #: Whether `100 Continue` was sent.
    expected: bool


class Verdict(NamedTuple):
    """What was read, and how it ended.

    `end`: "idle" (all was read, the connection is open), "incomplete" (more must
    come), "closed" (after an answer) or "refused".  `rule` names the refusal, where
    the side can say so.
    """

    requests: tuple[Request, ...]
    end: str
    rule: str = ""


Side = Callable[[Sequence[bytes]], Verdict]


# --- ours -------------------------------------------------------------------------------


class Ours:
    """The engine's parser, with other modules in its place when they are given."""

    def __init__(
        self, head: Any = engine_head, body: Any = engine_body, *, cached: bool = True
    ) -> None:
        self._head, self._body = head, body
        sizes = {} if cached else {"cache": 0}
        self.parser = head.Parser(max_body_size=MAX_BODY, **sizes)

    def __call__(self, pieces: Sequence[bytes]) -> Verdict:
        reader = _Reader(self._head, self._body, self.parser)
        try:
            for piece in pieces:
                reader.feed(piece)
        except Exception as error:
            # By its name: mutated modules have classes of their own.
            if type(error).__name__ != "BadRequest":
                raise
            return Verdict(tuple(reader.requests), "refused", error.rule)  # type: ignore[attr-defined]
        if reader.closed:
            return Verdict(tuple(reader.requests), "closed")
        waits = reader.current is not None or reader.buffer
        return Verdict(tuple(reader.requests), "incomplete" if waits else "idle")


class _Reader:
    """One connection, without a server: what a protocol does with the parser."""

    def __init__(self, head: Any, body: Any, parser: Any) -> None:
        self._head, self._body, self._parser = head, body, parser
        self.buffer = bytearray()
        self.requests: list[Request] = []
        self.current: Any = None
        self.closed = False
        self._data: list[bytes] = []
        self._chunked: Any = None
        self._searched = 0

    def feed(self, piece: bytes) -> None:
        self.buffer += piece
        while not self.closed and self._step():
            pass

    def _step(self) -> bool:
        """Read one head or some of a body; False when more must come."""
        if self.current is None:
            return self._read_head()
        if self._chunked is not None:
            # Small pieces: what the application cannot take yet must stay.
            with memoryview(self.buffer) as view:
                data, used = self._chunked.feed(view, 7)
            self._data += data
            del self.buffer[:used]
            if not self._chunked.done:
                return bool(used)
        else:
            if len(self.buffer) < self.current.length:
                return False
            self._data.append(bytes(self.buffer[: self.current.length]))
            del self.buffer[: self.current.length]
        self._finish()
        return True

    def _read_head(self) -> bool:
        found = self._head.find_head(self.buffer, max(self._searched - 3, 0))
        self._searched = len(self.buffer)
        if (found[1] if found else len(self.buffer)) > MAX_HEAD:
            raise engine_head.BadRequest("head-too-large", "head too large")
        if found is None:
            return False
        raw = bytes(self.buffer[: found[0]])
        del self.buffer[: found[1]]
        self._searched = 0
        self.current = self._parser.parse(raw)
        if self.current.length < 0:
            self._chunked = self._body.Chunked(MAX_BODY)
        return True

    def _finish(self) -> None:
        head = self.current
        self.requests.append(
            Request(
                head.method,
                head.target,
                head.version,
                tuple(head.headers().get_all()),
                b"".join(self._data),
                head.expect,
            )
        )
        self.closed = not head.keep_alive
        self.current, self._chunked, self._data = None, None, []


# --- Tornado's delegate, for whatever speaks to one ---------------------------------------


class Recorder(httputil.HTTPServerConnectionDelegate, httputil.HTTPMessageDelegate):
    """Takes what a Tornado server reads from one connection; answers each request at once."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        #: How many requests there had been when the connection was closed, if it was.
        self.closed_after = 0
        self.in_body = False

    def start_request(self, server_conn: object, request_conn: Any) -> httputil.HTTPMessageDelegate:
        self._connection = request_conn
        self._chunks: list[bytes] = []
        return self

    def headers_received(self, start_line: Any, headers: httputil.HTTPHeaders) -> None:
        # Where Tornado looks at Host.
        httputil.HTTPServerRequest(
            connection=self._connection, start_line=start_line, headers=headers
        )
        self._start_line, self._headers = start_line, headers
        self.in_body = True

    def data_received(self, chunk: bytes) -> None:
        self._chunks.append(chunk)

    def finish(self) -> None:
        self.in_body = False
        fields = tuple(self._headers.get_all())
        self.requests.append(Request(*self._start_line, fields, b"".join(self._chunks), False))
        line = httputil.ResponseStartLine("", 204, "No Content")
        self._connection.write_headers(line, httputil.HTTPHeaders())
        self._connection.finish()
        if not self.closed_after and self._connection.stream.closed():
            self.closed_after = len(self.requests)

    def on_connection_close(self) -> None:
        pass

    def verdict(self, answers: bytes, end: str) -> Verdict:
        """With what the client got, and how it ended; what was not answered is left out."""
        found = re.findall(rb"((?:HTTP/1.1 100[^\r]*\r\n\r\n)*)HTTP/1.1 204", answers)
        pairs = zip(self.requests, found, strict=False)
        requests = tuple(it._replace(expected=bool(expected)) for it, expected in pairs)
        return Verdict(requests, end, "after-close" if len(found) < len(self.requests) else "")


# --- Tornado over a simulated stream ----------------------------------------------------


class _Stream:
    """What HTTP1Connection uses of an IOStream; reads end as if the peer sent no more."""

    max_buffer_size = MAX_BODY
    socket = None

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.written: list[bytes] = []
        self.starved = False
        self.heads: list[tuple[int, int]] = []
        self._closed = False
        self._done: asyncio.Future[None] = asyncio.Future()
        self._done.set_result(None)

    async def read_until_regex(self, regex: bytes, max_bytes: int) -> bytes:
        found, start = re.compile(regex).search(self.data, self.at), self.at
        head = self._take(found.end() if found else None, max_bytes)
        self.heads.append((start, self.at))
        return head

    async def read_until(self, delimiter: bytes, max_bytes: int) -> bytes:
        found = self.data.find(delimiter, self.at)
        return self._take(found + len(delimiter) if found >= 0 else None, max_bytes)

    async def read_bytes(self, count: int, partial: bool = False) -> bytes:
        there = len(self.data) - self.at
        if partial and there:
            count = min(count, there)
        return self._take(self.at + count if there >= count else None, count)

    def _take(self, end: int | None, most: int) -> bytes:
        if (len(self.data) if end is None else end) - self.at > most:
            raise UnsatisfiableReadError
        if end is None:
            self.starved = True
            raise StreamClosedError
        data = self.data[self.at : end]
        self.at = end
        return data

    def write(self, data: bytes) -> asyncio.Future[None]:
        if self._closed:
            raise StreamClosedError
        self.written.append(bytes(data))
        return self._done

    def close(self, exc_info: object = None) -> None:
        self._closed = True

    def closed(self) -> bool:
        return self._closed

    def set_close_callback(self, callback: object) -> None:
        pass

    def set_nodelay(self, value: bool) -> None:
        pass


_LOGGERS = ("tornado.general", "tornado.application")


def quiet() -> None:
    """No log line for each refusal: there are 100,000 of them."""
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def loud() -> None:
    """As it was before `quiet`."""
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.NOTSET)


class Simulated:
    """Tornado's own connection, run to its end without a loop that turns.

    A loop has to be set all the same, as Tornado makes futures.
    """

    def __init__(self) -> None:
        self._params = HTTP1ConnectionParameters(max_body_size=MAX_BODY)
        self._loop = asyncio.new_event_loop()
        #: Of the last call: where each head that was read begins and ends.
        self.heads: list[tuple[int, int]] = []

    def close(self) -> None:
        self._loop.close()

    def __call__(self, pieces: Sequence[bytes]) -> Verdict:
        asyncio.set_event_loop(self._loop)
        stream, recorder = _Stream(b"".join(pieces)), Recorder()
        connection = HTTP1ServerConnection(stream, self._params, _NO_CONTEXT)  # type: ignore[arg-type]
        serving = connection._server_request_loop(recorder)
        try:
            while True:
                serving.send(None)
        except StopIteration:
            pass
        self.heads = stream.heads
        end = "refused"
        if recorder.closed_after:
            end = "closed"
        elif stream.starved:
            waits = recorder.in_body or stream.at < len(stream.data)
            end = "incomplete" if waits else "idle"
        return recorder.verdict(b"".join(stream.written), end)


_NO_CONTEXT = SimpleNamespace(remote_ip="127.0.0.1", protocol="http")


# --- a real server over a socket pair ---------------------------------------------------

#: Puts a server on a connected socket that answers by the delegate; returns how to end it.
Serve = Callable[[socket.socket, httputil.HTTPServerConnectionDelegate], Callable[[], object]]


def tornado_serve(
    sock: socket.socket, delegate: httputil.HTTPServerConnectionDelegate
) -> Callable[[], object]:
    """Tornado's HTTPServer on a socket."""
    server = HTTPServer(delegate, max_body_size=MAX_BODY)  # type: ignore[arg-type]
    stream = IOStream(sock)
    server.handle_stream(stream, ("127.0.0.1", 1))
    return stream.close


class Connected:
    """A server in this process; it is asked in a loop that is run for each input.

    What cannot be seen from outside: whether the server waits for more of a request
    (the end is "open"), and why it closed when it sent no 400 ("gone").
    """

    #: Turns of the loop without an octet until nothing more is expected.
    TURNS = 30

    def __init__(self, serve: Serve) -> None:
        self._serve = serve

    def __call__(self, pieces: Sequence[bytes]) -> Verdict:
        return asyncio.run(self._converse(pieces))

    async def _converse(self, pieces: Sequence[bytes]) -> Verdict:
        recorder, answers, eof = Recorder(), bytearray(), False
        mine, theirs = socket.socketpair()
        with mine:
            mine.setblocking(False)
            end = self._serve(theirs, recorder)
            for piece in (*pieces, b""):
                if eof:
                    break  # a server may go on reading, to be rid of it
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    mine.sendall(piece)  # inputs are smaller than the socket's buffer
                still = 0
                while still < self.TURNS and not eof:
                    await asyncio.sleep(0)
                    still += 1
                    with contextlib.suppress(BlockingIOError, ConnectionResetError):
                        got = mine.recv(65536)
                        answers += got
                        eof, still = not got, 0
        end()
        for _ in range(self.TURNS):  # what waits for the socket ends
            await asyncio.sleep(0)
        refused = re.search(rb"HTTP/1.1 4\d\d [^\r]*\r\n", answers)
        return recorder.verdict(
            bytes(answers), "open" if not eof else "refused" if refused else "gone"
        )


def same(one: Verdict, other: Verdict) -> bool:
    """Whether two verdicts agree, as far as both can tell."""
    if one.requests != other.requests:
        return False
    ends = {one.end, other.end}
    return (
        len(ends) == 1
        or ("open" in ends and bool(ends & {"idle", "incomplete"}))
        or ("gone" in ends and bool(ends & {"closed", "refused"}))
    )
