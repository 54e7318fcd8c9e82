"""What an application does with a part of a request, while it takes its time for it.

That is its `data_received` with a piece of the body, as a rule; `prepare` before the first one.
Until it is over nobody is told that the client has gone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from tornado.iostream import StreamClosedError

from leeward.engine.interrupt import give_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from tornado.web import RequestHandler

    from leeward.engine.interrupt import Threads


class Endable(Protocol):
    def end(self, threads: Threads) -> None:
        """Have CancelledError raised where it waits; see `leeward.engine.interrupt`."""


class Taking:
    """future:  of what the application does.
    over:    the callback of `future` by which its connection hears that it is done.
    """

    __slots__ = ("_future", "_over")

    def __init__(
        self, future: asyncio.Future[Any], over: Callable[[asyncio.Future[Any]], None]
    ) -> None:
        self._future, self._over = future, over

    def end(self, threads: Threads) -> None:
        """What is not for this piece alone goes on, and is waited for no longer."""
        if self._future.done() or give_up(self._future, self._over, threads):
            return
        loop = self._future.get_loop()
        cancelled = loop.create_future()
        cancelled.cancel()
        loop.call_soon(self._over, cancelled)


def taking_of(handler: RequestHandler) -> Endable | None:
    """The `data_received` that it is at work in; its `prepare` is a part of what serves it."""
    if _prepares(handler) is not None:
        return None
    found: Endable | None = getattr(handler.request.connection, "taking", None)
    return found


def end_prepare(handler: RequestHandler) -> None:
    """Its request is over: nobody waits for its `prepare`.

    Tornado 6.4 forgets to say so when that was cancelled.
    """
    prepares = _prepares(handler)
    if prepares is not None:
        prepares.set_result(None)


def _prepares(handler: RequestHandler) -> asyncio.Future[None] | None:
    """What is done once the `prepare` is over of one that reads its body as it comes."""
    found: asyncio.Future[None] | None = getattr(handler, "_prepared_future", None)
    return None if found is None or found.done() else found


def end_body(handler: RequestHandler) -> None:
    """The rest of a body that is read as it comes will not come.

    Tornado's `on_connection_close` says so, which a handler that has one of its own may
    have forgotten to call.
    """
    body = getattr(handler.request, "_body_future", None)
    if isinstance(body, asyncio.Future) and not body.done():
        body.set_exception(StreamClosedError())
        body.exception()
