"""What a client is told whose request is not carried out."""

from __future__ import annotations

import logging

#: Tornado's names: its users have filters and alerts on them.
_general = logging.getLogger("tornado.general")
_application = logging.getLogger("tornado.application")

#: 400 is as bare as Tornado's, to whose tests and users' monitors it is known, and 431 as 400.
_REFUSALS = {
    400: b"HTTP/1.1 400 Bad Request\r\n\r\n",
    413: b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    408: b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    431: b"HTTP/1.1 431 Request Header Fields Too Large\r\n\r\n",
    503: b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
}


def answer(status: int) -> bytes:
    """The whole answer; behind it the connection closes."""
    return _REFUSALS.get(status, _REFUSALS[400])


def tell(error: Exception, rule: str, whom: object) -> None:
    """Log why a request was refused; `whom` is Tornado's request context."""
    if rule in ("header-size", "inflate-ratio"):
        _general.info("%s from %s [%s]", error, whom, rule)
    else:
        _general.info("Malformed HTTP message from %s: %s [%s]", whom, error, rule)


class Uncaught(Exception):
    """An exception of the application's, logged already."""


def uncaught(error: Exception) -> Uncaught:
    _application.error("Uncaught exception", exc_info=error)
    return Uncaught()
