"""The engine's server: what a worker hands its accepted sockets to."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import ssl
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tornado import netutil
from tornado.http1connection import _GzipMessageDelegate
from tornado.httpserver import HTTPServer, _HTTPRequestContext, _ProxyAdapter
from tornado.httputil import HTTPMessageDelegate, HTTPServerConnectionDelegate

from leeward.engine import health
from leeward.engine.accelerate.install import installed
from leeward.engine.connection import Connection
from leeward.engine.execute import Dispatch, Handling, dispatch
from leeward.engine.head import Parser
from leeward.engine.registry import Registry

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from leeward._core.config import Config
    from leeward.engine.exchange import Exchange
    from leeward.engine.link import Link
    from leeward.engine.server import Counters
    from leeward.engine.stream import TransportStream

#: Connections are looked at together, not by a timer each: a stamp costs 39 ns, a
#: `call_later` and its cancel 2079 ns.  So a deadline may be late by this many seconds,
#: or by a quarter of the shortest one.
_COARSE = 1.0

#: Seconds for a TLS handshake, as in asyncio and nginx.
_HANDSHAKE = 60.0

#: Tornado's default of IOStream.max_buffer_size, which bounds bodies too.
_MAX_BUFFER = 104857600

#: Numbers that Tornado's decompression takes: the size of pieces, and later of bodies.
_GZIP_LIMITS = _GzipMessageDelegate.__init__.__code__.co_argcount - 2

_general = logging.getLogger("tornado.general")


class Engine(Registry["Link"]):
    """A `leeward.engine.server.Server`.

    application: what the factory returned, or an adopted program's HTTPServer, whose
                 arguments are honoured.
    config:      its `health_path` is answered here (`leeward.engine.health`); by `accelerate`
                 what we know of Tornado's inside may be used (`engine.accelerate`,
                 `engine.execute`).
    tls:         None to speak plain http, or what a program's own ssl_options say.
    plain:       plain http even so.
    Counters and `closed` as `Registry` has them.

    Made and used on the thread of the running loop.
    """

    def __init__(
        self,
        application: HTTPServerConnectionDelegate,
        config: Config,
        counters: Counters,
        closed: Callable[[], None],
        tls: ssl.SSLContext | None = None,
        *,
        plain: bool = False,
    ) -> None:
        super().__init__(counters, closed)
        self.loop = self._loop
        #: What is scheduled from within a handler runs here, and sees none of its variables.
        self.context = contextvars.copy_context()
        self.config = config
        own = isinstance(application, HTTPServer)
        http: Any = application if own else HTTPServer(application, xheaders=False)
        self._http = http
        self.params = http.conn_params
        self._dispatch: Dispatch | None = None
        if config.accelerate:
            installed.install()
            self._choose_dispatch()
        self.max_buffer_size = http.max_buffer_size or _MAX_BUFFER
        self.max_body_size = (
            self.max_buffer_size if self.params.max_body_size is None else self.params.max_body_size
        )
        # Bodies are measured when the handler may have set a limit of its own.
        self.parser = Parser(max_body_size=None)
        self.idle_timeout = self.header_timeout = self.params.header_timeout
        options = http.ssl_options if tls is None else tls
        self._tls = (
            None if options is None or plain else netutil.ssl_options_to_context(options, True)
        )
        #: What a write returns that has left us already; one for all of them.
        self.flushed: asyncio.Future[None] = self.loop.create_future()
        self.flushed.set_result(None)
        #: Requests refused, by the name of the rule (`leeward.engine.rules`).
        self.refusals: Counter[str] = Counter()
        self._said = float("-inf")
        self._sweep_at = float("inf")
        self._sweeper: asyncio.TimerHandle | None = None

    def ready(self) -> None:
        """All that patches Tornado has done so: look once more whether we still know it."""
        if self.config.accelerate:
            installed.recheck()
            self._choose_dispatch()

    def _choose_dispatch(self) -> None:
        http = self._http
        plain = type(http).start_request is HTTPServer.start_request
        exits = lambda error: self.exits(error)  # noqa: E731 - a fork puts another in its place
        self._dispatch = dispatch(http.request_callback, self.loop, exits) if plain else None

    # --- for the worker --------------------------------------------------------------------------

    def accept(self, connection: socket.socket, address: Any) -> None:
        member = Connection(self, address)
        self.add(member)
        handshake = _HANDSHAKE if self._tls is not None else None
        member.task = self.loop.create_task(
            self.loop.connect_accepted_socket(
                lambda: member, connection, ssl=self._tls, ssl_handshake_timeout=handshake
            )
        )
        member.task.add_done_callback(lambda task: self._connected(task, member, connection))

    def probe(self, connection: socket.socket) -> None:
        """Serve `connection`, which no client has made: plain http, uncounted, and
        `health_path` is the application's own on it.
        """
        config = replace(self.config, health_path="")
        aside = Engine(self._http, config, _Nobody(), lambda: None, plain=True)
        aside.accept(connection, ("127.0.0.1", 0))

    def _connected(
        self, task: asyncio.Task[Any], member: Connection, connection: socket.socket
    ) -> None:
        member.task = None
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or error is not None:
            connection.close()
            member.connection_lost(None)
        if isinstance(error, ssl.SSLError) and self.loop.time() - self._said >= 1.0:
            self._said = self.loop.time()  # one a second: scanners come in swarms
            _general.warning("SSL Error on %s: %s", member.address, error)

    # --- for connections -------------------------------------------------------------------------

    def start_request(
        self, connection: ServerConnection, exchange: Exchange
    ) -> HTTPMessageDelegate:
        path = self.config.health_path
        if path and health.asked(path, exchange.head.start_line):
            return health.Health(exchange, exchange.head.method, self.serves)
        delegate: HTTPMessageDelegate
        if self._dispatch is not None:
            delegate = Handling(self._dispatch, connection, exchange)
            if self._http.xheaders:
                delegate = _ProxyAdapter(delegate, exchange)
        else:
            delegate = self._http.start_request(connection, exchange)
        if self.params.decompress:
            # Before 6.5 it knows no limit of its own.
            limits = (self.params.chunk_size, exchange.max_body_size)[:_GZIP_LIMITS]
            delegate = _GzipMessageDelegate(delegate, *limits)
        return delegate

    def begin_serving(self, connection: Link) -> ServerConnection:
        """HTTP is spoken on this connection from now on."""
        http = self._http
        protocol = http.protocol or ("https" if self._tls is not None else "http")
        # Tornado's own, so that `xheaders` mean what they mean there.
        socket: Any = _Socket(connection)
        trusted = http.trusted_downstream
        context = _HTTPRequestContext(socket, connection.address, protocol, trusted)
        found = ServerConnection(connection, context)
        http._connections.add(found)
        return found

    def serving_ended(self, connection: ServerConnection) -> None:
        """HTTP is over on this connection."""
        connection.ended.set()
        if connection in self._http._connections:
            self._http.on_close(connection)

    def refused(self, rule: str) -> None:
        self.refusals[rule] += 1

    # --- deadlines -------------------------------------------------------------------------------

    def deadline(self, seconds: float | None) -> float:
        """`seconds` from now, on the loop's clock; 0.0 for never."""
        if not seconds:
            return 0.0
        now = self.loop.time()
        at = now + seconds
        coarse = now + min(_COARSE, seconds / 4)
        due = max(at, coarse)
        if due < self._sweep_at:
            if self._sweeper is not None:
                self._sweeper.cancel()
            self._sweep_at = due
            self._sweeper = self.loop.call_at(due, self._sweep, context=self.context)
        return at

    def _sweep(self) -> None:
        """End what has had its time; come back for the next."""
        self._sweeper, self._sweep_at = None, float("inf")
        now = self.loop.time()
        earliest = float("inf")
        for member in list(self.live):
            if member.deadline and member.deadline <= now:
                member.deadline = 0.0
                member.expire()
            if member.deadline:
                earliest = min(earliest, member.deadline)
        if earliest < self._sweep_at and self.live:
            if self._sweeper is not None:
                self._sweeper.cancel()
            self._sweep_at = max(earliest, now + 0.05)
            self._sweeper = self.loop.call_at(self._sweep_at, self._sweep, context=self.context)


class _Nobody:
    """Counters that nobody reads."""

    open = requests = in_flight = new = upgraded = closing = 0


class ServerConnection:
    """What Tornado's delegates know as `server_conn`, and `HTTPServer` keeps a set of."""

    def __init__(self, connection: Link, context: Any) -> None:
        self._connection = connection
        self.context = context
        self.params = connection.params
        self.ended = asyncio.Event()

    @property
    def stream(self) -> TransportStream:
        return self._connection.stream

    async def close(self) -> None:
        """Close it, and wait until that is done."""
        self._connection.stream.close()
        await self.ended.wait()


class _Socket:
    """Looks like a stream to Tornado's request context, which asks for the family only."""

    def __init__(self, connection: Link) -> None:
        self.socket = connection.transport.get_extra_info("socket")
