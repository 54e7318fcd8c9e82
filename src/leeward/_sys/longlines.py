"""Lines that are too long for a pipe which several processes write to.

A pipe takes PIPE_BUF octets (4096) whole or not at all, and of more what there is room for
(pipe(7)): the lines of siblings come in between.  So what is longer goes by the ring to the
collector, which writes it in one piece (`leeward._collector.streams`); and what this process
has to say after it, as long as the collector has not come to it.  Short lines cost nothing
more than before.

Descriptors 1 and 2 of the instance are the collector's too, and a FIFO can be opened by its name;
any other pipe nobody else has.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
from threading import RLock

from leeward._core import logrings
from leeward._core.sinks import Spec
from leeward._sys import funnel
from leeward._sys.ring import TableFull

#: Octets that a pipe takes whole.
MOST = select.PIPE_BUF
#: Characters that come to no more octets in UTF-8.
SHORT = MOST // 4

_Identity = tuple[int, int]


class Pipe:
    """One that the collector can write to as well."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec.to_json()
        self._lock = RLock()
        self._funnel: funnel.Funnel | None = None
        self._sink = -1
        #: The ring's position before the last line that went this way.
        self._before = -1

    def put(self, level: int, data: bytes, wait: float = logrings.PATIENCE) -> bool:
        """Take `data`, or refuse and count it as the ring does.  False: there is no ring.

        wait:  seconds for room; write(2) would wait for ever.
        """
        way = funnel.current()
        if way is None or len(data) > way.longest:
            return False
        with self._lock:
            if way is not self._funnel:
                try:
                    self._sink = way.sink(self._spec)
                except TableFull:
                    return False
                self._funnel, self._before = way, -1
            before = way.position()
            if way.put(self._sink, level, data, wait):
                self._before = before
                _behind.add(self)
        return True

    def is_behind(self) -> bool:
        """Has the collector lines of ours that it has not written yet?"""
        way = self._funnel
        if way is None or way is not funnel.current() or self._before < 0:
            return False
        # Of this sink nothing else is written while `put` has the lock: what was put last is
        # what ends behind `_before`.
        return way.taken(self._sink) <= self._before


#: Those that may have such lines.
_behind: set[Pipe] = set()
#: What is known of pipes; None: not ours to write to by the collector.
_known: dict[_Identity, Pipe | None] = {}


def watch(supervisor: int) -> None:
    """Before the application may change them: see what descriptors 1 and 2 lead to.

    supervisor:  pid; what is not its own as well the collector has not.
    """
    for fd, kind in ((2, "stderr"), (1, "stdout")):
        found = identity(fd)
        with contextlib.suppress(OSError):  # of another user: it cannot be told
            theirs = os.stat(f"/proc/{supervisor}/fd/{fd}")
            if found != (theirs.st_dev, theirs.st_ino):
                continue
        if found is not None and found not in _known:
            _known[found] = Pipe(Spec(kind))


def identity(fd: int) -> _Identity | None:
    """Of the pipe that `fd` leads to; None if it is something else."""
    try:
        it = os.fstat(fd)
    except OSError:
        return None
    return (it.st_dev, it.st_ino) if stat.S_ISFIFO(it.st_mode) else None


def of(fd: int, path: str = "") -> Pipe | None:
    """The pipe at `fd`, if the collector can write to it.

    path:  where it was opened, if it was.
    """
    found = identity(fd)
    if found is None:
        return None
    if found not in _known and path.startswith("/"):
        with contextlib.suppress(OSError):
            it = os.stat(path)
            if (it.st_dev, it.st_ino) == found:
                _known[found] = Pipe(Spec("file", path))
    return _known.get(found)


def behind() -> bool:
    """Are there lines of ours on their way to a pipe?"""
    if not _behind:
        return False
    for it in list(_behind):
        if not it.is_behind():
            _behind.discard(it)
    return bool(_behind)


def pieces(data: bytes) -> list[bytes]:
    """Whole lines, so many as a pipe takes at once; a longer line is one piece."""
    made: list[bytes] = []
    size = 0
    for line in data.splitlines(keepends=True):
        if made and size + len(line) <= MOST:
            made[-1] += line
            size += len(line)
        else:
            made.append(line)
            size = len(line)
    return made


def forget() -> None:
    """For tests."""
    _known.clear()
    _behind.clear()
