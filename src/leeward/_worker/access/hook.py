"""Which requests get a line, and whose it is to write.

Tornado calls `Application.log_request` for each answer, and names it, with the setting
`log_function`, as what an application may change.  That one method is replaced, for all
applications of the process; a subclass's own, `log_function`, a handler's own `_log` and
`_request_summary` are asked as ever.  Where the application has configured logging itself in
any way that touches `tornado.access` (handlers, filters, propagation, a class, a patch, a
record factory) Tornado's own method does the work.

Through `logging` a line costs 10 µs hot (Tornado's formatter) or 18 (ours), and 23 in a server
under load, most of it for a record that nobody but the formatter reads.  Our own costs 3 and
4 (bench/access_log.py; a hello world with and without, on asyncio).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING, Any

from tornado import web

from leeward._worker.access import formats
from leeward._worker.logs import ACCESS
from leeward.engine.accelerate.pristine import find

if TYPE_CHECKING:
    from tornado.web import Application, RequestHandler

    from leeward._worker.access.formats import Format
    from leeward._worker.batch import Sink
    from leeward._worker.logs import Printer

#: What a record goes through on its way, any of which instruments replace (Sentry does).
_THROUGH = (
    *("info", "warning", "error", "log", "_log", "isEnabledFor", "getEffectiveLevel"),
    *("findCaller", "makeRecord", "handle", "filter", "callHandlers"),
)
_PLAIN = (
    *(f"logging:Logger.{name}" for name in _THROUGH if name != "filter"),
    *("logging:Filterer.filter", "logging:Handler.handle"),
)
#: Seconds for which that is taken to be as it was; handlers and levels are looked at each time.
_LOOK_AGAIN = 1.0


class AccessLog:
    """printer:  of ours, on the root logger; None if the application has handlers there.
    form:     makes the lines.
    sink:     takes them; None if there are to be none.
    """

    def __init__(self, printer: Printer | None, form: Format, sink: Sink | None) -> None:
        self._printer = printer
        self._form = form
        self._sink = sink
        self._logger = logging.getLogger(ACCESS)
        self._look_at = float("-inf")
        self._plain = False
        self._thread = get_ident()
        self._original: Any = None
        self._ours: Any = None
        self._summary: Any = None

    # --- in its place ----------------------------------------------------------------------------

    def install(self) -> bool:
        """Be asked for each answer.  False if something else has taken that place."""
        self._summary = find("tornado.web:RequestHandler._request_summary")
        original = find("tornado.web:Application.log_request")
        if original is None or self._summary is None:
            return False
        self._original = original
        self._ours = _replacement(original, self._log)
        web.Application.log_request = self._ours  # type: ignore[method-assign]
        return True

    def remove(self) -> None:
        if self._ours is not None and vars(web.Application)["log_request"] is self._ours:
            web.Application.log_request = self._original  # type: ignore[method-assign]

    # --- whose is it -----------------------------------------------------------------------------

    def ours(self) -> bool:
        """Are we asked, and would a line through `logging` be printed by our printer only?"""
        return self._ours is not None and self._untouched() and self._reaches_only_us()

    def _untouched(self) -> bool:
        logger = self._logger
        return (
            self._printer is not None
            and _WEB["access_log"] is logger
            and type(logger) is logging.Logger
            and logging.getLogRecordFactory() is logging.LogRecord
            and vars(logger).keys().isdisjoint(_THROUGH)
            and "filter" not in vars(logging.Logger)
            and all(map(find, _PLAIN))
        )

    def _reaches_only_us(self) -> bool:
        printer = self._printer
        logger: logging.Logger = self._logger
        if printer is None or logger.filters or printer.filters or printer.level:
            return False
        while True:
            handlers = logger.handlers
            parent = logger.parent
            if parent is None:
                return len(handlers) == 1 and handlers[0] is printer
            if not logger.propagate or (handlers and not all(map(_silent, handlers))):
                return False
            logger = parent

    # --- a request has been answered -------------------------------------------------------------

    def _log(self, handler: RequestHandler) -> bool:
        """Write its line.  False if that is not for us."""
        logger = self._logger
        status = handler.get_status()
        level, number = _LEVELS[(status >= 400) + (status >= 500)]
        if _WEB["access_log"] is logger and not logger.isEnabledFor(number):
            return True
        now = time.time()
        if not 0.0 <= self._look_at - now <= _LOOK_AGAIN:  # clocks are set back, too
            self._look_at = now + _LOOK_AGAIN
            self._plain = self._untouched()
        if not self._plain or not self._reaches_only_us() or get_ident() != self._thread:
            return False
        summary: Any = handler._request_summary
        if getattr(summary, "__func__", None) is not self._summary:
            return False
        if self._sink is not None:
            request = handler.request
            seconds, size = request.request_time(), _size(handler, status)
            self._sink.put(self._form(now, level, status, request, seconds, size))
        return True


def _silent(handler: logging.Handler) -> bool:
    return type(handler) is logging.NullHandler


_WEB = vars(web)
_LEVELS = (("info", logging.INFO), ("warning", logging.WARNING), ("error", logging.ERROR))


def _replacement(
    original: Callable[[Application, RequestHandler], None],
    log: Callable[[RequestHandler], bool],
) -> Callable[[Application, RequestHandler], None]:
    def log_request(self: Application, handler: RequestHandler) -> None:
        own = self.settings.get("log_function")
        if own is not None:
            own(handler)
            return
        if "log_function" not in self.settings:
            try:
                if log(handler):
                    return
            except Exception:
                # A handler or a request that is not as Tornado makes them: Tornado shall
                # decide what becomes of it.
                return original(self, handler)
        return original(self, handler)

    log_request.__doc__ = original.__doc__
    log_request.__module__, log_request.__qualname__ = __name__, original.__qualname__
    return log_request


def _size(handler: RequestHandler, status: int) -> int:
    """Octets of the answer's body; UNKNOWN where nobody has counted."""
    request = handler.request
    if request.method == "HEAD" or status < 200 or status in (204, 304):
        return 0
    length = handler._headers.get("Content-Length")
    if length is not None:
        return int(length) if length.isdecimal() else formats.UNKNOWN
    sent: int = getattr(request.connection, "body_sent", formats.UNKNOWN)
    return sent
