"""Where finished lines go: gathered for a turn of the loop, or for `_GATHER` seconds where
they come fast, then written in one go.  A write of its own for each line costs 1.5 µs hot,
and several times that in a busy server.

The descriptor is shared with other processes, so it cannot be made non-blocking, and a
write must not be torn by theirs.  What is no file therefore gets pieces of whole lines, at most
PIPE_BUF octets each, which a pipe takes at once or not at all (pipe(7)), or one longer line,
which waits until there is room for all of it (`leeward._sys.whole`).  They are written with
RWF_NOWAIT (preadv2(2); for pipes since Linux 6.4).  Where that is not to be had (terminals, older
kernels) `poll` is asked first: then a write may still wait if another process fills the
pipe between the two.  A second open file description, by /proc/self/fd, does not do: a worker
under --user may not open the pipe again, and sockets cannot be opened at all.

A reader that stands still costs memory up to `_MOST` and then lines, never time.  What was
lost is counted and told, at most once a second, when somebody reads again.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from collections import deque
from threading import get_ident
from typing import TYPE_CHECKING, Protocol

from leeward._sys import whole

if TYPE_CHECKING:
    import asyncio
    import contextvars
    from collections.abc import Callable

#: Characters that wait for a reader; what comes beyond is dropped.
_MOST = 1 << 20
#: Characters after which a batch does not wait for the end of the turn.
_FULL = 1 << 16
#: Octets of a write to what is no file; a longer line goes by itself.
_PIECE = whole.MOST
#: Seconds from one batch to the next, at least.
_GATHER = 0.01
#: Seconds until a full pipe is looked at again, and until then where nothing else is to be done.
_RETRY, _LOOK = 0.05, 0.005
#: Seconds for which nothing is tried after an error (a full disk, a closed pipe), and
#: between two tellings of what was lost.
_PAUSE = 1.0


class Sink(Protocol):
    """Takes finished lines.  None of these raises; but for `end` none waits for a reader."""

    def put(self, line: str) -> None:
        """Take a line, with its end.  It leaves within hundredths of a second."""

    def flush(self) -> bool:
        """Have all lines leave now, as far as somebody takes them.  True if none is left."""

    def end(self, patience: float) -> None:
        """The process ends: wait up to `patience` seconds for who reads slowly."""

    def abandon(self) -> None:
        """In a process that the application forked: these lines are the worker's to write."""


class Batch:
    """A `Sink` that writes to a descriptor.  For one thread: others are not heard.

    lost:  makes the line that tells of so many lost lines, and why.
    mark:  in front of each line.
    """

    def __init__(self, fd: int, lost: Callable[[int, str], str], mark: str = "") -> None:
        self._fd = fd
        self._lost = lost
        self._mark = mark
        self._lines: deque[str] = deque()
        self._size = 0  # characters of those
        self._piece = b""  # what is left of the octets that are being written
        self._in_piece = 0  # lines in those
        self._dropped = 0
        self._why = ""
        self._quiet_until = float("-inf")  # nothing is tried after an error
        self._tell_at = float("-inf")
        self._due = False  # a flush is scheduled
        self._next = float("-inf")  # on the loop's clock: not before
        self._flushing = False
        self._thread = get_ident()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context: contextvars.Context | None = None
        self._regular = False
        self._nowait = True
        self._long = whole.LongLines()

    def begin(self, loop: asyncio.AbstractEventLoop, context: contextvars.Context) -> None:
        """From now on gather the lines of each turn of `loop`, which runs on this thread.

        context:  in which the writing is scheduled, rather than in a copy of a request's own.
        """
        self._thread, self._loop, self._context = get_ident(), loop, context

    def put(self, line: str) -> None:
        size = self._size + len(line)
        if size > _MOST:
            self._drop(1, "nobody reads")
            return
        self._size = size
        self._lines.append(line)
        if not self._due:
            self._schedule()
        elif size - len(line) < _FULL <= size:
            self.flush()

    def flush(self) -> bool:
        if self._flushing or get_ident() != self._thread:
            # The application logs in a signal's handler or in a thread: its line goes first.
            return False
        if self._quiet_until > time.monotonic():
            self._forget(self._why)
            return True
        self._flushing = True
        try:
            # Each time: a program may put another file in its place.
            self._regular = stat.S_ISREG(os.fstat(self._fd).st_mode)
            while self._next_piece():
                sent = self._write(self._piece)
                self._piece = self._piece[sent:]
        except BlockingIOError:
            self._later(_RETRY)
            return False
        except OSError as error:
            self._quiet_until = time.monotonic() + _PAUSE
            self._forget(error.strerror or str(error))
        finally:
            self._flushing = False
        return True

    def end(self, patience: float) -> None:
        self._loop = None
        self._quiet_until = self._tell_at = float("-inf")
        deadline = time.monotonic() + patience
        while not self.flush() and (left := deadline - time.monotonic()) > 0:
            if _writable(self._fd, left):
                time.sleep(min(_LOOK, left))  # room, but not for a long line

    def abandon(self) -> None:
        self._loop = None
        self._lines.clear()
        self._size = self._dropped = 0
        self._piece = b""
        self._due = False

    # --- pieces ----------------------------------------------------------------------------------

    def _next_piece(self) -> bool:
        """Is there something to write?"""
        if self._piece:
            return True
        lines = self._lines
        if not lines:
            return self._dropped > 0 and self._tell()
        made: list[bytes] = []
        room = _FULL if self._regular else _PIECE
        while lines:
            data = (self._mark + lines[0]).encode("utf-8", "backslashreplace")
            if made and len(data) > room:
                break
            room -= len(data)
            made.append(data)
            self._size -= len(lines.popleft())
        self._piece, self._in_piece = b"".join(made), len(made)
        return True

    def _tell(self) -> bool:
        """Say how many lines were lost, behind the last that was not."""
        now = time.monotonic()
        if now < self._tell_at:
            self._later(self._tell_at - now)
            return False
        self._tell_at = now + _PAUSE
        told = self._mark + self._lost(self._dropped, self._why)
        self._piece = told.encode("utf-8", "backslashreplace")
        self._in_piece, self._dropped = self._dropped, 0
        return True

    def _drop(self, lines: int, why: str) -> None:
        self._dropped += lines
        self._why = why

    def _forget(self, why: str) -> None:
        self._drop(len(self._lines) + (self._in_piece if self._piece else 0), why)
        self._lines.clear()
        self._size = 0
        self._piece = b""

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
        if self._loop is not None and not self._due and not self._loop.is_closed():
            self._due = True
            self._loop.call_later(seconds, self._flush_now, context=self._context)

    def _flush_now(self) -> None:
        self._due = False
        self.flush()

    # --- how -------------------------------------------------------------------------------------

    def _write(self, data: bytes) -> int:
        """Octets that were taken.  Raises BlockingIOError when there is no room."""
        if self._regular:
            return os.write(self._fd, data)
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


def _writable(fd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(seconds * 1000))
