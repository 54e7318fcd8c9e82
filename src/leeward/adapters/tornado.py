"""Serves an unmodified Tornado application by Tornado's own HTTP/1.1 code.

Connections come from the worker's acceptor instead of from `add_sockets`; the
rest is `tornado.httpserver.HTTPServer` with its public extension points:

* `start_request` and `on_close` (HTTPServerConnectionDelegate) tell where each
  connection stands in its life; they are wrapped on the one server object, so that
  an adopted program's own HTTPServer serves, with its arguments and overrides;
* a subclass of `IOStream` (and of `SSLIOStream`) sees the first byte of each request and, by
  `close_fd`, the end of every connection, whoever took it over meanwhile.

Works on Tornado 6.4 and later.  Things that do not work:

* `conn_params.no_keep_alive = True` to announce a drain.  It says "Connection:
  close" in the 101 of a WebSocket handshake too, which no browser accepts
  (6.4 and 6.6 alike); it comes too late for requests whose headers are parsed;
  and an HTTP/1.0 client with keep-alive (ab -k) is still told "Keep-Alive".
* `stream.set_close_callback` to learn of WebSockets.  Since Tornado 5 their
  protocol waits for its reads instead, and HTTP1Connection clears the callback
  after each request.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

from tornado import netutil
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerConnectionDelegate
from tornado.web import Application
from tornado.websocket import WebSocketHandler

from leeward._core.connection import WAITING, Life
from leeward._core.farewell import is_endless
from leeward.adapters import parting
from leeward.adapters.following import follow
from leeward.adapters.introduced import Newcomer
from leeward.adapters.streams import Stream, bytes_wait, stream
from leeward.engine import arguments, forwarded, proxy
from leeward.engine.leaving import Leaving
from leeward.engine.pings import Pings
from leeward.engine.registry import NEW_GRACE, SERVICE_RESTART, Registry
from leeward.engine.timeouts import idle_of, tuned

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Iterable

    from tornado.http1connection import HTTP1Connection
    from tornado.httputil import HTTPHeaders, RequestStartLine, ResponseStartLine
    from tornado.iostream import IOStream

    from leeward._core.config import Config
    from leeward.engine.leaving import Working
    from leeward.engine.server import Counters

SERVABLE = "a tornado.web.Application (or any HTTPServerConnectionDelegate)"

_log = logging.getLogger("leeward.tornado")


def servable(value: object) -> bool:
    """Is `value` something that Tornado's HTTP server can serve?"""
    return isinstance(value, HTTPServerConnectionDelegate) and not isinstance(value, HTTPServer)


class TornadoServer(Registry["Connection | Newcomer"]):
    """A `leeward.engine.server.Server`.

    application: what the factory returned, or an adopted program's HTTPServer.
    config:      its `health_path` is answered here (`leeward.engine.health`).
    counters, closed: as `Registry` has them.
    tls:         None to speak plain http, or what a program's own ssl_options say.

    Made and used on the thread of the running loop.
    """

    def __init__(
        self,
        application: HTTPServerConnectionDelegate,
        config: Config,
        counters: Counters,
        closed: Callable[[], None],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(counters, closed)
        super().tune(config)
        self.health_path = config.health_path
        self._http = arguments.http_server(application, config)
        self.forwarding = forwarded.forwarding(config)
        #: Connections refused, by the name of the rule (`leeward._core.proxy`).
        self.refusals: Counter[str] = Counter()
        self._gate = proxy.gate(config, self.refused)
        self.config = config
        self.leaving = Leaving(config, closed)
        self.pings = Pings(config, self._loop)
        follow(self._http)
        self._own_idle = idle_of(self._http.conn_params)
        self._set_idle()
        # Made once: Tornado itself would read a dict's files for each connection.
        options = self._http.ssl_options if tls is None else tls
        self._tls = None if options is None else netutil.ssl_options_to_context(options, True)

    @property
    def plain(self) -> bool:
        return self._tls is None

    def ready(self) -> None:
        pass

    def refused(self, rule: str) -> None:
        self.refusals[rule] += 1

    def tune(self, config: Config) -> None:
        """Tornado has one number for the wait for a request and for its header.

        It is read when the wait begins: those who wait now are not told of another.
        """
        super().tune(config)
        self.config = tuned(self.config, config)
        self._set_idle()

    def _set_idle(self) -> None:
        given = self._own_idle is None or "idle_timeout" in self.config.given
        idle = self.config.idle_timeout if given else self._own_idle
        # `HTTP1ConnectionParameters` takes None for an hour, but as an attribute it is never.
        self._http.conn_params.header_timeout = idle or None

    def accept(self, connection: socket.socket, address: Any) -> None:
        if self._gate is None:
            self.serve(connection, address, None)
        else:
            self.add(Newcomer(self, self._gate, connection, address))

    def serve(self, connection: socket.socket, address: Any, place: proxy.Place | None) -> None:
        """place:  where the client is, if a proxy has said so."""
        client = address if place is None else place[1]
        if place is not None and not self.addresses.allows(client):
            connection.close()
            self.shed()
            return
        found = self._stream(connection, self._tls)
        if found is None:
            return
        found.life = connected = Connection(self, found, self._loop.time(), client)
        connected.place = place
        found.address = address
        self.add(connected)
        self._handle(found, address)

    def probe(self, connection: socket.socket) -> None:
        """Serve `connection`, which no client has made: plain http, uncounted, and
        `health_path` is the application's own on it.
        """
        found = self._stream(connection, None)
        if found is not None:
            address = ("127.0.0.1", 0)
            found.life = Connection(Uncounted(), found, self._loop.time(), address)
            self._handle(found, address)

    def _stream(self, connection: socket.socket, tls: ssl.SSLContext | None) -> Stream | None:
        http = self._http
        return stream(connection, tls, http.max_buffer_size, http.read_chunk_size)

    def _handle(self, found: Stream, address: Any) -> None:
        http = self._http
        try:
            http.handle_stream(found, address)
        except Exception:
            # A program's subclass may override it.
            _log.exception("%s.handle_stream() raised; cut", type(http).__name__)
            found.close()


class Uncounted:
    """What the connection of a probe has for a server: it tells nobody, and drains never."""

    health_path = draining = ""
    active = forwarding = leaving = pings = None

    def serves(self) -> bool:
        return True

    def request_begins(self) -> None: ...

    def in_flight(self, by: int) -> None: ...

    def overloaded(self) -> bool:
        return False

    def remove(self, member: Connection) -> None: ...

    def upgraded_in_drain(self, member: Connection) -> None: ...

    def part(self, members: Iterable[Connection]) -> None: ...

    def later(self, delay: float, call: Callable[..., None], *args: Any) -> None: ...


class Connection:
    """Where one connection stands, and how it is brought to its end."""

    __slots__ = (
        "address",
        "announced",
        "announcing",
        "born",
        "client",
        "conn",
        "handler",
        "life",
        "place",
        "request_headers",
        "server",
        "since",
        "stream",
        "version",
    )

    def __init__(
        self, server: TornadoServer | Uncounted, stream: Stream, now: float, address: Any
    ) -> None:
        self.server = server
        self.stream = stream
        self.address = address
        self.born = self.since = now
        self.life = Life.NEW
        self.place: proxy.Place | None = None
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
            self.since = asyncio.get_running_loop().time()
        self.conn, self.request_headers, self.announcing = conn, None, False
        if self.announced or (
            self.life is Life.IDLE
            and self.server.draining == "stop"
            and not bytes_wait(self.stream)
        ):
            self.stream.close()

    def bytes_arrive(self) -> None:
        if self.life in WAITING:
            self.request_arrives()
        if self.server.active is not None:
            self.server.active()

    def request_arrives(self) -> None:
        """First byte of a request."""
        self.life = Life.ACTIVE
        self.server.in_flight(+1)

    def request_received(self, start_line: RequestStartLine, headers: HTTPHeaders) -> None:
        """The headers are complete; the application is about to see them."""
        if self.life in WAITING:  # it lay in the buffer behind the request before
            self.request_arrives()
        self.server.request_begins()
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
        handler = parting.handler_of(self.conn)
        if handler is not None and self.server.leaving is not None:
            self.server.leaving.left(handler)
        self._leave_active(Life.CLOSED)
        self.conn = self.request_headers = self.handler = None
        self.server.remove(self)

    def _leave_active(self, life: Life) -> None:
        if self.life is Life.ACTIVE:
            self.server.in_flight(-1)
        self.life = life

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
        return asyncio.get_running_loop().time() - self.born

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
        return self.stream._total_write_index

    @property
    def endless(self) -> bool:
        return self.life is Life.ACTIVE and parting.endless(self.conn)

    def part(self, quiet: bool) -> Working | None:
        conn = self.conn if self.life is Life.ACTIVE else None
        working = None if conn is None else parting.part(conn, self.stream, quiet)
        self.cut()
        return working

    def close_websocket(self, code: int) -> None:
        """Send the close frame.  Tornado cuts a peer that does not answer it after 5 s.

        A protocol of the application's own cannot be told: it has until the deadline.
        """
        if self.endless:
            self.server.part([self])
        if self.life is not Life.UPGRADED or self.handler is None:
            return
        try:
            self.handler.close(code, "restarting" if code == SERVICE_RESTART else "going away")
        except Exception:
            # An application may override close().
            _log.exception("%s.close() raised; cut", type(self.handler).__name__)
            self.stream.close()


def describe(application: object) -> str:
    """Words for what is served: "tornado.web.Application" or its subclass."""
    kind = type(application)
    return "Tornado application" if isinstance(application, Application) else kind.__name__
