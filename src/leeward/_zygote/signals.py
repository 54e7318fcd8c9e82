"""A zygote is deaf to TERM and INT; whatever it forks is not.

Both come to whole control groups and terminals, and what ends a zygote is the end of its
channel.  What the application has installed while it was imported is put aside, for the workers.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any

from leeward._sys.posix import set_comm

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def deafen() -> None:
    """In a zygote, before it imports the application."""
    # A Python handler and not SIG_IGN, which the application's subprocesses would inherit.
    global _zygote
    _zygote = os.getpid()
    for signum in _SIGNALS:
        signal.signal(signum, _nothing)
    os.register_at_fork(before=_hold, after_in_parent=_let_in, after_in_child=_obey)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def take() -> dict[int, Any]:
    """Put aside what the application has installed while it was imported.

    Those handlers are meant for a process that serves: workers get them back, or
    the default action.  One that reaps raises in the zygote, behind a fork that succeeded,
    when the child that it was called for has been reaped.
    """
    handlers: dict[int, Any] = {}
    for signum in _SIGNALS:
        handler = signal.getsignal(signum)
        handlers[signum] = signal.SIG_DFL if handler in (_nothing, None) else handler
        signal.signal(signum, _nothing)
    reaper = signal.getsignal(signal.SIGCHLD)
    if callable(reaper):
        handlers[signal.SIGCHLD] = reaper
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return handlers


def _nothing(signum: int, frame: FrameType | None) -> None:
    """The end of the channel is what ends a zygote."""


def _obey() -> None:
    """In each child, a worker or the application's own, which has no such channel.

    `multiprocessing` ends what it forked at import by TERM, and waits until it has ended:
    a `Pool` in a `with` hung the import for good when its children were not fast enough.
    """
    for signum in _SIGNALS:
        if signal.getsignal(signum) is _nothing:
            signal.signal(signum, signal.SIG_DFL)
    if _before.in_zygote:
        # What forks and executes nothing has the environment that we began with: only this says
        # whose it is.  Inherited by its own forks, a daemon's second one among them.
        with contextlib.suppress(OSError):  # no /proc
            set_comm(f"leeward {_zygote}")
    _let_in()


#: The zygote's pid, in all that comes of it.
_zygote = 0
#: Of the thread that forks: is this the zygote, and the mask that it had.  A TERM to the child
#: before its handler is gone would be taken by a handler that does nothing.
_before = threading.local()


def _hold() -> None:
    _before.in_zygote = os.getpid() == _zygote
    _before.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def _let_in() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _before.mask)
