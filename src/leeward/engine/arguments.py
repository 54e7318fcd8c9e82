"""The HTTPServer whose arguments are in force: a program's own, or one made for an application.

A setting that somebody has given wins over the program's argument, as `--bind` wins over
its address; what nobody has set is the program's own affair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tornado.httpserver import HTTPServer

if TYPE_CHECKING:
    from tornado.httputil import HTTPServerConnectionDelegate

    from leeward._core.config import Config


def http_server(application: HTTPServerConnectionDelegate, config: Config) -> HTTPServer:
    """`application` itself if it is a server, with the settings of `config` applied."""
    own = isinstance(application, HTTPServer)
    # Application.listen would hand its own settings on in the same way.
    http: Any = application if own else HTTPServer(application, xheaders=False)
    params = http.conn_params
    if config.max_body is not None:
        params.max_body_size = config.max_body
    if config.max_header is not None:
        params.max_header_size = config.max_header
    if config.decompress is not None:
        params.decompress = config.decompress
    if config.forwarded_allow_ips:
        # `leeward.engine.forwarded` reads the headers, and only from those peers.
        http.xheaders = False
    return http  # type: ignore[no-any-return]
