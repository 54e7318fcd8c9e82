"""Lines at the end of a file that other processes append to, and somebody rotates.

O_APPEND and one write(2) for each piece: the kernel puts it behind whatever was written
before it, so nothing is torn.  What `open(path, "a")` does not do: it splits what is longer
than its buffer (8 KiB) into two writes, between which a sibling's line may come.
"""

from __future__ import annotations

import fcntl
import io
import os
import stat
from typing import TYPE_CHECKING, BinaryIO, cast

from leeward._sys import whole

if TYPE_CHECKING:
    from typing_extensions import Buffer

#: Octets that a record in several parts may have before it is written.
_MOST = 1 << 20


def append(fd: int, data: bytes) -> None:
    """All of `data`, or nothing of it.  Raises OSError (a full disk).

    What fitted on a disk that is full is taken back, unless somebody has written behind it.
    """
    sent, size = 0, os.fstat(fd).st_size
    try:
        while sent < len(data):
            sent += os.write(fd, data[sent:] if sent else data)
    except OSError:
        if sent and os.fstat(fd).st_size == size + sent:
            os.ftruncate(fd, size)
        raise


class Flushed(io.FileIO):
    """A file for a text stream: what is written from one flush to the next, a record, comes to
    be in the file whole, or not at all.

    `io.BufferedWriter` keeps what a full disk has refused, and writes it behind the back of who
    was told so as soon as there is room, or a part of it.
    """

    def __init__(self, fd: int, mode: str) -> None:
        super().__init__(fd, mode)
        self._parts: list[bytes] = []
        self._octets = 0

    def write(self, data: Buffer, /) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._octets += len(part)
        if self._octets > _MOST and len(self._parts) > 1:
            self.flush()
        return len(part)

    def flush(self) -> None:
        if self._parts:
            data = b"".join(self._parts)
            self._parts, self._octets = [], 0
            append(self.fileno(), data)


def flushed(old: io.TextIOWrapper) -> io.TextIOWrapper:
    """What to write to rather than to `old`, which is closed then; itself, if it is no file that
    is appended to."""
    if type(old) is not io.TextIOWrapper:
        return old
    fd = old.fileno()
    if not (stat.S_ISREG(os.fstat(fd).st_mode) and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND):
        return old
    with old:
        old.flush()
        raw = Flushed(os.dup(fd), "ab")
        raw.name = old.name
        new = io.TextIOWrapper(
            cast("BinaryIO", raw),
            old.encoding,
            old.errors,
            newline="\n",
            line_buffering=old.line_buffering,
        )
        vars(new).update(vars(old))  # its mode
    return new


class Appender:
    """Appends to the file that has the name `path` now, if it was renamed meanwhile.

    Not for several threads at a time.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1
        self._pid = 0

    def write(self, data: bytes) -> None:
        """Append all of `data`, or nothing.  Raises OSError (a full disk, no such directory)."""
        append(self.fileno(), data)

    def fileno(self) -> int:
        """Of the file that has the name now; made if there is none.  Raises OSError."""
        if self._fd >= 0 and not self._is_current():
            self.close()
        if self._fd < 0:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._fd = os.open(self.path, flags, 0o666)
        return self._fd

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._fd))
        except OSError:  # removed; or our descriptor was closed by somebody else
            return False

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class StandardError:
    """The same for descriptor 2, which is nobody's to close."""

    def write(self, data: bytes) -> None:
        while data:
            data = data[whole.write(2, data) :]

    def fileno(self) -> int:
        return 2

    def close(self) -> None:
        """It stays open."""


def empty_once(path: str, since: float) -> None:
    """Empty `path` unless something was written to it after `since`, seconds since the epoch.

    What ``open(path, "w")`` is meant to do, where many processes do it and only the first
    should.  Raises OSError.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)  # held for two system calls
        told = os.fstat(fd)
        if told.st_mtime < since and told.st_size:
            os.ftruncate(fd, 0)
            os.utime(fd)
    finally:
        os.close(fd)
