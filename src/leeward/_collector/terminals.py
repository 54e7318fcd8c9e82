"""Terminals that somebody may have stopped (Ctrl-S), or that are slow.

`poll` says that a terminal has room, not for how much, and a write of more waits.  The open
file is shared with the supervisor and the shell, so it cannot be made non-blocking: we open the
terminal once more, which has to be done before another user's rights are taken.

A line of which only a part was taken is torn if somebody else writes then.  So we hold a lock
on the terminal (POSIX: it ends with us) until the rest is there; the supervisor asks for it.
A message would come too late: 1 of 60 runs had a torn line.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os

from leeward._collector.streams import Stream

_FLAGS = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def opened() -> dict[int, int]:
    """Non-blocking descriptors of stdout and stderr, where these are terminals."""
    found = {}
    for fd in (1, 2):
        if os.isatty(fd):
            with contextlib.suppress(OSError):  # no /proc, or not ours: pieces must do
                found[fd] = os.open(f"/proc/self/fd/{fd}", _FLAGS)
    return found


class Terminal(Stream):
    """fd:  as it was given.  quick:  the same, non-blocking."""

    def __init__(self, fd: int, quick: int) -> None:
        super().__init__(fd)
        self._quick = quick
        self._torn = False

    def _offer(self, data: bytes) -> int:
        try:
            fcntl.lockf(self._quick, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return 0  # the supervisor writes
        except OSError:
            pass  # one that cannot be locked
        torn, self._torn = self._torn, False
        try:
            sent = self._sent(data)
            self._torn = sent < len(data) and (sent > 0 or torn)
        finally:
            if not self._torn:
                with contextlib.suppress(OSError):
                    fcntl.lockf(self._quick, fcntl.LOCK_UN)
        return sent

    def _sent(self, data: bytes) -> int:
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while sent < len(data):
                try:
                    sent += os.write(self._quick, data[sent:])
                except OSError as error:
                    if not sent or error.errno == errno.EAGAIN:
                        raise
                    break
        return sent
