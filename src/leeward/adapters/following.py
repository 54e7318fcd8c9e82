"""Has an HTTPServer tell each connection which request it is at, and answers for its health.

The methods of the one server object are wrapped: a program's own HTTPServer keeps its
class, its arguments and its overrides.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

from tornado.httputil import HTTPMessageDelegate, RequestStartLine

from leeward._core.connection import Life
from leeward.adapters.parting import handler_of
from leeward.engine import forwarded, health, overload
from leeward.engine.declared import declared
from leeward.engine.interrupt import interrupt
from leeward.engine.taking import end_body
from leeward.engine.unanswered import is_to_end
from leeward.limits import DECLARED, Deadlines

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tornado.httpserver import HTTPServer
    from tornado.httputil import HTTPConnection, HTTPHeaders, ResponseStartLine
    from tornado.web import RequestHandler

    from leeward.adapters.connection import Connection
    from leeward.engine.interrupt import Threads


def follow(http: HTTPServer) -> None:
    """Have `http` tell the `Connection` of each of our streams where it stands."""
    start_request, on_close = http.start_request, http.on_close

    def starting(server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        connection = _connection(server_conn)
        if connection is None:
            return start_request(server_conn, request_conn)
        connection.awaits_request(request_conn)  # type: ignore[arg-type]
        if DECLARED:
            connection.own.waits(request_conn)  # type: ignore[arg-type]
        if connection.life is Life.CLOSED:
            return HTTPMessageDelegate()  # reading will tell Tornado
        context: Any = request_conn.context  # type: ignore[attr-defined]
        _put(connection, context)
        inner = start_request(server_conn, request_conn)
        told = connection.server.forwarding
        if told is not None and told.believes(context):
            inner = forwarded.Forwarded(inner, context, told, connection)
        return _Request(connection, request_conn, inner)

    def closing(server_conn: object) -> None:
        on_close(server_conn)
        if (connection := _connection(server_conn)) is not None:
            connection.serving_ended()

    http.start_request = starting  # type: ignore[method-assign]
    http.on_close = closing  # type: ignore[method-assign]


def _put(connection: Connection, context: Any) -> None:
    """Have the request's context say where the client is, as a proxy has told it."""
    place = connection.place
    if place is not None and context.address is not place.address:
        inet = place.family != socket.AF_UNIX
        context.address_family, context.address = place
        context.remote_ip = context._orig_remote_ip = place.address[0] if inet else "0.0.0.0"
    connection.client = connection.client or context.remote_ip


def _connection(server_conn: Any) -> Connection | None:
    """None for a stream that a program made itself."""
    return getattr(server_conn.stream, "life", None)


class _Request(HTTPMessageDelegate):
    """Passes everything on; tells the connection when the headers are complete."""

    __slots__ = ("conn", "connection", "handler", "inner", "own")

    def __init__(
        self, connection: Connection, conn: HTTPConnection, inner: HTTPMessageDelegate
    ) -> None:
        self.connection = connection
        self.conn = conn
        self.inner = inner
        self.own: Deadlines | None = None
        self.handler: RequestHandler | None = None  # one that reads its body as it comes

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        assert isinstance(start_line, RequestStartLine)  # a server gets no other
        self.connection.request_received(start_line, headers)
        server = self.connection.server
        if server.health_path and health.asked(server.health_path, start_line):
            self.inner = health.Health(self.conn, start_line.method, server.serves)
        elif server.overloaded():
            self.inner = overload.Refusal(self.conn)
        waiting = self.inner.headers_received(start_line, headers)
        if DECLARED:
            self.own = declared(self.inner)
        self.handler = handler_of(self.conn)  # type: ignore[arg-type]
        return waiting

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        if self.handler is not None and is_to_end(self.handler):
            return None  # Tornado has this from before its client left
        waiting = self.inner.data_received(chunk)
        if waiting is None or self.handler is None:
            return waiting
        return self._taken(waiting)

    async def _taken(self, waiting: Awaitable[None]) -> None:
        """Have it be known what is at work: see `leeward.engine.taking`."""
        taking = _Taking(asyncio.current_task())
        conn: Any = self.conn
        conn.taking = taking
        try:
            await waiting
        except asyncio.CancelledError:
            if not taking.ended:
                raise
            # What reads on finds the connection closed, or comes to `finish`.
        finally:
            conn.taking = None

    def finish(self) -> None:
        if self.handler is not None and is_to_end(self.handler):
            # All of it came before its client left, and not all of it was taken: whoever
            # commits an upload in `post` would commit half of one.
            self.on_connection_close()
            return
        self.inner.finish()
        self.connection.handler_begins(self.conn)  # type: ignore[arg-type]
        if DECLARED:
            self.connection.own.begins(self.connection, self.conn, self.own)  # type: ignore[arg-type]

    def on_connection_close(self) -> None:
        try:
            self.inner.on_connection_close()
        finally:
            if self.handler is not None:
                end_body(self.handler)


class _Taking:
    """task:  Tornado's, that reads the requests of one connection and waits for the application."""

    __slots__ = ("_task", "ended")

    def __init__(self, task: asyncio.Task[Any] | None) -> None:
        self._task = task
        self.ended = False

    def end(self, threads: Threads) -> None:
        self.ended = True
        if self._task is not None:
            interrupt(self._task, threads)
