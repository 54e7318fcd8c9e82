"""Bounds on what a compressed body becomes: by its size, and by how many times larger it is.

A body of 10 MB may be 10 GB of zeros.  Tornado inflates it by pieces of `chunk_size`, so to
count them on their way is enough.  It has a bound of its own since 6.5, the largest body that
is allowed: 100 MB, which a client has for 100 KB.

What is honest shrinks to a tenth, logs and tables to a fiftieth; deflate can do a thousand.  A
handler that takes its body piece by piece (`stream_request_body`) keeps nothing, and is asked
for nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from tornado.httputil import HTTPInputError, HTTPMessageDelegate

from leeward.engine.behind import keeps_bodies

if TYPE_CHECKING:
    from tornado.httputil import HTTPHeaders, RequestStartLine, ResponseStartLine

    from leeward.engine.exchange import Exchange

#: Bytes that a body may become however few it was.
FREE = 8 * 1024 * 1024

RULE = "inflate-ratio"


class Inflated(HTTPInputError):
    """A body that becomes too many times larger.  Answered by 413."""

    rule = RULE
    status = 413


class Measured(HTTPMessageDelegate):
    """`delegate`, which is told no more of a body than `exchange` and `ratio` allow.

    ratio:  0 for any.
    """

    def __init__(self, delegate: HTTPMessageDelegate, exchange: Exchange, ratio: int) -> None:
        self._delegate = delegate
        self._exchange = exchange
        self._ratio = ratio
        self._became = 0

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        return self._delegate.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        self._became += len(chunk)
        if self._became > self._exchange.max_body_size:
            raise HTTPInputError("decompressed body too large")
        if self._became > FREE and self._ratio:
            came = self._exchange.connection.body_came
            if self._became > self._ratio * came and keeps_bodies(self._delegate):
                raise Inflated(
                    f"A body of {came} bytes becomes more than {self._ratio} times larger "
                    "(--max-inflate-ratio)"
                )
        return self._delegate.data_received(chunk)

    def finish(self) -> None:
        self._delegate.finish()

    def on_connection_close(self) -> None:
        self._delegate.on_connection_close()
