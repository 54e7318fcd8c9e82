"""Compressing rotated files, a little at a time: the collector has one thread, and lines
must not wait for it."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterator

#: Of a compressed file that is not complete yet, behind the log file's own name.
PART = ".gz.part"
GZ = ".gz"
#: Octets at a time: 4 ms.
_STEP = 1 << 17
#: gzip's format, and its usual level.
_WINDOW, _LEVEL = 31, 6

Names = Callable[[], list[str]]


class Shrinker:
    def __init__(self) -> None:
        #: By device and inode: the next rotation gives the file another name.
        self._waiting: deque[tuple[str, tuple[int, int], Names]] = deque()
        self._work: Iterator[None] | None = None
        #: Told (path, error) of what could not be compressed; it stays as it is.
        self.errors: list[tuple[str, OSError]] = []

    def __bool__(self) -> bool:
        """Is there something to do?"""
        return bool(self._waiting) or self._work is not None

    def add(self, path: str, rotated: str, names: Names) -> None:
        """Compress `rotated`, a file that `path` was rotated to, and remove it then.

        names:  gives all that `path` was rotated to, as they are called now.
        """
        with contextlib.suppress(FileNotFoundError):
            it = os.stat(rotated)
            new = (path, (it.st_dev, it.st_ino), names)
            if new not in self._waiting:
                self._waiting.append(new)

    def step(self) -> None:
        """Do a little of it."""
        if self._work is None:
            if not self._waiting:
                return
            self._work = self._compress(*self._waiting.popleft())
        if next(self._work, False) is False:
            self._work = None

    def _compress(self, path: str, identity: tuple[int, int], names: Names) -> Iterator[None]:
        part = path + PART
        try:
            rotated = _name_of(identity, names)
            if rotated is None:
                return
            with open(rotated, "rb") as source:
                it = os.fstat(source.fileno())
                with open(part, "wb") as target:
                    os.fchmod(target.fileno(), it.st_mode & 0o7777)
                    engine = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW)
                    while data := source.read(_STEP):
                        target.write(engine.compress(data))
                        yield
                    target.write(engine.flush())
                    target.flush()
                    os.fsync(target.fileno())
                os.utime(part, (it.st_atime, it.st_mtime))
                # Later rotations may have given it another number meanwhile, or removed it: while
                # it is open no other file can have its inode.
                name = _name_of(identity, names)
            if name is None:
                os.unlink(part)
                return
            os.rename(part, name + GZ)
            os.unlink(name)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                self.errors.append((path, error))
            with contextlib.suppress(OSError):
                os.unlink(part)


def _name_of(identity: tuple[int, int], names: Names) -> str | None:
    """What a rotated file is called now; None if it was removed.

    One that was removed while it waited may have left its inode to another file: a compressed
    one was compressed again.
    """
    for name in names():
        if not name.endswith(GZ):
            with contextlib.suppress(FileNotFoundError):
                it = os.lstat(name)
                if (it.st_dev, it.st_ino) == identity:
                    return name
    return None
