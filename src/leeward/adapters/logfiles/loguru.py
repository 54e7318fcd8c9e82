"""loguru's file sinks: those that rotate, or empty their file, are written by the collector, or
rotate in one process at a time where they do so by rules that only they have (`loguru_rules`).

loguru formats, filters and catches as ever: what is exchanged is the sink's file.

loguru is never imported here.  Its private names are those of 0.5 to 0.7; where one of them
is missing the sink is left alone.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from leeward._sys.appending import flushed
from leeward._sys.sharing import SharedStream, reachable
from leeward.adapters.logfiles import exclusive, loguru_rules
from leeward.adapters.logfiles.kinds import Way
from leeward.adapters.logfiles.refused import Refused

if TYPE_CHECKING:
    from leeward.adapters.logfiles.place import Place

_MODULE = "loguru._file_sink"
_NEEDED = ("write", "_create_path", "_create_dirs", "_create_file", "_close_file")


def watch(place: Place) -> None:
    """From now on see to the sinks of loguru, whenever it is imported."""
    sys.meta_path.insert(0, _Finder(place))


class _Finder:
    """Finds nothing by itself: it is asked when the module of loguru's sinks is imported.

    Not of `importlib.abc.MetaPathFinder`, whose import takes shutil, lzma and pathlib along:
    a tenth of what a zygote imports.
    """

    def __init__(self, place: Place) -> None:
        self._place = place

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        loader: Any = spec and spec.loader
        if loader is not None:
            execute = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                _install(getattr(module, "FileSink", None), self._place)

            loader.exec_module = exec_module
        return spec


def take_all(place: Place) -> None:
    """This process has become a worker: its sinks write where a worker's do."""
    sink: Any = getattr(sys.modules.get(_MODULE), "FileSink", None)
    if sink is None or not hasattr(sink.write, "leeward"):
        return
    for handler in sys.modules["loguru"].logger._core.handlers.values():
        mine = getattr(handler, "_sink", None)
        if isinstance(mine, sink):
            _take(mine, place)


def _install(sink: Any, place: Place) -> None:
    if not all(hasattr(sink, it) for it in _NEEDED):
        return
    write, create_path, create_file = sink.write, sink._create_path, sink._create_file

    @functools.wraps(write)
    def write_shared(self: Any, message: Any) -> None:
        if "_leeward" in vars(self):
            _write_alone(self, message, write)
            return
        if self._file is None:
            _open(self)
        if isinstance(self._file, SharedStream):
            self._file.level = message.record["level"].no
            self._file.write(message)
            self._file.flush()
        elif "_leeward" in vars(self):  # now that it was opened
            _write_alone(self, message, write)
        else:
            write(self, message)

    @functools.wraps(create_path)
    def path_of_place(self: Any) -> str:
        return place.path(create_path(self))

    @functools.wraps(create_file)
    def create_and_keep(self: Any, path: str) -> None:
        mode = self._kwargs["mode"]
        if "w" in mode:
            place.empty_once(path)
        way, spec = _choose(self, path, place)
        if way is Way.EXCLUSIVE:
            self._leeward = vars(self).get("_leeward") or Refused(place)
        else:
            vars(self).pop("_leeward", None)
        if way is Way.SHARED:
            reachable(path)
            errors = self._kwargs.get("errors")
            self._file, self._file_path = SharedStream(path, spec, self.encoding, errors), path
        else:
            self._kwargs["mode"] = mode.replace("w", "a")
            try:
                create_file(self, path)
            finally:
                self._kwargs["mode"] = mode
        if way is Way.EXCLUSIVE and "newline" not in self._kwargs:
            self._file = flushed(self._file)
        if way is not Way.LEAVE:
            place.tell(path, "loguru", way)

    write_shared.leeward = True  # type: ignore[attr-defined]
    sink.write, sink._create_path, sink._create_file = write_shared, path_of_place, create_and_keep


def _choose(sink: Any, path: str, place: Place) -> tuple[Way, bytes]:
    """Which way its lines go, and the sink's specification for the collector, or b""."""
    rotates = sink._rotation_function is not None
    if rotates or loguru_rules.empties(sink):
        spec = loguru_rules.spec(sink, path)
        if spec is not None and place.takes(spec):
            return Way.SHARED, spec.to_json()
    return (Way.EXCLUSIVE if rotates else Way.LEAVE), b""


def _take(sink: Any, place: Place) -> None:
    """One that was there before this process became a worker."""
    if sink._file is None:
        return
    before = sink._file_path
    if place.path(before) != before:
        sink._close_file()  # its next line opens its own
    elif _choose(sink, before, place)[0] is not Way.LEAVE:
        sink._close_file()
        with contextlib.suppress(OSError):  # its next line tries again, and says why
            sink._create_file(before)


def _open(sink: Any) -> None:
    """Raises OSError."""
    path = sink._create_path()
    sink._create_dirs(path)
    sink._create_file(path)


# --- by its own code ------------------------------------------------------------------------


def _write_alone(sink: Any, message: str, write: Callable[[Any, str], None]) -> None:
    """Raises OSError where there is no ring that could count what is refused."""
    refused: Refused = sink._leeward
    if refused.held():
        return
    path = sink._file_path or sink._create_path()
    try:
        sink._leeward_directory = exclusive.directory(path)
        with sink._leeward_directory.alone() as alone:
            _catch_up(sink)
            if sink._file is None:
                _open(sink)
            if alone and refused.may_rotate():
                _write_or_go_on(sink, path, message, write)
            else:
                sink._file.write(message)
            sink._file.flush()  # a line without its end, too, before somebody else's
    except OSError as error:
        if not refused.refuse(path, error):
            raise
    else:
        refused.taken(path)


def _write_or_go_on(sink: Any, path: str, message: str, write: Callable[[Any, str], None]) -> None:
    """If the rotation fails, in a new file, or in the one that there is."""
    try:
        write(sink, message)
    except OSError as error:
        in_the_file = sink._file is not None
        if in_the_file:
            raise
        sink._leeward.not_rotated(path, error)
        sink._create_file(path)
        sink._file.write(message)


def _catch_up(sink: Any) -> None:
    """See the file that a sibling has begun, and when that is to be rotated."""
    file, path = sink._file, sink._file_path
    if file is None:
        return
    try:
        if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
            return
    except OSError:
        pass  # renamed and not begun anew, or removed
    sink._close_file()
    sink._create_file(path)
    rotation = sink._rotation_function
    for each in (rotation, *getattr(rotation, "_rotations", ())):
        if hasattr(each, "_limit"):
            each._limit = None  # found out anew, from the time when the file was begun
