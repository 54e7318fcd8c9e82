"""The instance's periodic jobs: when each was due last, and who runs it now.

A table behind the rows of the shared page.  A job's entry is found by the hash of its key, and
written by whoever holds the lock of its bytes: a POSIX record lock, which the kernel drops
when its process dies, however it dies, and which no fork inherits.  (flock and open file
description locks go with the descriptor, which all workers share: they would exclude nobody.)
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from leeward._sys.page import JOBS_AT, JOBS_BYTES

if TYPE_CHECKING:
    from leeward._sys.page import Page

# The words of an entry.
_KEY, _LAST, _BY = range(3)
_WORDS = 4
MOST = JOBS_BYTES // 8 // _WORDS
#: Its lock guards the taking of entries; no entry's bytes reach so far.
_TABLE = JOBS_AT + JOBS_BYTES
#: Milliseconds for it.
_TRIES = 100


class Full(Exception):
    """More jobs than the table has entries."""


class Entry:
    """One job's line in the table."""

    def __init__(self, page: Page, place: int) -> None:
        self._fd = page.fd
        self._at = JOBS_AT + place * _WORDS * 8
        self._words = page.jobs[place * _WORDS : (place + 1) * _WORDS]

    @property
    def last(self) -> float:
        """When the last run was due (monotonic, seconds), or a worker looked first; 0.0: none."""
        return self._words[_LAST] / 1e9

    @last.setter
    def last(self, value: float) -> None:
        self._words[_LAST] = int(value * 1e9)

    @property
    def by(self) -> int:
        """The pid of who ran it last; 0: nobody."""
        return self._words[_BY]

    @by.setter
    def by(self, pid: int) -> None:
        self._words[_BY] = pid

    def lock(self) -> bool:
        """Take it, unless another process has it."""
        return _lock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, self._at, _WORDS * 8)

    def unlock(self) -> None:
        _lock(self._fd, fcntl.LOCK_UN, self._at, _WORDS * 8)


def entry(page: Page, key: str) -> Entry:
    """The entry of the job `key`, a new one if it has none.  Raises Full."""
    number = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) or 1
    with _whole(page):
        keys = [page.jobs[place * _WORDS + _KEY] for place in range(MOST)]
        if number in keys:
            return Entry(page, keys.index(number))
        if 0 not in keys:
            raise Full
        place = keys.index(0)
        page.jobs[place * _WORDS + _KEY] = number
        return Entry(page, place)


@contextlib.contextmanager
def _whole(page: Page) -> Iterator[None]:
    # Held for microseconds, and never by a dead process.  Whoever was stopped in the midst of
    # them has one entry for us to overlook, which is better than to wait for it.
    for _ in range(_TRIES):
        if _lock(page.fd, fcntl.LOCK_EX | fcntl.LOCK_NB, _TABLE, 1):
            break
        time.sleep(0.001)
    try:
        yield
    finally:
        _lock(page.fd, fcntl.LOCK_UN, _TABLE, 1)


def _lock(fd: int, how: int, start: int, length: int) -> bool:
    try:
        fcntl.lockf(fd, how, length, start, os.SEEK_SET)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True
