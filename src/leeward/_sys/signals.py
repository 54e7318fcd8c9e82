"""Signals as numbers to be read from a descriptor.

The Python handler does nothing; the interpreter's C handler writes the signal's
number into a pipe (`signal.set_wakeup_fd`), which the loop watches beside its
other descriptors.  So a signal interrupts nothing, and order is kept.

A pipe and not a socket pair, as in most event loops: a pipe holds 65536 numbers,
a unix socket pair 278 of them (each byte is charged as a whole packet buffer) and
what does not fit is lost without a word.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from types import FrameType
from typing import Any

#: Has a worker write its stack, between two steps of Python.  A real-time one, which hardly
#: any application uses; glibc and the kernel have no use for it either.
STACK = int(signal.SIGRTMAX) - 3
#: The same for one that takes no such steps (`faulthandler.register`).
STACK_IN_C = int(signal.SIGRTMAX) - 5
#: Interrupts what a resource does for too long (`leeward._worker.resources`).
LATE = int(signal.SIGRTMAX) - 4


def signal_name(number: int) -> str:
    """ "SIGKILL"; "signal 35" of a real-time one, which `signal.Signals` knows only at the ends."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _nothing(signum: int, frame: FrameType | None) -> None:
    """A Python handler, because SIG_IGN would be inherited by exec'ed children."""


class Signals:
    """Catches `signums` from now until `close()`.

    Raises ValueError off the main thread, OSError for a signal that nobody can
    catch; then everything is as before.
    """

    def __init__(self, signums: Iterable[int]) -> None:
        signums = tuple(signums)
        self._before: dict[int, Any] = {}
        self._mask_before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self._wakeup_before = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        except ValueError:
            os.close(self._read_fd)
            os.close(self._write_fd)
            raise
        try:
            for signum in signums:
                self._before[signum] = signal.signal(signum, _nothing)
            # Whoever started us may have blocked some: a blocked SIGTERM would
            # make us unstoppable but for SIGKILL.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signums)
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        return self._read_fd

    def read(self) -> list[int]:
        """The numbers of the signals that came, in order, each as often as it came.

        Never blocks; [] when none came.  At most 4096 at once, the rest stays readable.
        """
        try:
            return list(os.read(self._read_fd, 4096))
        except BlockingIOError:
            return []

    def close(self) -> None:
        """Put back the handlers, the mask and the wakeup descriptor that were there before."""
        if self._read_fd < 0:
            return
        for signum, handler in reversed(self._before.items()):
            # None: a handler that was not installed from Python; it cannot be put back.
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(self._wakeup_before)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask_before)
        os.close(self._read_fd)
        os.close(self._write_fd)
        self._read_fd = self._write_fd = -1
