"""One request and its answer, as Tornado's handlers see it: `request.connection`.

Does what `tornado.http1connection.HTTP1Connection` does on the server's side.  An
answer is as a rule one `transport.write`: headers and body in one piece.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tornado.httputil import HTTPConnection, HTTPOutputError, ResponseStartLine
from tornado.web import RequestHandler
from tornado.websocket import WebSocketHandler

from leeward._core.farewell import is_endless
from leeward.engine import layout
from leeward.engine.answers import head_of
from leeward.engine.frames import guard

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tornado.httputil import HTTPHeaders, RequestStartLine

    from leeward.engine.connection import Connection
    from leeward.engine.head import Head
    from leeward.engine.stream import TransportStream
    from leeward.engine.taking import Taking
    from leeward.limits import Deadlines

#: A body above this is sent behind its head, and not copied to it.
_APART = 256 * 1024


class Exchange(HTTPConnection):
    """head:  of the request, parsed and found to be right."""

    is_client = False
    # Set on the few exchanges that need them: an instance has what it uses.
    _close_callback: Callable[[], None] | None = None
    _websocket: WebSocketHandler | None = None
    #: What runs the handler, if it waits for something.
    task: asyncio.Future[Any] | None = None
    #: What the application does with a part of the request, if it takes its time for that.
    taking: Taking | None = None
    _chunking = False
    #: Is the answer a stream of events?
    endless = False
    _left: int | None = None  # bytes of the answer's body that Content-Length still promises
    _detached = False
    #: Octets of the answer's body, but for those that Content-Length told of at once (`answer`).
    body_sent = 0
    #: Has the application given its whole answer?  Has the whole request been read?
    write_finished = False
    read_finished = False
    #: Have its status line and headers been sent?
    begun = False
    #: Did they say 101?  Whoever takes the stream then is told of a stop itself.
    switched = False
    #: Its client, if it counts (`leeward.engine.spokesmen`).
    counts_as = ""
    #: What its handler's class says (`leeward.deadlines`).
    own: Deadlines | None = None
    max_body_size = 0
    body_timeout: float | None = None

    def __init__(self, connection: Connection, head: Head) -> None:
        self.connection = connection
        self.head = head
        self.disconnect = not head.keep_alive

    # --- what applications look at ---------------------------------------------------------------

    @property
    def context(self) -> Any:
        return self.connection.context

    @property
    def params(self) -> Any:
        return self.connection.params

    @property
    def stream(self) -> TransportStream | None:
        """The stream under us, None once it has been detached."""
        return None if self._detached else self.connection.stream

    @property
    def no_keep_alive(self) -> bool:
        return self.disconnect

    @no_keep_alive.setter
    def no_keep_alive(self, value: bool) -> None:
        self.disconnect = value or not self.head.keep_alive

    @property
    def handler(self) -> RequestHandler | None:
        """The handler that owes the answer, None once it has given it."""
        owner = getattr(self._close_callback, "__self__", None)
        return owner if isinstance(owner, RequestHandler) else None

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Have `callback` called if the client leaves before it has its answer."""
        self._close_callback = callback
        if self.head.upgrade and callback is not None:
            # Each handler gives its `on_connection_close`, and takes it back when it has
            # answered: for a WebSocket that is before it takes the stream.
            owner = getattr(callback, "__self__", None)
            if isinstance(owner, WebSocketHandler):
                self._websocket = owner

    def set_body_timeout(self, timeout: float) -> None:
        """Seconds in which all of this request's body must have come."""
        self.body_timeout = timeout

    def set_max_body_size(self, max_body_size: int) -> None:
        """Bytes that this request's body may have."""
        self.max_body_size = max_body_size

    def detach(self) -> TransportStream:
        """HTTP is over: hand the stream to the application."""
        connection = self.connection
        stream = connection.stream
        if self._websocket is not None:
            stream.guard = guard(self._websocket)
        connection.detach(self)
        self._detached = True
        self._close_callback = None
        # Not asked for each answer: what is the application's own would be sent among ours.
        vars(self).update(dict.fromkeys(_HTTP, _http_is_over))
        return stream

    def close(self) -> None:
        self._close_callback = None
        if not self._detached:
            self.connection.close()

    # --- the answer ------------------------------------------------------------------------------

    def write_headers(
        self,
        start_line: RequestStartLine | ResponseStartLine,
        headers: HTTPHeaders,
        chunk: bytes | None = None,
    ) -> asyncio.Future[None]:
        """Send the status line and `headers`, and `chunk` right behind them.

        Raises ValueError for a line break in a header, `HTTPOutputError` for more body
        than Content-Length says.
        """
        head = self.head
        code: int = start_line[1]  # type: ignore[assignment]
        modern = head.version == "HTTP/1.1"
        bodiless = head.method == "HEAD" or code in (204, 304) or 100 <= code < 200
        sized = "Content-Length" in layout.lists(headers)
        if modern:
            self._chunking = not (bodiless or sized)
            if self._chunking:
                headers["Transfer-Encoding"] = "chunked"
        elif not (bodiless or sized):
            self.disconnect = True  # an HTTP/1.0 client sees the end of this body by ours
        if not (bodiless or sized) and is_endless(headers.get("Content-Type", "")):
            self.endless = True
            if self.connection.server.draining:
                self.connection.server.upgraded_in_drain(self.connection)
        if code >= 200:  # a 101 must say "Connection: Upgrade"
            self.begun = True
            if self.connection.server.draining:
                self.disconnect = True
            if self.disconnect:
                if modern or head.keep_alive:
                    headers["Connection"] = "close"
            elif not modern:
                headers["Connection"] = "Keep-Alive"
        elif code == 101:
            self.switched = True
            if self._websocket is not None:
                self.disconnect = False  # by `Connection: Upgrade, close`: HTTP is over anyway
        fields = layout.lists(headers)
        if head.method == "HEAD" or code == 304:
            self._left = 0
        elif sized:
            self._left = _length(headers["Content-Length"])
        else:
            self._left = None
        data = head_of(code, start_line[2], fields)
        if chunk:
            chunk = self._framed(chunk)
            if len(chunk) > _APART:
                self.connection.send(data)
                return self.connection.send(chunk)
            data += chunk
        return self.connection.send(data)

    def answer(
        self, code: int, reason: str, headers: HTTPHeaders, body: bytes, made: bytes | None = None
    ) -> asyncio.Future[None]:
        """`write_headers` and `finish` in one: `headers` have the length of `body`.

        code:     one whose answer has a body; the request's method is not HEAD.
        headers:  HTTPHeaders and no subclass, whose layout is known.
        made:     what `head_of` makes of the first three, where that is known.
        """
        connection, head = self.connection, self.head
        if head.version != "HTTP/1.1" or self.disconnect or connection.server.draining:
            future = self.write_headers(ResponseStartLine("", code, reason), headers, body)
            self.finish()
            return future
        try:
            data = made or head_of(code, reason, headers._as_list)
        except ValueError:
            self._left = len(
                body
            )  # owed still: or the second `finish` would pass, with nothing said
            raise
        if len(body) > _APART:
            connection.send(data)
            data = body
        else:
            data += body
        future = connection.send(data)
        self.write_finished = True
        self._close_callback = None
        connection.answered(self)
        return future

    def write(self, chunk: bytes) -> asyncio.Future[None]:
        """Send a piece of the answer's body.  The future is done when it has left us."""
        if self.connection.is_over:
            return self.connection.send(b"")
        if chunk and self.write_finished:
            # The client would take it for the beginning of the next answer.
            if not self.disconnect:
                self.connection.cut()
            raise HTTPOutputError("Tried to write behind the end of the answer")
        return self.connection.send(self._framed(chunk))

    def finish(self) -> None:
        """The answer is complete.  Raises `HTTPOutputError` if Content-Length said more."""
        connection = self.connection
        if self._left and not connection.is_over:
            connection.cut()
            raise HTTPOutputError(f"Tried to write {self._left} bytes less than Content-Length")
        self.write_finished = True  # also of what waits for the client (`Link.answer_is_complete`)
        if self._chunking and not connection.lost:
            connection.send(b"0\r\n\r\n")
        self._close_callback = None
        connection.answered(self)

    def _framed(self, chunk: bytes) -> bytes:
        self.body_sent += len(chunk)
        if self._left is not None:
            self._left -= len(chunk)
            if self._left < 0:
                # Now, before the client takes the rest for the next answer.
                self.connection.cut()
                raise HTTPOutputError("Tried to write more data than Content-Length")
        if self._chunking and chunk:  # an empty one would be the end
            return b"%x\r\n%b\r\n" % (len(chunk), chunk)
        return chunk

    @property
    def framing(self) -> str:
        """How the client learns where the answer's body ends."""
        return "chunks" if self._chunking else "close" if self._left is None else "length"

    # --- the client leaves -----------------------------------------------------------------------

    def client_left(self) -> Callable[[], None] | None:
        """Who wants to know it, once."""
        if self._websocket is not None and not self.connection.lost:
            return None  # it has said FIN: a WebSocket begins all the same, and sees it in reading
        callback, self._close_callback = self._close_callback, None
        return callback


#: What has no meaning once the stream was detached.
_HTTP = ("write_headers", "answer", "write", "finish")


def _http_is_over(*args: object, **kwargs: object) -> None:
    """As in Tornado, where the stream that these need is None by then."""
    raise AttributeError("HTTP is over on this connection: its stream was detached")


def _length(value: str) -> int:
    if not (value.isdigit() and value.isascii()):
        raise ValueError(f"not an integer: {value!r}")
    return int(value)
