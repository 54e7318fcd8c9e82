"""What the supervisor says: one line when something changes, silence otherwise.

A line never blocks and never raises.  The reader of stderr may have stopped
(Ctrl-S, a stuck log shipper), gone away, or its disk may be full; the
supervisor must go on replacing workers all the same.  O_NONBLOCK would do it, but
it belongs to the open file, which the shell and the workers share.  So a pipe and a
terminal are opened once more, for ourselves, non-blocking.

Where that cannot be done (a socket, a pipe of another user), each write alone is told not to
wait, which Linux can since 6.4.  Before that a poll must do: POLLOUT on a pipe promises PIPE_BUF
(4096) bytes, and a line is never longer.  It promises them as long as no worker writes between
the poll and our write; and of a terminal it promises one byte.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import stat
import time
from collections import deque
from collections.abc import Callable

from leeward._core.config import LEVELS
from leeward._sys import lines
from leeward._sys.cutting import cut_back

#: PIPE_BUF: what a pipe takes whole once it says that it is writable.
_LONGEST = 4096
_PENDING = 1000
#: Seconds that a line waits for the end of another on the same terminal, while that has room.
_TORN = 2.0
#: For a pipe or a terminal of our own.
_FLAGS = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
#: This kernel, or its guard (seccomp), does not know writes that do not wait.
_UNKNOWN = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM})
#: Seconds between two looks at whether that line has ended, when we are about to leave.
_AGAIN = 0.01


class Voice:
    """Writes lines to `fd`.  form: auto | pretty | json.  level: the lowest that is written."""

    def __init__(self, form: str, level: str, fd: int = 2) -> None:
        self._fd, self._own = fd, -1
        kind = _kind(fd)
        self._terminal = os.isatty(fd)
        if self._terminal or stat.S_ISFIFO(kind):
            with contextlib.suppress(OSError):  # no /proc, or another user's
                self._fd = self._own = os.open(f"/proc/self/fd/{fd}", _FLAGS)
        #: Each write is to be told not to wait.
        self._hurried = self._own < 0 and (stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind))
        self._look = lines.Look(form, fd)
        self._level = LEVELS[level]
        self._pending: deque[bytes] = deque()
        self._lost = 0
        #: Takes (level, line) of what is said, for the log file.
        self.also: Callable[[int, bytes], object] | None = None
        #: Told when we end a line that somebody else has begun on the terminal.
        self.interrupts: Callable[[], object] | None = None
        #: The collector writes to the same terminal.
        self.shared = False
        self._waits_since = 0.0
        self._locked = False
        #: A terminal has taken a part of the first line that is pending.
        self._torn = False
        #: Octets of it that a file has taken, and where they end in that.
        self._part = (0, 0)
        #: They had to stay: the next line that is written begins a new one.
        self._glued = False
        self._file_look = lines.Look(form, -1)
        self._file_look.stamped = True

    def say(self, text: str, level: str = "info", **identity: object) -> None:
        """One event; `identity` is worker=, gen=, pid= in this order.

        The first line of `text` is the event, what follows belongs to it.
        """
        if LEVELS[level] >= self._level:
            event, _, more = text.partition("\n")
            now = time.time()
            self._write(self._look.render(now, level, identity, lines.OURS, event, more))
            if self.also is not None:
                line = self._file_look.render(now, level, identity, lines.OURS, event, more)
                self.also(LEVELS[level], line.encode("utf-8", "backslashreplace"))

    def tune(self, level: str) -> None:
        """From now on this is the lowest level that is written."""
        self._level = LEVELS[level]

    def banner(self, text: list[str]) -> None:
        """Lines for people, without decoration; a program that reads JSON gets one event."""
        if self._look.json:
            self.say(text[0] + "\n" + "\n".join(text[1:]))
        else:
            self._write("".join(f"{lines.clean(line)}\n" for line in text))

    def fail(self, text: str) -> None:
        """Why the whole instance ends: the guilty first, then the remedy."""
        self.banner(f"leeward: {text}".split("\n"))

    def _write(self, text: str) -> None:
        """Text as it stands, in pieces of whole lines that a pipe takes whole."""
        if self.interrupts is not None:
            tell, self.interrupts = self.interrupts, None
            tell()
            text = f"\n{text}"
        data = text.encode("utf-8", "backslashreplace")
        while data:
            end = len(data)
            if end > _LONGEST:
                end = data.rfind(b"\n", 0, _LONGEST) + 1 or _LONGEST
            if len(self._pending) >= _PENDING:
                self._lost += 1
            else:
                self._pending.append(data[:end])
            data = data[end:]
        self.flush()

    def flush(self) -> bool:
        """Writes what can be written now.  True when nothing is left to write."""
        self._locked = False
        if not (self.shared and self._pending):
            return self._flush()
        if not self._may_write():
            return False
        try:
            return self._flush()
        finally:
            if not self._torn:  # the collector waits until the rest of our line is there
                with contextlib.suppress(OSError):
                    fcntl.lockf(self._fd, fcntl.LOCK_UN)

    def _may_write(self) -> bool:
        """Is the collector not in the middle of a line, for the rest of which there is no room?

        It holds a lock on the terminal then, for which we wait `_TORN` seconds at most.  One
        that has no room counts for nothing: the collector waits for it as we do.
        """
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        if not poll.poll(0):
            return False
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            now = time.monotonic()
            self._waits_since = self._waits_since or now
            self._locked = now - self._waits_since <= _TORN
            return not self._locked
        except OSError:
            pass  # it is no terminal any more, or cannot be locked
        self._waits_since = 0.0
        return True

    def _flush(self) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        while self._pending:
            if not any(events & select.POLLOUT for _, events in poll.poll(0)):
                return self._gone(poll)
            line = b"\n" * (self._glued and not self._torn) + self._pending[0]
            try:
                written = self._take(line)
            except OSError as error:
                if error.errno == errno.EAGAIN:
                    return False
                # Full disk, no reader, closed: the line is lost, and counted.
                if self._torn:
                    self._mend()
                self._lost += 1
                written = len(line)
            else:
                self._glued = self._glued and written < len(line)
                if self._lost and written == len(line):
                    lost, self._lost = self._lost, 0
                    self._pending.append(f"leeward: {lost} lines could not be written\n".encode())
            self._torn = written < len(line)
            if self._torn:
                self._pending[0] = line[written:]
                self._note_part(written)
            else:
                self._pending.popleft()
                self._part = (0, 0)
        return True

    def _take(self, line: bytes) -> int:
        """How much of it was written.  Raises BlockingIOError if there is no room."""
        if self._hurried:
            try:
                return os.pwritev(self._fd, (line,), -1, os.RWF_NOWAIT)
            except OSError as error:
                if error.errno not in _UNKNOWN:
                    raise
                self._hurried = False
        if not self._terminal:
            return os.write(self._fd, line)
        # In the background of one with `stty tostop` the kernel answers each write by SIGTTOU,
        # which we catch, and EINTR, after which Python tries again: for ever, at 100 % of a
        # core, O_NONBLOCK or not.  Who blocks the signal may write.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTTOU,))
        try:
            return os.write(self._fd, line)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @property
    def waits(self) -> bool:
        """Is there something that could not be written yet?"""
        return bool(self._pending)

    @property
    def lacks_room(self) -> bool:
        """Does it wait for the reader, and not for the rest of another's line?"""
        return self.waits and not self._locked

    def fileno(self) -> int:
        return self._fd

    def finish(self, seconds: float) -> None:
        """The last lines: a reader that lags gets this long to take them."""
        by = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        while not self.flush() and (left := by - time.monotonic()) > 0:
            if self._locked:  # there is room: it would return at once, again and again
                time.sleep(min(left, _AGAIN))
            else:
                poll.poll(left * 1000)

    def _note_part(self, written: int) -> None:
        with contextlib.suppress(OSError):  # it is closed: the next write tells
            if size := os.fstat(self._fd).st_size:  # 0 of what is no file
                self._part = (self._part[0] + written, size)

    def _mend(self) -> None:
        """What a full disk has taken of the line, to which the next one would be glued."""
        octets, end = self._part
        self._part = (0, 0)
        if octets and not cut_back(self._fd, end - octets, end):
            self._glued = True

    def _gone(self, poll: select.poll) -> bool:
        """No reader any more?  Then nothing will ever be written: drop it."""
        if any(e & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for _, e in poll.poll(0)):
            self._lost += len(self._pending)
            self._pending.clear()
            self._torn = False
            return True
        return False

    def close(self) -> None:
        """Only what is ours; what was given stays open."""
        if self._own >= 0:
            os.close(self._own)
            self._fd = self._own = -1


def _kind(fd: int) -> int:
    """As in `stat.S_ISFIFO`; 0 of one that is closed."""
    try:
        return os.fstat(fd).st_mode
    except OSError:
        return 0
