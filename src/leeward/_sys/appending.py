"""Lines at the end of a file that other processes append to, and somebody rotates.

O_APPEND and one write(2) for each piece: the kernel puts it behind whatever was written
before it, so nothing is torn.  What `open(path, "a")` does not do: it splits what is longer
than its buffer (8 KiB) into two writes, between which a sibling's line may come.
"""

from __future__ import annotations

import os

from leeward._sys import whole


class Appender:
    """Appends to the file that has the name `path` now, if it was renamed meanwhile.

    Not for several threads at a time.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1
        self._pid = 0

    def write(self, data: bytes) -> None:
        """Append all of `data`.  Raises OSError (a full disk, no such directory)."""
        fd = self.fileno()
        while data:
            data = data[os.write(fd, data) :]

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
    import fcntl

    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)  # held for two system calls
        told = os.fstat(fd)
        if told.st_mtime < since and told.st_size:
            os.ftruncate(fd, 0)
            os.utime(fd)
    finally:
        os.close(fd)
