"""What happens in the processes that the application itself forks in a worker.

They are copies of the worker: without care they hold the listeners (and nobody
can bind the port again), hold the channel (and the supervisor sees no EOF), and
outlive everything.  `multiprocessing`, `os.fork` and `subprocess` with a
`preexec_fn` pass here; a plain `subprocess` does not and needs nothing, since
all our descriptors are close-on-exec.

What `os.fork` returns twice from is often forgotten to end: the child goes on in the
handler, back to an event loop whose epoll set is its parent's.  It would take the bytes
of the parent's connections and answer requests twice, so it ends there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
import traceback
from typing import TYPE_CHECKING

from leeward._sys import prctl
from leeward._sys.posix import set_comm
from leeward.adapters import blame

if TYPE_CHECKING:
    from collections.abc import Callable


def watch(abandon: Callable[[], None]) -> None:
    """From now on, make every fork of this process harmless.

    abandon:  runs in the child: closes the worker's listeners, channel and page
              there.  Must not touch the event loop, whose epoll set is shared.

    For the life of the process: Python cannot take such a hook back.  Children
    of children are left alone: they hold nothing any more.
    """
    worker = os.getpid()
    forking = threading.local()

    def before() -> None:
        forking.by_worker = os.getpid() == worker
        forking.by_main_thread = threading.current_thread() is threading.main_thread()

    def in_child() -> None:
        if not getattr(forking, "by_worker", False):
            return
        abandon()
        _default_signals()
        # A daemon that forks twice and executes nothing becomes the supervisor's
        # child, with the zygote's environment: only this says whose it is.
        with contextlib.suppress(OSError):  # no /proc
            set_comm(f"leeward {worker}")
        # PDEATHSIG is tied to the parent *thread*: a child forked by an executor's
        # thread would be killed when that thread ends, so it gets none.
        if forking.by_main_thread:
            with contextlib.suppress(OSError):  # a sandbox without prctl: not protected
                prctl.set_pdeathsig(signal.SIGKILL)
            if os.getppid() != worker:  # it died before we had armed it
                os._exit(1)

    os.register_at_fork(before=before, after_in_child=in_child)


def end_with_turn(loop: asyncio.AbstractEventLoop) -> None:
    """In a forked child: if `loop` turns once more, in this process, the process ends.

    Only memory is touched here, and that is the child's own.
    """
    # Innermost first, and no lines read: most children never come back.
    stack = traceback.StackSummary.extract(traceback.walk_stack(None), lookup_lines=False)
    with contextlib.suppress(RuntimeError):  # closed; or, in debug mode, of another thread
        # Where handlers do not run at once (`leeward.engine.execute.EAGER`), uvloop raises a
        # child's own sys.exit turns later: its status would be lost.
        if isinstance(loop, asyncio.BaseEventLoop) or sys.version_info >= (3, 12, 5):
            loop.call_soon(_came_back, stack)


def _came_back(stack: traceback.StackSummary) -> None:
    lines = [
        f"leeward: pid {os.getpid()}, which the application forked, comes back to the event "
        "loop of its parent: it ends here",
        *blame.told(it for it in reversed(stack) if it.filename != "<string>"),  # our bootstrap
        "Have it end by os._exit(), or start it by subprocess or multiprocessing",
    ]
    with contextlib.suppress(OSError, ValueError, AttributeError):  # stderr closed or absent
        print("\n".join(lines), file=sys.stderr, flush=True)
    os._exit(1)


def _default_signals() -> None:
    """The worker's handlers would speak for a worker that this process is not.

    The wakeup descriptor is the worker's too: a signal to the child would be
    written into the parent's loop (Python resets it by itself from 3.12 on).
    """
    signal.set_wakeup_fd(-1)
    for signum in (signal.SIGTERM, signal.SIGINT):
        if getattr(signal.getsignal(signum), "leeward", False):
            default = signal.SIG_DFL if signum == signal.SIGTERM else signal.default_int_handler
            signal.signal(signum, default)
