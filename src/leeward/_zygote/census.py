"""Which sockets have come with an extension: C code opens them and tells nobody.

They are counted before each extension is loaded, and at the next import after it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from types import FrameType

from leeward._core.record import Record
from leeward._zygote.lines import Inode, descriptors
from leeward._zygote.origins import Site


class Census:
    """native:  the sockets that appeared while an extension was loaded: (its name, where)."""

    def __init__(self) -> None:
        self.native: dict[Inode, tuple[str, Site]] = {}
        self.loading: _Loading | None = None
        self._marked: tuple[int, int] | None = None
        self._there: frozenset[Inode] = frozenset()
        self._table = -1

    def open(self) -> None:
        """From now on.  Raises nothing: without it there is more to look through."""
        with contextlib.suppress(OSError):  # no /proc
            self._table = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """May be called again."""
        self.end()
        if self._table >= 0:
            os.close(self._table)
            self._table = -1

    def begin(self, name: str, site: Callable[[], Site], importer: FrameType | None) -> None:
        """Extension `name` is about to be loaded, by `importer`.

        site:  tells where, as it is now, when it is asked at the end.
        """
        there = self.end()
        place = None if importer is None else (importer, importer.f_lasti)
        self.loading = _Loading(name, site, there, place)

    def goes_on(self, frame: FrameType) -> None:
        """Something is imported, in `frame`: by what is being loaded, or after it."""
        if self.loading is not None and not self.loading.is_at_work(frame):
            self.end()

    def end(self) -> frozenset[Inode]:
        """What has appeared since an extension began to load came with it, or by it.

        The end of its loading is no event: what a call into it has opened behind the
        import is counted too, if nothing else was imported in between.  Then whoever
        holds the connection tells the better line.  Returns all that is there.
        """
        there = self.here()
        it, self.loading = self.loading, None
        if it is not None and (new := there - it.before):
            self.native.update(dict.fromkeys(new - self.native.keys(), (it.name, it.site())))
        return there

    def here(self) -> frozenset[Inode]:
        """All descriptors that are there.  pandas loads 57 extensions, and to look through
        /proc each time, before and behind, was a third of what importing it cost more."""
        mark = self._mark()
        if mark is None or mark != self._marked:
            self._marked, self._there = mark, frozenset(descriptors())
        return self._there

    def _mark(self) -> tuple[int, int] | None:
        """How many descriptors there are, and the lowest free one; None where it is not told.

        By the open directory: its path, each time, took 9 µs instead of 1.5.
        """
        try:
            many = os.fstat(self._table).st_size  # since Linux 6.2; 0 before
            free = os.dup(self._table)
            os.close(free)
        except OSError:  # the application has closed it, or the table is full
            return None
        return (many, free) if many else None


class _Loading(Record):
    """An extension that is being loaded.  place: the frame that imports it, and how far it is."""

    name: str
    site: Callable[[], Site]
    before: frozenset[Inode]
    place: tuple[FrameType, int] | None

    def is_at_work(self, frame: FrameType | None) -> bool:
        """Is what happens in `frame` a part of it?"""
        if self.place is None or self.place[0].f_lasti != self.place[1]:
            return False  # so for nearly all: a stack of imports is 100 frames high
        while frame is not None and frame is not self.place[0]:
            frame = frame.f_back
        return frame is not None


def importer_of(frame: FrameType | None) -> FrameType | None:
    """The innermost frame that is not the import system's."""
    while frame is not None and frame.f_code.co_filename.startswith("<frozen "):
        frame = frame.f_back
    return frame
