"""A bell: many processes ring it, one is woken by it.  An eventfd, which all of them share."""

from __future__ import annotations

import contextlib
import os


class Bell:
    """Owns `fd` until `close()`.  Bell(): a new one.  Raises OSError (EMFILE, ENFILE, ENOMEM)."""

    def __init__(self, fd: int = -1) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) if fd < 0 else fd

    def ring(self) -> None:
        """Never blocks; however often it is rung, it wakes once until it is silenced."""
        # Full after 2**64 - 2 rings; as readable as after one.
        with contextlib.suppress(BlockingIOError):
            os.eventfd_write(self.fd, 1)

    def silence(self) -> bool:
        """Was it rung since the last time?"""
        try:
            return os.eventfd_read(self.fd) > 0
        except BlockingIOError:
            return False

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
