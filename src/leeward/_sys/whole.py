"""Lines that are longer than a pipe takes whole, and arrive whole all the same.

A pipe takes PIPE_BUF octets (4096) at once or not at all, and of more as much as there is room
for (pipe(7)): where several processes write to one, a traceback of 10 kB has lines of siblings
in its middle.  But the kernel keeps everybody else out of a pipe until a write has to wait for
room.  So: let the pipe be large, wait until it has room for all of the line, and write once.

Short lines cost nothing more than before and wait for nobody.  Between the look and the write
they may take some of the room: hence a margin.  Other long lines may not: their writers take
turns by a lock of records (fcntl(2)), which needs no second open file description (of a pipe of
somebody else's there is none to be had) and goes with a process that is killed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import select
import stat
import struct
import sys
import termios
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from leeward._sys.pipes import SIZES

if TYPE_CHECKING:
    from typing_extensions import Buffer

#: Octets that a pipe takes whole by itself.
MOST = select.PIPE_BUF
#: Seconds that a line waits for room where its writer can do nothing else meanwhile: most often
#: an event loop stands still for as long.  A reader that has not come to it by then gets parts of
#: lines, and nobody waits again until there was room once: four writers that are faster than
#: their reader would wait for each of their lines.
BRIEF = 0.1
#: And where it comes again.
PATIENCE = 2.0
#: Octets that stay free, for the short lines that come between our look and our write.
_MARGIN = 1 << 16
#: Octets of one of a pipe's slots.
_PAGE = 4096
#: What RWF_NOWAIT (preadv2(2)) is answered where it is not to be had; pipes: before Linux 6.4.
NO_NOWAIT = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ESPIPE)
#: Seconds between two looks, the first and the longest.
_SOON, _LATER = 0.0005, 0.01
#: Pipes, by their descriptors, for whose room somebody has waited in vain.
_in_vain: set[int] = set()


@contextlib.contextmanager
def room(fd: int, octets: int, patience: float = BRIEF) -> Iterator[bool]:
    """In the block one write of so many octets is not mixed with what others write.

    patience:  seconds that a lack of room, and others with long lines, are waited for; not if
               it was in vain the last time.
    Gives False where it may be mixed after all: there was no room in time, or never is.
    What is no pipe always has room.  Never raises: what is wrong the write will tell.
    """
    capacity = _enlarged(fd, octets + _MARGIN)
    if capacity is None or octets > capacity:
        yield capacity is None
        return
    deadline = time.monotonic() + (0.0 if fd in _in_vain else patience)
    pause = _SOON
    locked = _lock(fd)
    try:
        while not (free := locked and _has_room(fd, octets, capacity)):
            if time.monotonic() + pause > deadline:
                break
            time.sleep(pause)
            pause = min(2 * pause, _LATER)
            locked = locked or _lock(fd)
        if free:
            _in_vain.discard(fd)
        elif patience:
            _in_vain.add(fd)
        yield free
    finally:
        if locked:
            with contextlib.suppress(OSError):  # closed meanwhile: the lock went with it
                fcntl.lockf(fd, fcntl.LOCK_UN)


def _enlarged(fd: int, wanted: int) -> int | None:
    """Octets that the pipe holds, more than before if it was less than `wanted`; None: no pipe."""
    try:
        size = fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
    except OSError:
        return None
    for more in SIZES:
        if size >= min(wanted, more):
            break
        with contextlib.suppress(OSError):  # all that a user may have (pipe(7))
            return fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, more)
    return size


def _lock(fd: int) -> bool:
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no locks here: what is left is that two long lines rarely meet
        return True
    return True


def _has_room(fd: int, octets: int, capacity: int) -> bool:
    try:
        (held,) = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))
    except OSError:
        return True
    # Lines share a slot only if they fit: two in a row may be just over half full.
    slots = 2 * -(-held // _PAGE) + 1 if held else 0
    free = capacity - slots * _PAGE
    return free >= min(octets + _MARGIN, capacity) or free >= octets + capacity // 4


def write(fd: int, data: bytes) -> int:
    """As `os.write`, but in one piece as far as it can be had.  Raises OSError."""
    if len(data) <= MOST:
        return os.write(fd, data)
    with room(fd, len(data)):
        return os.write(fd, data)


class LongLines:
    """Those of somebody who must not wait, and comes again instead."""

    def __init__(self) -> None:
        #: Since when the line that is at the head has been without room.
        self._since: float | None = None

    def offer(self, fd: int, data: bytes) -> int | None:
        """Octets that were taken: all, or 0 if there is no room yet.  Raises OSError.

        None:  write it in pieces, as it has waited for PATIENCE, never fits, or this is no pipe.
        """
        capacity = _enlarged(fd, len(data) + _MARGIN)
        if capacity is None or len(data) > capacity:
            return None
        with room(fd, len(data), 0.0) as free:
            if free:
                self._since = None
                return _at_once(fd, data)
        now = time.monotonic()
        if self._since is None:
            self._since = now
        return 0 if now - self._since < PATIENCE else None


def _at_once(fd: int, data: bytes) -> int:
    try:
        return os.pwritev(fd, [data], -1, os.RWF_NOWAIT)
    except BlockingIOError:
        return 0
    except OSError as error:
        if error.errno not in NO_NOWAIT:
            raise
    return os.write(fd, data)  # it waits only if the margin has gone since we looked


class Whole(io.FileIO):
    """A file for a text stream whose lines are not torn if it leads into a pipe."""

    def write(self, data: Buffer, /) -> int:
        octets = data.nbytes if isinstance(data, memoryview) else len(memoryview(data))
        if octets <= MOST:
            return super().write(data)
        with room(self.fileno(), octets):
            return super().write(data)


# --- streams of Python --------------------------------------------------------------------------


def is_pipe(fd: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(fd).st_mode)
    except OSError:
        return False


def take_stdio() -> None:
    """Have what this process prints and logs on stdout and stderr written in this way.

    To be called before somebody keeps one of the streams.  Does nothing where it is no pipe.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        old = getattr(sys, name)
        if is_pipe(number) and type(old) is io.TextIOWrapper and old is getattr(sys, f"__{name}__"):
            try:
                new = over(old, Whole(number, "wb", closefd=False))
            except OSError:  # something was printed already, and nobody reads: it stays as it is
                continue
            if new.write_through:
                # `python -u`, PYTHONUNBUFFERED: print() hands on a line and its end one by one,
                # and a sibling's line comes between them.  At the end of each line is at once, too.
                new.reconfigure(line_buffering=True, write_through=False)
            setattr(sys, name, new)
            setattr(sys, f"__{name}__", new)


def in_place_of(old: io.TextIOWrapper) -> io.TextIOWrapper:
    """What to write to rather than to `old`, which is closed then; itself, if it is no pipe."""
    if not is_pipe(old.fileno()):
        return old
    with old:
        return over(old, Whole(os.dup(old.fileno()), "wb"))


def over(old: io.TextIOWrapper, raw: Whole) -> io.TextIOWrapper:
    """A stream as `old` is, that ends in `raw`."""
    old.flush()
    raw.name = old.name
    unbuffered = isinstance(old.buffer, io.RawIOBase)  # python -u
    new = io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw),
        old.encoding,
        old.errors,
        newline="\n",
        line_buffering=old.line_buffering,
        write_through=old.write_through,
    )
    vars(new).update(vars(old))  # its mode, and what somebody has put in place of a method
    return new
