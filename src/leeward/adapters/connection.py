"""One connection of Tornado's own server, as the registry and a drain see it.

It is told by its stream (`leeward.adapters.streams`) and by the server's delegates
(`leeward.adapters.following`).  Things that do not work:

* `conn_params.no_keep_alive = True` to announce a drain.  It says "Connection:
  close" in the 101 of a WebSocket handshake too, which no browser accepts
  (6.4 and 6.6 alike); it comes too late for requests whose headers are parsed;
  and an HTTP/1.0 client with keep-alive (ab -k) is still told "Keep-Alive".
* `stream.set_close_callback` to learn of WebSockets.  Since Tornado 5 their
  protocol waits for its reads instead, and HTTP1Connection clears the callback
  after each request.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

from tornado.websocket import WebSocketHandler

from leeward._core.connection import WAITING, Life
from leeward._core.farewell import is_endless
from leeward.adapters import parting
from leeward.adapters.declared import Own
from leeward.adapters.streams import bytes_wait
from leeward.adapters.telling import tell
from leeward.engine.registry import NEW_GRACE, REASONS
from leeward.engine.telling import Account

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from tornado.http1connection import HTTP1Connection
    from tornado.httputil import HTTPHeaders, RequestStartLine, ResponseStartLine
    from tornado.iostream import IOStream

    from leeward._core.conns import Conn, Identity
    from leeward.adapters.streams import Stream
    from leeward.adapters.tornado import TornadoServer
    from leeward.engine import proxy
    from leeward.engine.leaving import Working
    from leeward.engine.standing import Standing

_log = logging.getLogger("leeward.tornado")


class Uncounted:
    """What the connection of a probe has for a server: it tells nobody, and drains never."""

    health_path = draining = ""
    active = forwarding = leaving = pings = None

    def serves(self) -> bool:
        return True

    def request_begins(self) -> None: ...

    def in_flight(self, by: int) -> None: ...

    def changes(self, old: Life, new: Life) -> None: ...

    def overloaded(self) -> bool:
        return False

    def remove(self, member: Connection) -> None: ...

    def upgraded_in_drain(self, member: Connection) -> None: ...

    def part(self, members: Iterable[Connection]) -> None: ...

    def later(self, delay: float, call: Callable[..., object], *args: Any) -> None: ...


class Connection:
    """Where one connection stands, and how it is brought to its end."""

    __slots__ = (
        "account",
        "address",
        "announced",
        "announcing",
        "client",
        "conn",
        "handler",
        "life",
        "own",
        "place",
        "request_headers",
        "server",
        "start_line",
        "stream",
        "version",
    )

    def __init__(self, server: TornadoServer | Uncounted, stream: Stream, address: Any) -> None:
        self.server = server
        self.stream = stream
        self.address = address
        self.account = Account()
        self.start_line: RequestStartLine | None = None
        self.life = Life.NEW
        self.place: proxy.Place | None = None
        self.own = Own()
        self.client = ""  # who it is, by the last request or by PROXY
        self.conn: HTTP1Connection | None = None  # of the request that is awaited or served
        self.request_headers: HTTPHeaders | None = None
        self.version = ""
        self.handler: WebSocketHandler | None = None
        self.announcing = False  # this request's answer will say that we close
        self.announced = False  # an answer has said so

    def __repr__(self) -> str:
        return f"<connection {self.life.name}{', announced' if self.announced else ''}>"

    # --- events ----------------------------------------------------------------------

    def awaits_request(self, conn: HTTP1Connection) -> None:
        """The server is about to read a request, the first or the next one."""
        if self.life is Life.ACTIVE:
            self._leave_active(Life.IDLE)
        self.conn, self.request_headers, self.announcing = conn, None, False
        if self.announced or (
            self.life is Life.IDLE
            and self.server.draining == "stop"
            and not bytes_wait(self.stream)
        ):
            self.stream.close()

    def bytes_arrive(self, count: int) -> None:
        self.account.received += count
        self.account.moved = monotonic()
        if self.life in WAITING:
            self.request_arrives()
        if self.server.active is not None:
            self.server.active()

    def bytes_leave(self) -> None:
        self.account.moved = monotonic()

    def request_arrives(self) -> None:
        """First byte of a request."""
        self._becomes(Life.ACTIVE)
        self.server.in_flight(+1)

    def request_received(self, start_line: RequestStartLine, headers: HTTPHeaders) -> None:
        """The headers are complete; the application is about to see them."""
        if self.life in WAITING:  # it lay in the buffer behind the request before
            self.request_arrives()
        self.server.request_begins()
        self.account.requests += 1
        self.start_line = start_line
        self.version = start_line.version
        self.request_headers = headers
        if "Upgrade" in headers and self.conn is not None:  # None: it has been closed meanwhile
            self._watch_for_websocket(self.conn)
        if self.server.draining:
            self._announce_close()

    def handler_begins(self, conn: HTTP1Connection) -> None:
        """The request is complete, and its handler has made its first step.

        Request and end can come in one turn of the loop.  Then the handler begins behind the
        end, and Tornado tells it nothing: it would wait for ever.
        """
        if not self.stream.closed() or conn._close_callback is None:
            return
        handler = parting.handler_of(conn)
        conn._on_connection_close()
        if handler is not None and self.server.leaving is not None:
            self.server.leaving.left(handler)

    def serving_ended(self) -> None:
        """HTTP is over here.  A stream still open belongs to the application now."""
        if self.stream.closed():
            return
        self._leave_active(Life.UPGRADED)
        self.conn = self.request_headers = None
        if self.server.draining:
            self.server.upgraded_in_drain(self)

    def has_closed(self) -> None:
        if self.life is Life.CLOSED:
            return
        self.own.end()
        handler = parting.handler_of(self.conn)
        if handler is None and self.life is Life.UPGRADED:
            handler = self.handler  # it may hang, and see nothing
        if handler is not None and self.server.leaving is not None:
            self.server.leaving.left(handler)
        self._leave_active(Life.CLOSED)
        self.conn = self.request_headers = self.handler = None
        self.server.remove(self)

    def _leave_active(self, life: Life) -> None:
        if self.life is Life.ACTIVE:
            self.server.in_flight(-1)
        self._becomes(life)

    def _becomes(self, life: Life) -> None:
        self.server.changes(self.life, life)
        self.life, self.account.since = life, monotonic()

    # --- draining --------------------------------------------------------------------

    def drain(self) -> None:
        if self.life is Life.ACTIVE:
            self._announce_close()
        elif self.server.draining != "stop" or self.life is Life.UPGRADED:
            return
        elif self.life is Life.IDLE or self._age() >= NEW_GRACE:
            self._close_if_silent()
        else:
            self.server.later(NEW_GRACE - self._age(), self._close_if_silent)

    def _age(self) -> float:
        return monotonic() - self.account.born

    def _close_if_silent(self) -> None:
        if self.life in WAITING and not bytes_wait(self.stream):
            self.stream.close()

    @property
    def descriptor(self) -> int:
        """Of its socket, -1 if it has none any more."""
        return -1 if self.stream.closed() else self.stream.socket.fileno()

    def evict(self) -> bool:
        """Close it if nothing happens in it.  Has it been done?"""
        self._close_if_silent()
        return self.life is Life.CLOSED

    def _announce_close(self) -> None:
        """Have the answer to the request in hand say "Connection: close".

        `write_headers` is replaced on this one HTTP1Connection, which lives as
        long as this request.  When the headers were written already it is not
        called again, and the connection goes on to its next request.
        """
        conn = self.conn
        if conn is None or self.request_headers is None or self.announcing:
            return
        self.announcing = True
        write_headers = conn.write_headers

        def announcing(
            start_line: RequestStartLine | ResponseStartLine,
            headers: HTTPHeaders,
            chunk: bytes | None = None,
        ) -> asyncio.Future[None]:
            if getattr(start_line, "code", 0) >= 200:  # a 101 must say "Connection: Upgrade"
                headers["Connection"] = "close"
                if is_endless(headers.get("Content-Type", "")):
                    self.server.upgraded_in_drain(self)
                if self.version == "HTTP/1.0" and self.request_headers is not None:
                    # Tornado writes "Keep-Alive" over ours if this one stands.
                    self.request_headers.pop("Connection", None)
                self.announced = True
            return write_headers(start_line, headers, chunk)

        conn.write_headers = announcing  # type: ignore[method-assign]

    def _watch_for_websocket(self, conn: HTTP1Connection) -> None:
        """Learn which WebSocketHandler answers this request, if one does.

        Each RequestHandler gives the connection its `on_connection_close`.
        """
        set_close_callback, detach = conn.set_close_callback, conn.detach

        def learning(callback: Callable[[], None] | None) -> None:
            owner = getattr(callback, "__self__", None)
            if isinstance(owner, WebSocketHandler):
                self.handler = owner
            set_close_callback(callback)

        def detaching() -> IOStream:
            found = detach()
            if self.handler is not None:
                self.stream.websocket_begins(self.handler, self.server.pings)
            return found

        conn.set_close_callback = learning  # type: ignore[method-assign]
        conn.detach = detaching  # type: ignore[method-assign]

    def cut(self) -> None:
        self.stream.close()

    @property
    def sent(self) -> int:
        return self.stream.sent

    @property
    def doubtful(self) -> bool:
        """Tornado closes where its client has said FIN."""
        return False

    @property
    def endless(self) -> bool:
        return self.life is Life.ACTIVE and parting.endless(self.conn)

    def part(self, quiet: bool) -> Working | None:
        conn = self.conn if self.life is Life.ACTIVE else None
        working = None if conn is None else parting.part(conn, self.stream, quiet)
        self.cut()
        return working

    def close_websocket(self, code: int) -> bool:
        """Send the close frame.  Tornado cuts a peer that does not answer it after 5 s.

        A protocol of the application's own cannot be told: it has until the deadline.
        """
        if self.endless:
            self.server.part([self])
            return True
        if self.life is not Life.UPGRADED or self.handler is None:
            return False
        try:
            self.handler.close(code, REASONS[code])
        except Exception:
            # An application may override close().
            _log.exception("%s.close() raised; cut", type(self.handler).__name__)
            self.stream.close()
        return True

    def tell(self, mine: Identity, standing: Standing) -> Conn:
        return tell(self, mine, standing)
