"""The file handlers of `logging`: those that several processes cannot share are kept from
rotating, or emptying, what their siblings write.

Each is the application's own object with its formatter, filters, level and terminator.
What is exchanged is its stream, and of the object the methods `emit`, `shouldRollover`,
`doRollover` and `handleError`: what derives from it and calls its parent's still works.

Replacing `FileHandler._open` and giving `BaseRotatingHandler` a `handle` reaches those that
are made later.  Replacing the constructors does not do: a handler's attributes are only
complete when the outermost has returned, and code has taken the classes by then.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from logging.handlers import BaseRotatingHandler
from typing import TYPE_CHECKING, Any

from leeward._sys import whole
from leeward._sys.appending import flushed
from leeward._sys.sharing import SharedStream, reachable
from leeward.adapters.logfiles import exclusive, kinds
from leeward.adapters.logfiles.kinds import Way
from leeward.adapters.logfiles.refused import Refused

if TYPE_CHECKING:
    from leeward.adapters.logfiles.place import Place

_FILE_OPEN = logging.FileHandler._open
_HANDLE = logging.Handler.handle
_OURS = ("emit", "shouldRollover", "doRollover", "handleError")


class Taken:
    """What was done to a handler.  path:  the file that its constructor was told."""

    def __init__(self, handler: logging.FileHandler) -> None:
        self.path = handler.baseFilename
        self.way = Way.LEAVE
        self.spec = b""
        self.directory: exclusive.Directory | None = None
        self.refused: Refused | None = None
        self.emitting = self.failed = False
        self._before = {it: vars(handler)[it] for it in _OURS if it in vars(handler)}
        self._ours: dict[str, Any] = {}

    def patch(self, handler: logging.FileHandler, **methods: Any) -> None:
        vars(handler).update(methods)
        self._ours = methods

    def restore(self, handler: logging.FileHandler) -> None:
        for name, ours in self._ours.items():
            if vars(handler).get(name) is ours:  # and not what somebody has put on top
                del vars(handler)[name]
        vars(handler).update(self._before)
        self._ours = {}

    def emit(self, handler: logging.FileHandler, record: logging.LogRecord) -> None:
        self.own(handler, "emit", record)

    def own(self, handler: logging.FileHandler, name: str, *args: Any) -> Any:
        """Its method of that name, as it is without us."""
        if (patched := self._before.get(name)) is not None:
            return patched(*args)
        return getattr(type(handler), name)(handler, *args)


def install(place: Place) -> None:
    """From now on handlers that are made, or that log, are taken."""
    patched: tuple[tuple[type, str, Any], ...] = (
        (logging.FileHandler, "_open", _opener(place)),
        (BaseRotatingHandler, "handle", _handler(place)),
    )
    for owner, name, value in patched:
        setattr(owner, name, value)


def uninstall() -> None:
    """For tests: the classes are as they were; handlers that were taken stay so."""
    owner: Any = logging.FileHandler
    owner._open = _FILE_OPEN
    if "handle" in vars(BaseRotatingHandler):
        del BaseRotatingHandler.handle


def take_all(place: Place) -> None:
    """All that there are, anew: this process has become a worker."""
    for handler in _all():
        _take_or_tell(handler, place)


def tell_all(place: Place) -> None:
    """What would become of each in a worker; nothing is done to it."""
    for handler in _all():
        taken: Taken | None = vars(handler).get("_leeward")
        # Of one that was taken our own methods would count as a rotation of its own.
        way = taken.way if taken is not None else place.choose(handler)[0]
        if way is not Way.LEAVE or place.moves(handler.baseFilename):
            place.tell(handler.baseFilename, type(handler).__name__, way)


def _all() -> Iterator[logging.FileHandler]:
    for reference in list(logging._handlerList):  # type: ignore[attr-defined]
        handler = reference()
        if isinstance(handler, logging.FileHandler) and not _is_closed(handler):
            yield handler


def _take_or_tell(handler: logging.FileHandler, place: Place) -> None:
    try:
        take(handler, place)
    except Exception as error:
        # Of a class that is not as `logging` makes them: no reason not to serve.
        place.tell_failure(handler, error)


def _is_closed(handler: logging.FileHandler) -> bool:
    """By dictConfig, as a rule, which leaves them to the garbage collector."""
    return handler.stream is None and bool(getattr(handler, "_closed", False))


def take(handler: logging.FileHandler, place: Place) -> None:
    """Have `handler` do what is right in this process.  Its constructor has returned."""
    handler.acquire()
    try:
        _take(handler, place)
    finally:
        handler.release()


def _take(handler: logging.FileHandler, place: Place) -> None:
    taken: Taken = vars(handler).get("_leeward") or Taken(handler)
    vars(handler)["_leeward"] = taken
    taken.restore(handler)
    path = place.path(taken.path)
    moved = path != handler.baseFilename
    handler.baseFilename = path
    taken.way, taken.spec = place.choose(handler)
    if taken.way is Way.SHARED:
        _share(handler, taken, place)
    elif taken.way is Way.EXCLUSIVE:
        _exclude(handler, taken, place)
    stream = getattr(handler, "stream", None)  # there is none yet in its constructor
    if stream is not None:
        _renew_stream(handler, stream, taken, place, moved)
    if moved:
        _set_deadline(handler)
    if taken.way is not Way.LEAVE or moved:
        place.tell(path, type(handler).__name__, taken.way)


def _renew_stream(
    handler: logging.FileHandler, stream: Any, taken: Taken, place: Place, moved: bool
) -> None:
    ours = isinstance(stream, SharedStream)
    if taken.way is Way.SHARED:
        if ours and stream.name == handler.baseFilename:
            stream.spec = taken.spec
            return
        handler.stream = _shared(handler)
    elif ours or moved:
        handler.stream = _open_really(handler, place)
    else:
        return
    with contextlib.suppress(OSError, ValueError):  # a full disk, closed by the application
        stream.close()


def _set_deadline(handler: Any) -> None:
    """When its file is to be rotated, as its constructor finds it out."""
    if hasattr(handler, "rolloverAt"):
        written = time.time()
        with contextlib.suppress(OSError):  # there is no file yet
            written = os.stat(handler.baseFilename).st_mtime
        handler.rolloverAt = handler.computeRollover(int(written))


# --- by the collector -----------------------------------------------------------------------


def _share(handler: logging.FileHandler, taken: Taken, place: Place) -> None:
    reference = weakref.ref(handler)  # no cycle: a handler that is dropped goes at once

    def emit(record: logging.LogRecord) -> None:
        mine = reference()
        if mine is not None:
            if isinstance(mine.stream, SharedStream):
                mine.stream.level = record.levelno or logging.INFO  # (None: makeLogRecord)
            taken.emit(mine, record)

    if isinstance(handler, BaseRotatingHandler):
        once = functools.partial(_roll_once, reference, place)
        taken.patch(handler, emit=emit, shouldRollover=_never, doRollover=once)
    else:
        taken.patch(handler, emit=emit)


def _shared(handler: logging.FileHandler) -> Any:
    taken: Taken | None = vars(handler).get("_leeward")
    spec = taken.spec if taken is not None else b""
    return SharedStream(handler.baseFilename, spec, handler.encoding, handler.errors)


def _never(record: logging.LogRecord) -> bool:
    return False


def _roll_once(reference: weakref.ref[logging.FileHandler], place: Place) -> None:
    """An application that begins a new file at its start: the first of all workers does."""
    handler: Any = reference()
    if handler is not None and place.is_older(handler.baseFilename):
        with exclusive.directory(handler.baseFilename).alone():
            if place.is_older(handler.baseFilename):
                type(handler).doRollover(handler)


# --- by its own code ------------------------------------------------------------------------


def _exclude(handler: logging.FileHandler, taken: Taken, place: Place) -> None:
    reference = weakref.ref(handler)
    refused = taken.refused = taken.refused or Refused(place)

    def emit(record: logging.LogRecord) -> None:
        mine = reference()
        if mine is None or refused.held():
            return
        taken.emitting, taken.failed = True, False
        try:
            taken.directory = exclusive.directory(mine.baseFilename)
            with taken.directory.alone() as alone:
                _catch_up(mine)
                if alone:
                    taken.emit(mine, record)
                else:
                    logging.FileHandler.emit(mine, record)
        except OSError:
            mine.handleError(record)
        finally:
            taken.emitting = False
        if not taken.failed:
            refused.taken(mine.baseFilename)

    def handle_error(record: logging.LogRecord) -> None:
        """What the file has refused is counted; all else is the handler's."""
        mine, error = reference(), sys.exc_info()[1]
        taken.failed = True
        if mine is None:
            return
        counted = isinstance(error, OSError) and refused.refuse(mine.baseFilename, error)
        if not counted or type(mine).handleError is not logging.Handler.handleError:
            taken.own(mine, "handleError", record)

    def do_rollover() -> None:
        """A disk that is full is no reason to refuse what the file that there is would take."""
        mine = reference()
        if mine is None or (taken.emitting and not refused.may_rotate()):
            return
        try:
            taken.own(mine, "doRollover")
        except OSError as error:
            if not taken.emitting:
                raise
            refused.not_rotated(mine.baseFilename, error)

    methods: dict[str, Any] = {"emit": emit, "handleError": handle_error}
    if isinstance(handler, BaseRotatingHandler):
        methods["doRollover"] = do_rollover
    taken.patch(handler, **methods)


def _catch_up(handler: Any) -> None:
    """See the file that a sibling has begun, and when that is to be rotated."""
    stream = handler.stream
    if stream is not None:
        if _is_current(stream, handler.baseFilename):
            with contextlib.suppress(OSError, ValueError):  # not to be sought in
                stream.seek(0, os.SEEK_END)
            return
        handler.stream = None
        with contextlib.suppress(OSError, ValueError):  # a full disk, closed by the application
            stream.close()
    _set_deadline(handler)
    handler.stream = handler._open()


def _is_current(stream: Any, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), os.stat(path))
    except (OSError, ValueError, AttributeError):
        return False


# --- opening --------------------------------------------------------------------------------


def _opener(place: Place) -> Callable[[logging.FileHandler], Any]:
    def _open(self: logging.FileHandler) -> Any:
        """Open the current base file, in a way that leaves siblings their lines."""
        taken: Taken | None = vars(self).get("_leeward")
        if taken is None:
            path = place.path(self.baseFilename)
            if not isinstance(self, BaseRotatingHandler):
                if path != self.baseFilename or kinds.way(self) is Way.SHARED:
                    _take(self, place)
                    taken = vars(self)["_leeward"]
            elif not kinds.opens_itself(self):
                # What else it is going to be told, its constructor has not got to.
                reachable(path)
                return SharedStream(path, b"", self.encoding, self.errors)
        if taken is not None and taken.way is Way.SHARED:
            if kinds.empties(self):
                place.empty_once(self.baseFilename)
            reachable(self.baseFilename)
            return _shared(self)
        return _open_really(self, place)

    _open.__qualname__, _open.__module__ = _FILE_OPEN.__qualname__, __name__
    return _open


def _open_really(handler: logging.FileHandler, place: Place) -> Any:
    mode = handler.mode
    if kinds.empties(handler):
        place.empty_once(handler.baseFilename)
        handler.mode = mode.replace("w", "a")
    try:
        stream = _FILE_OPEN(handler)
    finally:
        handler.mode = mode
    taken: Taken | None = vars(handler).get("_leeward")
    if taken is not None and taken.way is Way.EXCLUSIVE:
        return flushed(stream)
    return whole.in_place_of(stream)


def _handler(place: Place) -> Callable[[Any, logging.LogRecord], Any]:
    def handle(self: Any, record: logging.LogRecord) -> Any:
        if "_leeward" not in vars(self):
            _take_or_tell(self, place)
        return _HANDLE(self, record)

    handle.__qualname__, handle.__module__ = _HANDLE.__qualname__, __name__
    return handle
