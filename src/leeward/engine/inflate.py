"""A bound on what a compressed body becomes, for Tornado before 6.5, which has none.

A body of 10 MB may be 10 GB of zeros.  Tornado inflates it by pieces of `chunk_size`, so
to count them on their way is enough.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from tornado.httputil import HTTPInputError, HTTPMessageDelegate

if TYPE_CHECKING:
    from tornado.httputil import HTTPHeaders, RequestStartLine, ResponseStartLine

    from leeward.engine.exchange import Exchange


class Measured(HTTPMessageDelegate):
    """`delegate`, which is told no more of a body than `exchange` allows."""

    def __init__(self, delegate: HTTPMessageDelegate, exchange: Exchange) -> None:
        self._delegate = delegate
        self._exchange = exchange
        self._came = 0

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        return self._delegate.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        self._came += len(chunk)
        if self._came > self._exchange.max_body_size:
            raise HTTPInputError("decompressed body too large")
        return self._delegate.data_received(chunk)

    def finish(self) -> None:
        self._delegate.finish()

    def on_connection_close(self) -> None:
        self._delegate.on_connection_close()
