"""The end of a handler that was ended: what Tornado does about one that has answered.

`on_finish` is called and the request is logged, once, as for any other.  Its status is
499 if no other was sent (nginx's for a client that closed the connection), so that no
alert on errors of the server goes off because clients leave; 503 if we have sent that.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tornado.web import RequestHandler

STATUS, REASON = 499, "Client Closed Request"
UNAVAILABLE = 503, "Service Unavailable"

#: Tornado's name: its users have filters and alerts on it.
_application = logging.getLogger("tornado.application")


def prepare(handler: RequestHandler) -> None:
    """Have the cancellation that comes not be answered, nor logged as an error.

    Since 6.6 Tornado answers a cancelled handler by 500, or takes the CancelledError for
    the application's and logs it with a traceback.
    """
    own: Any = vars(handler)
    if is_to_end(handler):
        return
    own["_leeward_ends"] = True
    send_error, look_at = handler.send_error, handler._handle_request_exception

    def sending_error(status_code: int = 500, **kwargs: Any) -> None:
        if status_code == 500 and "exc_info" not in kwargs:
            close_books(handler)
        else:
            send_error(status_code, **kwargs)

    def looking_at(error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            close_books(handler)
        else:
            look_at(error)

    own["send_error"], own["_handle_request_exception"] = sending_error, looking_at


def told_503(handler: RequestHandler) -> None:
    """We have sent its client a 503 in its place: that is what its line says."""
    vars(handler)["_leeward_told"] = UNAVAILABLE


def is_to_end(handler: RequestHandler) -> bool:
    """Was it cancelled?  It need not be over."""
    return "_leeward_ends" in vars(handler)


def close_books(handler: RequestHandler) -> None:
    """Log the request, call `on_finish` and close the connection, if nobody has.  Never raises."""
    own = vars(handler)
    own.pop("send_error", None)
    own.pop("_handle_request_exception", None)
    if handler._finished:
        return
    connection = handler.request.connection
    if not handler._headers_written:
        handler._status_code, handler._reason = own.get("_leeward_told", (STATUS, REASON))
    steps: tuple[Callable[[], object], ...] = (
        handler._log,
        lambda: setattr(handler, "_finished", True),
        handler.on_finish,
        handler._break_cycles,
        # A client that has only said FIN may still wait, and no answer will come.
        lambda: getattr(connection, "close", int)(),
    )
    for step in steps:
        try:
            step()
        except Exception:
            _application.exception("Uncaught exception")


def unlog(task: asyncio.Future[Any]) -> None:
    """Take from `task` the callback of Tornado before 6.5 that logs a cancelled one."""
    for callback, _ in getattr(task, "_callbacks", None) or ():
        name = getattr(callback, "__module__", ""), getattr(callback, "__qualname__", "")
        if name == ("tornado.web", "_HandlerDelegate.execute.<locals>.<lambda>"):
            task.remove_done_callback(callback)
            task.add_done_callback(_look_at)


def _look_at(task: asyncio.Future[Any]) -> None:
    """As that callback did, but for the cancelled."""
    if not task.cancelled():
        task.result()
