"""loguru's file sinks: those that rotate do so in one process at a time.

The collector does not rotate for them: their old files are named by the moment at which
each was begun, and compressed and removed by rules that may be functions of the application.

loguru is never imported here.  Its private names are those of 0.5 to 0.7; where one of them
is missing the sink is left alone.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from leeward.adapters.logfiles import exclusive
from leeward.adapters.logfiles.kinds import Way

if TYPE_CHECKING:
    from leeward.adapters.logfiles.place import Place

_MODULE = "loguru._file_sink"
_NEEDED = ("write", "_create_path", "_create_file", "_close_file")


def watch(place: Place) -> None:
    """From now on see to the sinks of loguru, whenever it is imported."""
    sys.meta_path.insert(0, _Finder(place))


class _Finder(MetaPathFinder):
    """Finds nothing by itself: it is asked when the module of loguru's sinks is imported."""

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
    def write_alone(self: Any, message: str) -> None:
        if self._rotation_function is None:
            write(self, message)
            return
        self._leeward = exclusive.directory(self._file_path or create_path(self))
        with self._leeward.alone() as alone:
            _catch_up(self)
            if alone or self._file is None:
                write(self, message)
            else:
                self._file.write(message)

    @functools.wraps(create_path)
    def path_of_place(self: Any) -> str:
        return place.path(create_path(self))

    @functools.wraps(create_file)
    def create_and_keep(self: Any, path: str) -> None:
        mode = self._kwargs["mode"]
        if "w" in mode:
            place.empty_once(path)
            self._kwargs["mode"] = mode.replace("w", "a")
        try:
            create_file(self, path)
        finally:
            self._kwargs["mode"] = mode
        _tell(self, place)

    write_alone.leeward = True  # type: ignore[attr-defined]
    sink.write, sink._create_path, sink._create_file = write_alone, path_of_place, create_and_keep


def _take(sink: Any, place: Place) -> None:
    """One that was there before this process became a worker."""
    if sink._file is not None:
        if place.path(sink._file_path) != sink._file_path:
            sink._close_file()  # its next line opens its own
        else:
            _tell(sink, place)


def _tell(sink: Any, place: Place) -> None:
    if sink._rotation_function is not None:
        place.tell(sink._file_path, "loguru", Way.EXCLUSIVE)


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
