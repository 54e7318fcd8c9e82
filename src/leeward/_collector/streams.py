"""What lines are written to: a descriptor that was given to us, or a file's (`files`).

On a regular file a batch is written whole or not at all, and can be found again by the
successor of a collector that was killed.  On a pipe or a terminal nobody can look: there a
batch is at most PIPE_BUF octets, or one longer line, and may be told twice after such a death.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat

from leeward._sys import whole
from leeward._sys.cutting import cut_back
from leeward._sys.ring import Intent

#: Octets of a batch.  A write of so many takes 0.1 ms where the page cache takes it.
BATCH = 1 << 18
#: Octets by which lines differ.
_SOON = 64
#: Octets that are searched for a batch where somebody else has written to the file too.
_SEARCHED = 1 << 26


class Stream:
    """fd:  is written to, and stays open."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.regular = False
        #: The lane whose line was written in part; no other's may come before its rest.
        self.owner: object = None
        self._long = whole.LongLines()

    @property
    def name(self) -> str:
        return {1: "stdout", 2: "stderr"}.get(self.fd, f"descriptor {self.fd}")

    def room(self) -> int:
        """Octets that the next batch should have at most; it may be one line that is longer.

        Raises OSError.
        """
        self.regular = stat.S_ISREG(os.fstat(self.fd).st_mode)
        return self._room()

    def _room(self) -> int:
        return BATCH if self.regular else select.PIPE_BUF

    def begin(self, octets: int) -> Intent:
        """Be ready for so many octets, and say where they will stand.  Raises OSError."""
        return self._place(octets)

    def _place(self, octets: int) -> Intent:
        it = os.fstat(self.fd)
        self.regular = stat.S_ISREG(it.st_mode)
        if self.regular and os.lseek(self.fd, 0, os.SEEK_CUR) > it.st_size:
            # Without O_APPEND (a shell's `> file`), and the file was cut back, by us after a
            # full disk or by logrotate: what comes next would stand behind a hole.
            os.lseek(self.fd, 0, os.SEEK_END)
        return Intent(0, it.st_dev, it.st_ino, it.st_size if self.regular else 0, octets)

    def append(self, data: bytes, place: Intent) -> int:
        """Octets that were taken; the rest must follow before anything else.  Raises OSError.

        An error means that nothing was written, or that it was taken back.
        """
        if not self.regular:
            return self._offer(data)
        sent = 0
        try:
            while sent < len(data):
                sent += os.write(self.fd, memoryview(data)[sent:] if sent else data)
        except OSError:
            if not sent:
                raise
            # What fitted on a disk that is full.
            if cut_back(self.fd, place.offset, place.offset + sent):
                raise
        return sent

    def _offer(self, data: bytes) -> int:
        sent = 0
        try:
            while sent < len(data) and (taken := self._offer_next(data, sent)):
                sent += taken
        except OSError:
            if not sent:
                raise
        return sent

    def _offer_next(self, data: bytes, start: int) -> int:
        """A long line, or as many others as a pipe takes whole.  0: there is no room."""
        end = data.find(b"\n", start) + 1 or len(data)
        if end - start > whole.MOST:
            taken = self._long.offer(self.fd, data[start:end])
            if taken is not None:
                return taken
        piece = data[start : start + whole.MOST]
        if start + len(piece) < len(data):
            piece = piece[: piece.rfind(b"\n") + 1] or piece
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        events = sum(it for _, it in poll.poll(0))
        if not events & select.POLLOUT:
            if events & (select.POLLERR | select.POLLNVAL):
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
            return 0
        try:
            # POLLOUT on a pipe promises that so many do not block; the descriptor is
            # shared, so it cannot be made non-blocking.
            return os.write(self.fd, piece)
        except BlockingIOError:
            return 0

    # --- after the death of a collector -----------------------------------------------------

    def find(self, intent: Intent, data: bytes) -> bool:
        """Was `data` written?  A part of it is taken back, or has its line ended.

        Raises OSError.
        """
        for path in self._candidates():
            fd = _open(path)
            if fd < 0:
                continue
            with contextlib.closing(open(fd, "rb", buffering=0)):
                it = os.fstat(fd)
                if _is_of(it, intent):
                    ours = self.fd >= 0 and _is_of(os.fstat(self.fd), intent)
                    writer = self.fd if ours else fd
                    return stat.S_ISREG(it.st_mode) and _written(fd, writer, intent, data)
        if self.fd < 0:
            return False
        # Given by another user, and we may not even read it (--user, and `2> file` of root's):
        # what others have written since can not be told from ours.
        it = os.fstat(self.fd)
        if not (_is_of(it, intent) and stat.S_ISREG(it.st_mode)):
            return False
        if it.st_size >= intent.offset + intent.octets:
            return True
        _take_back(self.fd, intent, data[: max(0, it.st_size - intent.offset)])
        return False

    def _candidates(self) -> list[str]:
        """Paths that may lead to the file."""
        return [f"/proc/self/fd/{self.fd}"]

    def tidy(self) -> None:
        """Nothing can be left half done here.  Raises OSError."""

    def reopen(self) -> None:
        """A given descriptor is what it is."""

    def close(self) -> None:
        """Nor is it ours to close."""


def _open(path: str) -> int:
    """To read, and to write where we may: root's `2> file` is not ours to open.  -1: neither."""
    # Append: a file may be such that nothing else is allowed (chattr +a).
    for access in (os.O_RDWR | os.O_APPEND, os.O_RDONLY):
        try:
            return os.open(path, access | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except PermissionError:
            continue
        except (FileNotFoundError, IsADirectoryError):
            break
    return -1


def _is_of(it: os.stat_result, intent: Intent) -> bool:
    return (it.st_dev, it.st_ino) == (intent.device, intent.inode)


def _written(fd: int, writer: int, intent: Intent, data: bytes) -> bool:
    there = os.pread(fd, len(data), intent.offset)
    if there == data:
        return True
    if data.startswith(there):
        _take_back(writer, intent, there)
        return False
    # Somebody else has written to the file in between.
    size = os.fstat(fd).st_size
    tail = os.pread(fd, min(size - intent.offset, _SEARCHED), intent.offset)
    if data in tail:
        return True
    begin = _part_at_the_end(tail, data)
    if begin and intent.offset + len(tail) == size:
        _take_back(writer, intent._replace(offset=intent.offset + begin), tail[begin:])
    return False


def _part_at_the_end(tail: bytes, data: bytes) -> int:
    """Where the part of `data` begins that ends `tail`, behind a line of somebody else's; 0: none
    does.  It was killed in write(2), and they had written since it had last looked."""
    begin = tail.find(b"\n", max(0, len(tail) - len(data) - 1)) + 1
    while 0 < begin < len(tail):
        # Most lines differ soon: a comparison of the whole rest, for each line, takes seconds.
        if data.startswith(tail[begin : begin + _SOON]) and data.startswith(tail[begin:]):
            return begin
        begin = tail.find(b"\n", begin) + 1
    return 0


def _take_back(fd: int, intent: Intent, there: bytes) -> None:
    """The part of a batch that is there, and is written again.  Where it has to stay, its line
    is ended."""
    if not there or cut_back(fd, intent.offset, intent.offset + len(there)):
        return
    if not there.endswith(b"\n"):
        os.write(fd, b"\n")
