"""Which server serves an application: the engine, or Tornado's own."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tornado.httpserver import HTTPServer

from leeward.adapters.tornado import TornadoServer
from leeward.engine.accelerate.pristine import find
from leeward.engine.engine import Engine

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from tornado.httputil import HTTPServerConnectionDelegate

    from leeward._core.config import Config
    from leeward.engine.server import Counters

_log = logging.getLogger("leeward.tornado")

#: What a program's own HTTPServer may have overridden that the engine does not call.
_STREAMS = ("handle_stream", "_handle_connection")


def needs_tornado(application: HTTPServerConnectionDelegate) -> str:
    """Why only Tornado's server can serve this; "" if the engine can."""
    if isinstance(application, HTTPServer):
        for name in _STREAMS:
            if getattr(type(application), name) is not getattr(HTTPServer, name):
                return f"{type(application).__qualname__} overrides {name}()"
            if name in vars(application):
                return f"its {type(application).__qualname__} has a {name}() of its own"
    if find("tornado.httpserver:HTTPServer.start_request") is None:
        # New Relic's agent: it tells requests apart by the task of each connection.
        return "HTTPServer.start_request() was replaced"
    return ""


def server(
    application: HTTPServerConnectionDelegate,
    config: Config,
    counters: Counters,
    closed: Callable[[], None],
    tls: ssl.SSLContext | None,
) -> Engine | TornadoServer:
    """The server for `application`, as `config.engine` says."""
    why = needs_tornado(application)
    if why and config.engine != "tornado":
        _log.info("served by Tornado's own HTTP server: %s", why)
    if why or config.engine == "tornado":
        return TornadoServer(application, config, counters, closed, tls)
    return Engine(application, config, counters, closed, tls)
