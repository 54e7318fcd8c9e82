"""A WebSocket whose `open()` fails is closed all the same: `on_close` comes, once.

Tornado logs what `open()` raises, cuts the connection, and forgets `on_close`: whatever
`open()` had registered before stays registered for ever.  A client that leaves while
`open()` still runs makes it raise as a rule, at its next `write_message`.  Ten of ten
sessions were left behind by that in the server of examples/vanishing_clients.

When `open()` returns, `on_close` is called by Tornado as ever, and nothing is done here.
"""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable

    from tornado.websocket import WebSocketHandler

#: Tornado's name: its users have filters and alerts on it.
_application = logging.getLogger("tornado.application")


def see_open_through(handler: WebSocketHandler, loop: asyncio.AbstractEventLoop) -> None:
    """Have `handler.on_close` called when its `open` raises, or is cancelled."""
    opened, own = handler.open, vars(handler).get("open")

    def opening(*args: Any, **kwargs: Any) -> Awaitable[None] | None:
        if own is None:
            vars(handler).pop("open", None)  # it is called once: leave no cycle behind
        else:
            handler.open = own
        try:
            waiting = opened(*args, **kwargs)
        except Exception:
            loop.call_soon(_close, handler)
            raise
        if not inspect.isawaitable(waiting):
            return waiting
        return _see(waiting, handler, loop)

    handler.open = opening


async def _see(
    waiting: Awaitable[None], handler: WebSocketHandler, loop: asyncio.AbstractEventLoop
) -> None:
    try:
        await waiting
    except (SystemExit, KeyboardInterrupt):
        raise  # ends the worker
    except BaseException:
        loop.call_soon(_close, handler)
        raise


def _close(handler: WebSocketHandler) -> None:
    """`on_close` comes by this, unless it was called already."""
    try:
        handler.on_connection_close()
    except Exception:
        _application.exception("Uncaught exception")
