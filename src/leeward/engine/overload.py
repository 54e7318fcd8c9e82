"""Too many at once: 503 for requests above --limit-concurrency, and for whole connections.

Retry-After is a few seconds, drawn for each, so that those who were turned away together
do not come back together.
"""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING

from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, ResponseStartLine

if TYPE_CHECKING:
    import socket

    from tornado.httputil import HTTPConnection, RequestStartLine

    from leeward.engine.exchange import Exchange

#: Seconds after which a client may come back.
SOONEST, LATEST = 1, 5

_LINE = ResponseStartLine("HTTP/1.1", 503, "Service Unavailable")
_BODY = b"too many at once\n"


#: Octets of a body that are read for the sake of a connection that is kept.
_PASSED_OVER = 64 * 1024


class Refusal(HTTPMessageDelegate):
    """Answers one request.  At its head: its body is not waited for, the connection closes."""

    _closes = True

    def __init__(self, conn: HTTPConnection) -> None:
        self._conn = conn
        self._bare = False  # it is a HEAD

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> None:
        self._bare = getattr(start_line, "method", "") == "HEAD"
        if self._closes:
            self._answer()

    def _answer(self) -> None:
        fields = HTTPHeaders(dict(_fields(closes=self._closes)))
        # The future tells of a client that has gone, which is no news.
        sent = self._conn.write_headers(_LINE, fields, None if self._bare else _BODY)
        sent.add_done_callback(lambda future: future.exception())
        self._conn.finish()


class OneOfMany(Refusal):
    """Answers one request of a connection that carries others' too: it is kept, where the
    request has a short body or none, which is read first.
    """

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange)
        head = exchange.head
        self._closes = head.expect or not 0 <= head.length <= _PASSED_OVER

    def finish(self) -> None:
        if not self._closes:
            self._answer()


def _fields(*, closes: bool) -> list[tuple[str, str]]:
    found = [
        ("Content-Type", "text/plain"),
        ("Content-Length", str(len(_BODY))),
        ("Retry-After", str(random.randint(SOONEST, LATEST))),
        ("Cache-Control", "no-store"),
    ]
    if closes:
        found.append(("Connection", "close"))
    return found


def turn_away(connection: socket.socket, *, plain: bool) -> None:
    """Answer 503 and close, without waiting for a request.  plain: the client speaks http."""
    with connection, contextlib.suppress(OSError):  # it has gone already
        connection.setblocking(False)
        if plain:
            # What it has sent is read: closing over unread bytes is a reset, which may
            # overtake the answer.
            with contextlib.suppress(BlockingIOError):
                connection.recv(65536)
            head = "".join(f"{name}: {value}\r\n" for name, value in _fields(closes=True))
            connection.send(f"HTTP/1.1 503 Service Unavailable\r\n{head}\r\n".encode() + _BODY)
