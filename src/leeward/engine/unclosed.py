"""A WebSocketHandler whose client is gone and that was not told: it stands in an `await`.

Tornado reads the next frame, and so sees the end, when `on_message` has returned.  One that
hangs never hears of it: `on_close` does not come, and what it had registered stays.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from typing import TYPE_CHECKING, Any

from tornado.websocket import WebSocketHandler

from leeward.engine.peeking import local
from leeward.engine.ties import followed_by

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from tornado.web import RequestHandler

#: Tornado's name: its users have filters and alerts on it.
_application = logging.getLogger("tornado.application")


#: Where a handler keeps the future of its `on_message`, if that is a `@gen.coroutine`.
_MESSAGE = "_leeward_message"


def remember(handler: WebSocketHandler) -> None:
    """So that `messages` will find what it does: nothing leads there from its task.

    A coroutine is a task of its own, and is found without this.
    """
    method: Callable[..., Any] = type(handler).on_message
    if not getattr(method, "__tornado_coroutine__", False) or "on_message" in vars(handler):
        return
    mine = weakref.ref(handler)

    def on_message(message: str | bytes) -> Any:
        own = mine()
        found = method(own, message)
        vars(own)[_MESSAGE] = found
        return found

    vars(handler)["on_message"] = on_message


def messages(handlers: Collection[RequestHandler]) -> dict[int, asyncio.Future[Any]]:
    """The `on_message` that is at work, by the id of its handler.

    Looks at every task of the loop, once for all of them.
    """
    wanted = {id(it): it for it in handlers if is_open(it)}
    found: dict[int, asyncio.Future[Any]] = {}
    for task in asyncio.all_tasks() if wanted else ():
        coroutine: Any = task.get_coro()
        frame = getattr(coroutine, "cr_frame", None)
        owner = None if frame is None else id(local(frame, "self"))
        if owner in wanted and followed_by(task, "tornado.websocket"):
            found[owner] = task
    for key, it in wanted.items():
        future = vars(it).get(_MESSAGE)
        if isinstance(future, asyncio.Future) and not future.done():
            found[key] = future
    return found


def is_open(handler: RequestHandler) -> bool:
    """Is it a WebSocket's, that was opened, and has not heard of its end?"""
    upgraded = isinstance(handler, WebSocketHandler) and handler.get_status() == 101
    return upgraded and not handler._on_close_called  # type: ignore[attr-defined]


def works(handler: RequestHandler) -> bool:
    """Has it not given its answer, or not heard of its end?"""
    return not handler._finished or is_open(handler)


def read(handler: RequestHandler) -> int:
    """Bytes of frames that it was given: more while it works through what had come."""
    return int(getattr(getattr(handler, "ws_connection", None), "_wire_bytes_in", 0))


def hush(handler: RequestHandler) -> None:
    """Have the cancellation that comes not be logged as an error of the application's.

    Since 6.6 Tornado has `log_exception` told of what ends an `on_message`, that too.
    """
    if not is_open(handler):
        return
    log_exception = handler.log_exception

    def logging_exception(kind: Any, value: Any, traceback: Any) -> None:
        if not isinstance(value, asyncio.CancelledError):
            log_exception(kind, value, traceback)

    vars(handler)["log_exception"] = logging_exception


def close(handler: RequestHandler) -> None:
    """`on_close` comes by this, unless it was called already; Tornado will not call it again."""
    if not is_open(handler):
        return
    try:
        handler.on_ws_connection_close()  # type: ignore[attr-defined]
    except Exception:
        _application.exception("Uncaught exception")
