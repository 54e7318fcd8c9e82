"""A worker's lines on their way to stderr, or whatever its descriptor 2 is.

Those of requests are gathered for a turn of the loop, or for `_GATHER` seconds where they come
fast, then written in one go: a write of its own for each line costs 1.5 µs hot, and several
times that in a busy server.  Records of the application leave at once, with all that is before
them: they are what one looks for when a worker was killed.

The descriptor is shared with other processes, so it cannot be made non-blocking, and a
write must not be torn by theirs.  What is no file therefore gets pieces of whole lines, at most
PIPE_BUF octets each, which a pipe takes at once or not at all (pipe(7)), or one longer line,
which waits until there is room for all of it (`leeward._sys.whole`).  They are written with
RWF_NOWAIT (preadv2(2); for pipes since Linux 6.4).  Where that is not to be had (older
kernels) `poll` is asked first: then a write may still wait if another process fills the
pipe between the two.  A second open file description, by /proc/self/fd, does not do: a worker
under --user may not open the pipe again, and sockets cannot be opened at all.  Only of a
terminal it is all there is: POLLOUT promises one octet there, and the rest is waited for.

A reader that stands still costs memory up to `_MOST` and then lines, never time: an application
that wrote its records by itself stood still for 5.5 s with its loop, until somebody read.  The
memory is shared out as a log ring is (`leeward._core.logrings`).  As it is there, nothing need
wait for a reader who is merely slower than a burst; only an ERROR does, so that it is out if its
process dies of what it tells.  By a ring to the collector would be one process more for
everybody.  What was lost is counted and told, at most once a second, when somebody reads again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat
import time
from collections import deque
from threading import RLock, get_ident
from typing import TYPE_CHECKING, Protocol

from leeward._core import logrings
from leeward._sys import rings, whole
from leeward._sys.cutting import cut_back

if TYPE_CHECKING:
    import asyncio
    import contextvars
    from collections.abc import Callable

#: Characters that wait for a reader, as many as a log ring holds; what comes beyond is dropped.
_MOST = rings.SIZE
#: Characters after which a batch does not wait for the end of the turn.
_FULL = 1 << 16
#: Octets of a write to what is no file; a longer line goes by itself.
_PIECE = whole.MOST
#: Seconds from one batch to the next, at least.
_GATHER = 0.01
#: Seconds until a full pipe is looked at again, and until then where nothing else is to be done:
#: for a long line, which lacks more room than a poll can tell of, and for others.
_RETRY, _LOOK, _SOON = 0.05, 0.005, 0.0002
#: Seconds for which nothing is tried after an error (a full disk, a closed pipe), and
#: between two tellings of what was lost.
_PAUSE = 1.0
#: For a terminal of our own.
_FLAGS = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Sink(Protocol):
    def put(self, line: str) -> None:
        """Take a request's line, with its end.  Never raises, and never waits for a reader."""


class Batch:
    """Takes finished lines for a descriptor.  Nothing raises; but for `write` and `end` nothing
    waits for a reader.

    lost:  makes the line that tells of so many lost lines of each kind of `logrings`, and why.
    mark:  in front of each line.

    Of all threads and signal handlers; but `put` is for the thread of the loop.
    """

    def __init__(
        self, fd: int, lost: Callable[[tuple[int, ...], str], str], mark: str = ""
    ) -> None:
        self._fd = fd
        self._lost = lost
        self._mark = mark
        # One that its own thread may take again: a signal's handler may log at any moment.
        self._lock = RLock()
        self._lines: deque[tuple[int, str]] = deque()  # each with its kind
        self._size = 0  # characters of those
        self._limits = logrings.limits(_MOST)
        self._piece = b""  # what is left of the octets that are being written
        self._sent = 0  # those of them that were written
        #: Where each of its lines ends, its kind, and how many it counts for.
        self._in_piece: list[tuple[int, int, int]] = []
        self._dropped = _none()
        self._why = ""
        self._quiet_until = float("-inf")  # nothing is tried after an error
        self._tell_at = float("-inf")
        self._due = False  # a flush is scheduled
        self._next = float("-inf")  # on the loop's clock: not before
        self._flushing = 0  # the thread that is
        #: Who waited last did so in vain: a flood of errors shall not cost its time each.
        self._in_vain = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context: contextvars.Context | None = None
        self._regular = False
        self._file = (0, 0)  # device and inode of it, where it is regular
        self._begin = 0  # where the piece begins in it
        self._torn = (0, 0, 0)  # one that ends in a part of a line, and its size
        self._terminal = -1  # the same as `fd`, opened once more
        self._terminal_is = 0  # its device
        self._nowait = True
        self._long = whole.LongLines()

    def begin(self, loop: asyncio.AbstractEventLoop, context: contextvars.Context) -> None:
        """From now on gather the lines of each turn of `loop`, which runs on this thread.

        context:  in which the writing is scheduled, rather than in a copy of a request's own.
        """
        self._loop, self._context = loop, context
        if self._lines or self._piece:
            self._later(0.0)

    def put(self, line: str) -> None:
        """Take a request's line, with its end.  It leaves within hundredths of a second."""
        before = self._size
        if not self._take(logrings.ACCESS, line):
            return
        if not self._due:
            self._schedule()
        elif before < _FULL <= self._size:
            self.flush()

    def write(self, level: int, text: str) -> None:
        """Take a record, of one line or more, and have it leave with all that is before it.

        level:  as `logging` numbers it.  An ERROR is waited for up to `logrings.PATIENCE`, unless
                that was in vain since all was written.
        """
        self._take(logrings.kind(False, level), text)
        if self.flush() or level < logrings.ERROR or self._in_vain:
            return
        if self._flushing != get_ident():  # we are not in a signal's handler that interrupts it
            self._in_vain = not self._wait(logrings.PATIENCE)

    def flush(self) -> bool:
        """Have all lines leave now, as far as somebody takes them.  True if none is left."""
        with self._lock:
            if self._flushing:
                # A signal's handler of this thread: its line goes behind those that leave.
                self._later(0.0)
                return False
            self._flushing = get_ident()
            try:
                done = self._flush()
            finally:
                self._flushing = 0
            if done:
                self._in_vain = False
            return done

    def end(self, patience: float) -> None:
        """The process ends: wait up to `patience` seconds for who reads slowly."""
        self._loop = None
        self._quiet_until = self._tell_at = float("-inf")
        self._wait(patience)

    def abandon(self) -> None:
        """In a process that the application forked: these lines are the worker's to write."""
        self._lock = RLock()  # another thread may have held it at the fork
        self._flushing = 0
        self._loop = None
        self._lines.clear()
        self._size = 0
        self._dropped = _none()
        self._piece = b""
        self._due = False
        if self._terminal >= 0:
            os.close(self._terminal)
            self._terminal, self._terminal_is = -1, 0

    def _flush(self) -> bool:
        if self._quiet_until > time.monotonic():
            self._forget(self._why)
            return True
        try:
            self._find_out()
            while self._next_piece():
                sent = self._write(self._piece)
                self._piece = self._piece[sent:]
                self._sent += sent
        except BlockingIOError:
            self._later(_RETRY)
            return False
        except OSError as error:
            self._quiet_until = time.monotonic() + _PAUSE
            self._forget(error.strerror or str(error), self._mend())
        return True

    def _mend(self) -> int:
        """Octets of the piece that stay after an error: those of whole lines.

        A part of one would have the next glued to it.
        """
        sent = self._sent
        whole = max((end for end, _, _ in self._in_piece if end <= sent), default=0)
        if self._regular and sent > whole:
            end = self._begin + sent
            if not cut_back(self._fd, self._begin + whole, end):
                self._torn = (*self._file, end)
        return whole

    def _wait(self, patience: float) -> bool:
        """Wait for the reader of what is left.  False: it has not taken all of it."""
        deadline = time.monotonic() + patience
        while not self.flush():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if _writable(self._fd, left):  # room, but maybe not for a long line
                time.sleep(min(_LOOK if len(self._piece) > _PIECE else _SOON, left))
        return True

    # --- pieces ----------------------------------------------------------------------------------

    def _take(self, kind: int, text: str) -> bool:
        """False: there is no room for lines of its kind, and it is counted."""
        # A signal's handler may do the same between any two calls: hence none within a sum.
        size = len(text)
        with self._lock:
            if self._lines and self._size + size > self._limits[kind]:
                self._dropped[kind] += 1
                self._why = "nobody reads"
                return False
            self._size += size
            self._lines.append((kind, text))
        return True

    def _next_piece(self) -> bool:
        """Is there something to write?"""
        if self._piece:
            return True
        lines = self._lines
        if not lines:
            return any(self._dropped) and self._tell()
        made: list[bytes] = []
        room = _FULL if self._regular else _PIECE
        self._in_piece, self._sent = [], 0
        octets = 0
        while lines:
            kind, text = lines[0]
            data = marked(text, self._mark).encode("utf-8", "backslashreplace")
            if made and len(data) > room:
                break
            room -= len(data)
            made.append(data)
            octets += len(data)
            self._in_piece.append((octets, kind, 1))
            lines.popleft()
            size = len(text)
            self._size -= size
        self._piece = b"".join(made)
        return True

    def _tell(self) -> bool:
        """Say how many lines were lost, behind the last that was not."""
        now = time.monotonic()
        if now < self._tell_at:
            self._later(self._tell_at - now)
            return False
        self._tell_at = now + _PAUSE
        counts, self._dropped = self._dropped, _none()
        told = marked(self._lost(tuple(counts), self._why), self._mark)
        self._piece, self._sent = told.encode("utf-8", "backslashreplace"), 0
        octets = len(self._piece)
        self._in_piece = [(octets, kind, count) for kind, count in enumerate(counts)]
        return True

    def _forget(self, why: str, kept: int = 0) -> None:
        """kept:  so many octets of the piece are written."""
        dropped = self._dropped
        self._why = why
        if self._piece:
            self._piece = b""
            for end, kind, count in self._in_piece:
                if end > kept:
                    dropped[kind] += count
        while self._lines:
            kind, text = self._lines.popleft()
            dropped[kind] += 1
            size = len(text)
            self._size -= size

    # --- when ------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        loop = self._loop
        if loop is None or loop.is_closed():
            self.flush()
            return
        self._due = True
        now = loop.time()
        wait = self._next - now
        if wait > 0.0:
            self._next += _GATHER
            loop.call_later(wait, self._flush_now, context=self._context)
        else:
            self._next = now + _GATHER
            loop.call_soon(self._flush_now, context=self._context)

    def _later(self, seconds: float) -> None:
        """Have the loop come back to it.  We may be on any thread, or in a signal's handler."""
        if self._loop is not None and not self._due:
            self._due = True
            try:
                self._loop.call_soon_threadsafe(self._at, seconds, context=self._context)
            except RuntimeError:  # it is closed
                self._due = False

    def _at(self, seconds: float) -> None:
        if self._loop is not None:
            self._loop.call_later(seconds, self._flush_now, context=self._context)

    def _flush_now(self) -> None:
        self._due = False
        self.flush()

    # --- how -------------------------------------------------------------------------------------

    def _find_out(self) -> None:
        """What the descriptor is.  Each time: a program may put another file in its place."""
        told = os.fstat(self._fd)
        self._regular = stat.S_ISREG(told.st_mode)
        device = told.st_rdev if stat.S_ISCHR(told.st_mode) else 0
        if device != self._terminal_is:
            self._terminal_is = device
            if self._terminal >= 0:
                os.close(self._terminal)
                self._terminal = -1
            if os.isatty(self._fd):
                with contextlib.suppress(OSError):  # another user's, no /proc: it may wait then
                    self._terminal = os.open(f"/proc/self/fd/{self._fd}", _FLAGS)

    def _write(self, data: bytes) -> int:
        """Octets that were taken.  Raises BlockingIOError when there is no room."""
        if self._regular:
            if not self._sent:
                self._begin_line()
            return os.write(self._fd, data)
        if self._terminal >= 0:
            return os.write(self._terminal, data[:_PIECE])
        if len(data) > _PIECE and (sent := self._long.offer(self._fd, data)) is not None:
            if not sent:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            return sent
        if self._nowait:
            try:
                return os.pwritev(self._fd, [data], -1, os.RWF_NOWAIT)
            except OSError as error:
                if error.errno not in whole.NO_NOWAIT:
                    raise
            self._nowait = False
        if not _writable(self._fd, 0.0):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return os.write(self._fd, data[:_PIECE])

    def _begin_line(self) -> None:
        """Where the piece begins; on a line of its own, behind a part of one that stays."""
        it = os.fstat(self._fd)
        self._file, self._begin = (it.st_dev, it.st_ino), it.st_size
        if self._torn == (*self._file, it.st_size):
            self._begin += os.write(self._fd, b"\n")


def marked(text: str, mark: str) -> str:
    """`text` with `mark` in front of each of its lines."""
    if not mark:
        return text
    return mark + text[:-1].replace("\n", f"\n{mark}") + text[-1:]


def _none() -> list[int]:
    return [0] * len(logrings.NAMES)


def _writable(fd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(seconds * 1000))
