"""Serves an unmodified Tornado application by Tornado's own HTTP/1.1 code.

Connections come from the worker's acceptor instead of from `add_sockets`; the
rest is `tornado.httpserver.HTTPServer` with its public extension points:

* `start_request` and `on_close` (HTTPServerConnectionDelegate) tell where each
  connection stands in its life; they are wrapped on the one server object, so that
  an adopted program's own HTTPServer serves, with its arguments and overrides;
* a subclass of `IOStream` (and of `SSLIOStream`) sees the first byte of each request and, by
  `close_fd`, the end of every connection, whoever took it over meanwhile.

Works on Tornado 6.4 and later.  One of its connections is `leeward.adapters.connection`.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

from tornado import netutil
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerConnectionDelegate
from tornado.web import Application

from leeward.adapters.connection import Connection, Uncounted
from leeward.adapters.following import follow
from leeward.adapters.introduced import Newcomer
from leeward.adapters.streams import Stream, stream
from leeward.engine import arguments, forwarded, proxy
from leeward.engine.leaving import Leaving
from leeward.engine.pings import Pings
from leeward.engine.registry import Registry
from leeward.engine.timeouts import idle_of, tuned

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

    from leeward._core.config import Config
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
        self._own_sizes = arguments.sizes(application)
        self._http = arguments.http_server(application, config)
        self.forwarding = forwarded.forwarding(config)
        #: Connections refused, by the name of the rule (`leeward._core.proxy`).
        self.refusals: Counter[str] = Counter()
        self._gate = proxy.gate(config, self.refused)
        self.config = config
        self.leaving = Leaving(config, closed, self.tells)
        self.pings = Pings(config, self._loop, self.tells)
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
        self.tells("refused", self.refusals.total())

    def tune(self, config: Config) -> None:
        """Tornado has one number for the wait for a request and for its header.

        It is read when the wait begins: those who wait now are not told of another.
        """
        super().tune(config)
        self.config = tuned(self.config, config)
        self.leaving.tune(self.config)
        self.pings.tune(self.config)
        arguments.set_sizes(self._http, self._own_sizes, self.config)
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
            try:
                newcomer = Newcomer(self, self._gate, connection, address)
            except Exception as error:  # of the application's task factory
                connection.close()
                self.unserved(error)
                return
            self.add(newcomer)

    def serve(self, connection: socket.socket, address: Any, place: proxy.Place | None) -> bool:
        """place:  where the client is, if a proxy has said so.

        False if it is closed at once.
        """
        client = address if place is None else place[1]
        if place is not None and not self.addresses.allows(client):
            connection.close()
            self.shed()
            return False
        found = self._stream(connection, self._tls)
        if found is None:
            return False
        found.life = connected = Connection(self, found, client)
        connected.place = place
        found.address = address
        self.add(connected)
        self._handle(found, address)
        return True

    def probe(self, connection: socket.socket) -> None:
        """Serve `connection`, which no client has made: plain http, uncounted, and
        `health_path` is the application's own on it.
        """
        found = self._stream(connection, None)
        if found is not None:
            address = ("127.0.0.1", 0)
            found.life = Connection(Uncounted(), found, address)
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


def describe(application: object) -> str:
    """Words for what is served: "tornado.web.Application" or its subclass."""
    kind = type(application)
    return "Tornado application" if isinstance(application, Application) else kind.__name__
