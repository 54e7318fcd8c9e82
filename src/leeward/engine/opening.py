"""After each `open()` of a WebSocket `on_close` comes, once, also if it fails or comes too late.

Tornado logs what `open()` raises, cuts the connection, and forgets `on_close`: whatever
`open()` had registered before stays registered for ever.  A client that leaves while
`open()` still runs makes it raise as a rule, at its next `write_message`.  Ten of ten
sessions were left behind by that in the server of examples/vanishing_clients.

A client that leaves before, during an `async prepare()`, has Tornado call `on_close`, then
`open()`, and `on_close` never again, for it was called: so that is forgotten before `open()`.

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
    """Have `handler.on_close` called behind its `open`, also if it raises, or is cancelled."""
    opened, own = handler.open, vars(handler).get("open")

    def opening(*args: Any, **kwargs: Any) -> Awaitable[None] | None:
        if own is None:
            vars(handler).pop("open", None)  # it is called once: leave no cycle behind
        else:
            handler.open = own
        handler._on_close_called = False  # if it was, it was for a client that left before this
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
