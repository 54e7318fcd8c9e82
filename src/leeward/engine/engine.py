"""The engine's server: what a worker hands its accepted sockets to."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import ssl
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from tornado import netutil
from tornado.http1connection import _GzipMessageDelegate
from tornado.httpserver import HTTPServer, _HTTPRequestContext, _ProxyAdapter
from tornado.httputil import HTTPMessageDelegate, HTTPServerConnectionDelegate

from leeward._core.proxy import BadHeader
from leeward._core.record import replace
from leeward.engine import arguments, forwarded, health, overload, proxy
from leeward.engine.accelerate import watch
from leeward.engine.accelerate.install import installed
from leeward.engine.balancers import Notice
from leeward.engine.connection import Connection
from leeward.engine.deadlines import Sweep
from leeward.engine.declared import Declared
from leeward.engine.ends import Ends
from leeward.engine.execute import Dispatch, Handling, dispatch
from leeward.engine.head import Parser
from leeward.engine.inflate import Measured
from leeward.engine.leaving import Leaving
from leeward.engine.outbox import Watches
from leeward.engine.pings import Pings
from leeward.engine.registry import Registry
from leeward.engine.spokesmen import Spokesmen
from leeward.engine.timeouts import timeouts, tuned
from leeward.engine.tls import Tls
from leeward.engine.written import Turns
from leeward.limits import DECLARED

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from leeward._core.config import Config
    from leeward.engine.exchange import Exchange
    from leeward.engine.link import Link
    from leeward.engine.server import Counters
    from leeward.engine.stream import TransportStream

#: Tornado's default of IOStream.max_buffer_size, which bounds bodies too.
_MAX_BUFFER = 104857600

#: Bytes of one read.  As many as an application gets of a body at a time, so that these are
#: passed on as they are; with asyncio's and uvloop's 256 KiB a fast sender was read dry each time,
#: and has to wake us for every bit of its upload.
_INTAKE = 64 * 1024
#: With TLS it is the other way round: a turn of the loop, and what OpenSSL has to keep of a
#: record that came in part, cost more.  0.43 to 0.47 s of CPU for a GB, not 0.51 to 0.58 (asyncio).
_TLS_INTAKE = 256 * 1024

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
        super().tune(config)
        self.loop = self._loop
        #: What is scheduled from within a handler runs here, and sees none of its variables.
        self.context = contextvars.copy_context()
        self.config = config
        self._own_sizes = arguments.sizes(application)
        http: Any = arguments.http_server(application, config)
        self._http = http
        self._forwarding = forwarded.forwarding(config)
        self.spokesmen = Spokesmen(self.addresses, self._forwarding, xheaders=http.xheaders)
        self._set_bounds()
        self._gate = proxy.gate(config, self.refused)
        self.leaving = Leaving(config, closed, self.tells)
        self.params = http.conn_params
        self._dispatch: Dispatch | None = None
        self._application: Any = None
        self._watch: watch.Watch | None = None
        self._look_at = 0.0
        self._running: set[asyncio.Future[Any]] = set()
        if config.accelerate:
            installed.install()
            self._choose_dispatch()
        self.max_buffer_size = http.max_buffer_size or _MAX_BUFFER
        self._set_sizes()
        # Bodies are measured when the handler may have set a limit of its own.
        self.parser = Parser(max_body_size=None, cache=config.head_cache)
        self.timeouts = timeouts(config, self.params)
        self.writers = Watches(self.loop, self.context, self.timeouts.write)
        self._set_budget()
        options = http.ssl_options if tls is None else tls
        self._tls = (
            None if options is None or plain else netutil.ssl_options_to_context(options, True)
        )
        #: What a transport has read, until its connection has it.
        self.intake = memoryview(bytearray(_INTAKE if self._tls is None else _TLS_INTAKE))
        self._wire = self.intake if self._tls is None else memoryview(bytearray(_TLS_INTAKE))
        #: What a write returns that has left us already; one for all of them.
        self.flushed: asyncio.Future[None] = self.loop.create_future()
        self.flushed.set_result(None)
        self.turns = Turns(self.loop, self.context)
        #: Requests refused, by the name of the rule (`leeward.engine.rules`).
        self.refusals: Counter[str] = Counter()
        #: Called for each connection that we end, with the setting that it ran into.
        self.ends = Ends(self.loop.time)
        self._said = float("-inf")
        self.notice = Notice()
        #: `Sweep.deadline`, without a call in between.
        self.deadline = Sweep(self.loop, self.context, self.live).deadline
        self.pings = Pings(config, self.loop, self.tells)

    def ready(self) -> None:
        """All that patches Tornado has done so: look once more whether we still know it."""
        if self.config.accelerate:
            installed.recheck()
            self._choose_dispatch()

    def _choose_dispatch(self) -> None:
        http = self._http
        plain = type(
            http
        ).start_request is HTTPServer.start_request and "start_request" not in vars(http)
        exits = lambda error: self.exits(error)  # noqa: E731 - a fork puts another in its place
        self._application = application = http.request_callback
        self._dispatch = dispatch(application, self.loop, exits, self._running) if plain else None
        self._watch = watch.Watch(application)

    def _look(self, now: float) -> None:
        """Somebody may have patched Tornado since requests are served."""
        self._look_at = now + watch.LOOK
        if self._watch is not None and self._watch.changed():
            self.ready()

    @property
    def plain(self) -> bool:
        return self._tls is None

    # --- for the worker --------------------------------------------------------------------------

    def accept(self, connection: socket.socket, address: Any) -> None:
        member = Connection(self, address)
        member.descriptor = connection.fileno()
        self.add(member)
        work = self._connect(member, connection)
        try:
            member.task = self.loop.create_task(work)
            member.task.add_done_callback(lambda task: self._connected(task, member, connection))
        except Exception as error:  # of the application's task factory
            work.close()
            self._leave_unserved(member, connection, error)

    async def _connect(self, member: Connection, connection: socket.socket) -> None:
        if self._gate is not None:
            place = await self._gate.admit(connection, member.address)
            if place is not None:
                member.family, address = place
                if not self.introduce(member, address):
                    raise _TooMany
        if self._tls is None:
            await self.loop.connect_accepted_socket(lambda: member, connection)
            return
        tls = Tls(self.loop, member, self._tls, self._wire, self.intake)
        try:
            async with asyncio.timeout(self.timeouts.silent or None):
                await self.loop.connect_accepted_socket(lambda: tls, connection)
                await tls.shaken
        except BaseException:
            tls.abort()
            raise

    def probe(self, connection: socket.socket) -> None:
        """Serve `connection`, which no client has made: plain http, uncounted, and
        `health_path` is the application's own on it.
        """
        config = replace(self.config, health_path="", proxy_protocol="off")
        aside = Engine(self._http, config, _Nobody(), lambda: None, plain=True)
        aside.accept(connection, ("127.0.0.1", 0))

    def _connected(
        self, task: asyncio.Task[Any], member: Connection, connection: socket.socket
    ) -> None:
        member.task = None
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or error is not None:
            self._leave_unserved(member, connection, error)
        if isinstance(error, ssl.SSLError) and self.loop.time() - self._said >= 1.0:
            self._said = self.loop.time()  # one a second: scanners come in swarms
            _general.warning("SSL Error on %s: %s", member.address, error)

    def _leave_unserved(
        self, member: Connection, connection: socket.socket, error: BaseException | None
    ) -> None:
        connection.close()
        member.connection_lost(None)
        # A broken connection is nobody's concern; of a header the gate has told.
        if error is not None and not isinstance(error, OSError | BadHeader | _TooMany):
            self.unserved(error)

    def tune(self, config: Config) -> None:
        counted = self.addresses.most
        super().tune(config)
        if self.addresses.most and not counted:
            self.spokesmen.recount(self.live)
        self._set_bounds()
        self.config = tuned(self.config, config)
        before, self.timeouts = self.timeouts, timeouts(self.config, self.params)
        self.writers.tune(self.timeouts.write)
        self.leaving.tune(self.config)
        self.pings.tune(self.config)
        arguments.set_sizes(self._http, self._own_sizes, self.config)
        self._set_sizes()
        self._set_budget()
        if self.timeouts != before:
            for member in self.live:
                member.restart_waiting()
        if DECLARED:
            for member in self.live:
                member.bear()  # the kernel may have been told otherwise for all of them

    def _set_bounds(self) -> None:
        #: May a request be one too many?
        self._bounded = bool(self._most_in_flight or (self.addresses.most and self.spokesmen.any))

    def _set_sizes(self) -> None:
        body = self.params.max_body_size
        self.max_body_size = self.max_buffer_size if body is None else body

    def _set_budget(self) -> None:
        self.write_budget = self.config.write_budget
        #: Bytes that wait for a client before we read no more from it.
        self.choke_at: float = self.write_budget // 4 or float("inf")

    # --- for connections -------------------------------------------------------------------------

    def start_request(
        self, connection: ServerConnection, exchange: Exchange
    ) -> HTTPMessageDelegate:
        path = self.config.health_path
        if path and health.asked(path, exchange.head.start_line):
            return health.Health(exchange, exchange.head.method, self.serves)
        if self._bounded and (refusal := self._refusal(exchange)) is not None:
            return refusal
        delegate: HTTPMessageDelegate
        # The connection has just read the clock.
        if self._watch is not None:
            if (now := exchange.connection.account.moved) >= self._look_at:
                self._look(now)
            if self._http.request_callback is not self._application:
                self._choose_dispatch()  # a program has put another in its place
        if self._dispatch is not None:
            delegate = Handling(self._dispatch, connection, exchange)
            if self._http.xheaders:
                delegate = _ProxyAdapter(delegate, exchange)
        else:
            delegate = self._http.start_request(connection, exchange)
            if DECLARED:
                delegate = Declared(delegate, exchange)
        told = self._forwarding
        if told is not None and told.believes(connection.context):
            member = exchange.connection
            delegate = forwarded.Forwarded(delegate, connection.context, told, member)
        if self.params.decompress:
            limits = (self.params.chunk_size, exchange.max_body_size)[:_GZIP_LIMITS]
            measured = Measured(delegate, exchange, self.config.max_inflate_ratio)
            delegate = _GzipMessageDelegate(measured, *limits)
        return delegate

    def _refusal(self, exchange: Exchange) -> HTTPMessageDelegate | None:
        """What answers a request that is one too many."""
        if self.overloaded():
            return overload.Refusal(exchange)
        if self.spokesmen.admits(exchange.connection, exchange):
            return None
        self.shed()
        return overload.OneOfMany(exchange)

    def begin_serving(self, connection: Link) -> ServerConnection:
        """HTTP is spoken on this connection from now on."""
        http = self._http
        protocol = http.protocol or ("https" if self._tls is not None else "http")
        # Tornado's own, so that `xheaders` mean what they mean there.
        socket: Any = _Socket(connection)
        trusted = http.trusted_downstream
        context = _HTTPRequestContext(socket, connection.address, protocol, trusted)
        connection.client = context.remote_ip
        found = ServerConnection(connection, context)
        http._connections.add(found)
        return found

    def serving_ended(self, connection: ServerConnection) -> None:
        """HTTP is over on this connection."""
        connection.end()
        if connection in self._http._connections:
            try:
                self._http.on_close(connection)
            except Exception:
                # A program's subclass may override it.
                _general.exception("%s.on_close() raised", type(self._http).__name__)

    def refused(self, rule: str) -> None:
        self.refusals[rule] += 1
        self.tells("refused", self.refusals.total())


class _TooMany(Exception):
    """Connections of one client (--max-conns-per-ip)."""


class _Nobody:
    """Counters that nobody reads."""

    open = requests = in_flight = new = upgraded = closing = brief = evicted = shed = 0
    ping_no_answer = ping_reset = ping_deaf = stubborn = in_threads = refused = 0


class ServerConnection:
    """What Tornado's delegates know as `server_conn`, and `HTTPServer` keeps a set of."""

    def __init__(self, connection: Link, context: Any) -> None:
        self._connection = connection
        self.context = context
        self.params = connection.params
        self._ended = False
        #: Made when somebody waits: an Event for each took 0.8 of 3.6 KiB of an idle client.
        self._waiting: asyncio.Event | None = None

    @property
    def stream(self) -> TransportStream:
        return self._connection.stream

    def end(self) -> None:
        self._ended = True
        if self._waiting is not None:
            self._waiting.set()

    async def close(self) -> None:
        """Close it, and wait until that is done."""
        self._connection.stream.close()
        if not self._ended:
            if self._waiting is None:
                self._waiting = asyncio.Event()
            await self._waiting.wait()


class _Socket:
    """Looks like a stream to Tornado's request context, which asks for the family only."""

    def __init__(self, connection: Link) -> None:
        own = connection.transport.get_extra_info("socket")
        self.socket = own if connection.family < 0 else _Family(connection.family)


class _Family(NamedTuple):
    family: int
