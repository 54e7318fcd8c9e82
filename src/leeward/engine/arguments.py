"""The HTTPServer whose arguments are in force: a program's own, or one made for an application.

A setting that somebody has given wins over the program's argument, as `--bind` wins over
its address; what nobody has set is the program's own affair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tornado.httpserver import HTTPServer

if TYPE_CHECKING:
    from tornado.httputil import HTTPServerConnectionDelegate

    from leeward._core.config import Config


class Sizes(NamedTuple):
    """What a program's own server says, or Tornado's defaults; before any setting."""

    body: int | None = None
    header: int = 65536


def sizes(application: object) -> Sizes:
    """Of what `http_server` has not seen yet."""
    params: Any = getattr(application, "conn_params", None)
    known = isinstance(application, HTTPServer)
    return Sizes(params.max_body_size, params.max_header_size) if known else Sizes()


def set_sizes(http: Any, own: Sizes, config: Config) -> None:
    """Those of `config`, where it has any; for requests that begin from now on."""
    params = http.conn_params
    params.max_body_size = own.body if config.max_body is None else config.max_body
    params.max_header_size = own.header if config.max_header is None else config.max_header


def http_server(application: HTTPServerConnectionDelegate, config: Config) -> HTTPServer:
    """`application` itself if it is a server, with the settings of `config` applied."""
    own = isinstance(application, HTTPServer)
    # Application.listen would hand its own settings on in the same way.
    http: Any = application if own else HTTPServer(application, xheaders=False)
    set_sizes(http, sizes(http), config)
    params = http.conn_params
    if config.decompress is not None:
        params.decompress = config.decompress
    if config.forwarded_allow_ips:
        # `leeward.engine.forwarded` reads the headers, and only from those peers.
        http.xheaders = False
    return http  # type: ignore[no-any-return]
