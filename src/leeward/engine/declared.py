"""Finds what a handler's class says of its deadlines, whatever leads to it.

`leeward.engine.execute` asks an application, and knows at once.  Where routers of the
application's own stand before it, the class is known when the head has been answered for
(`leeward.engine.behind`), or only when the handler has been made.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from tornado.httputil import HTTPMessageDelegate

from leeward.engine.behind import handler_behind
from leeward.limits import ATTRIBUTE, Deadlines

if TYPE_CHECKING:
    from tornado.httputil import HTTPHeaders, RequestStartLine, ResponseStartLine

    from leeward.engine.exchange import Exchange


def declared(delegate: object) -> Deadlines | None:
    """What the class behind `delegate` says, None for nothing."""
    found: Deadlines | None = getattr(handler_behind(delegate), ATTRIBUTE, None)
    return found


class Declared(HTTPMessageDelegate):
    """`delegate`, and what its handler says is told to `exchange`."""

    def __init__(self, delegate: HTTPMessageDelegate, exchange: Exchange) -> None:
        self.delegate = delegate
        self._exchange = exchange

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        waiting = self.delegate.headers_received(start_line, headers)
        self._exchange.own = declared(self.delegate)
        return waiting

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self.delegate.data_received(chunk)

    def finish(self) -> None:
        exchange = self._exchange
        self.delegate.finish()
        handler = exchange.handler
        if exchange.own is None and handler is not None:
            own = exchange.own = getattr(type(handler), ATTRIBUTE, None)
            if own is not None:
                member = exchange.connection
                member.deadline = member.server.deadline(member.obey(own))

    def on_connection_close(self) -> None:
        self.delegate.on_connection_close()
