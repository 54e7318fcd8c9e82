"""Tells the shared page since when the loop has been in one turn, so that a stall is seen.

On asyncio's own loops `select` of the loop's selector is wrapped, on that one object: the
page says 0 while it sleeps, and the time at which it woke from then on.  That costs 230 ns
a turn on Python 3.11 and 3.12, 260 ns on 3.13 (x86-64, best of 25 runs of 20 000 turns).
A loop without such a selector (uvloop) has nothing to wrap: there a timer *beats* while
anything is served, which sees no block that begins while nothing is.

What does not work: a timer on every loop (an idle process would wake ten times a second),
`loop.slow_callback_duration` (debug mode only, 3 µs a callback, and it speaks when the block
is over), a second thread (a C call that holds the interpreter lock keeps it from running).
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from leeward._core.messages import Descriptor, Watched
from leeward._core.vitals import BEAT
from leeward._sys.bell import Bell
from leeward._sys.page import AWAKE, BUSY_SINCE, IN_FLIGHT, TURNS
from leeward._sys.posix import memfd_create
from leeward._sys.signals import STACK, STACK_IN_C

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from leeward._core.messages import Message
    from leeward._sys.page import Page, Row

#: Frames of a stack that are written, the innermost ones: as many as faulthandler writes.
_DEEPEST = 100


class Turns:
    """The loop of this thread, from `begin` to `end`.

    active:  to be called when bytes arrive, where the loop does not tell its turns by
             itself; None where nobody needs to.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, page: Page, row: Row, bell: int) -> None:
        self._loop = loop
        self._row = row
        self._words = row.words
        self._head = page.head
        self._bell = Bell(bell)
        self._selector: Any = None
        self._timer: asyncio.TimerHandle | None = None
        self._arrived = False
        self._stack = -1
        self.active: Callable[[], None] | None = None

    def begin(self, say: Callable[[Message], None]) -> None:
        """From now on.  say: sends to the supervisor."""
        selector: Any = getattr(self._loop, "_selector", None)
        if hasattr(selector, "select"):
            self._wrap(selector)
        else:
            self._row.beats = 1
            self.active = self._active
            self._active()
        self._offer_stack(say)

    def end(self) -> None:
        """The loop is about to end: it may take its time.  May be called again."""
        self.active = None
        if self._selector is not None:
            vars(self._selector).pop("select", None)
            self._selector = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._words[BUSY_SINCE] = 0

    def abandon(self) -> None:
        """In a process that the application forked: tell nothing, before the page is closed."""
        self.active = None
        if self._selector is not None:
            vars(self._selector).pop("select", None)
        self._bell.close()
        if self._stack >= 0:
            faulthandler.unregister(STACK_IN_C)
            os.close(self._stack)
            self._stack = -1

    # --- by turns ------------------------------------------------------------------------

    def _wrap(self, selector: Any) -> None:
        words, head, ring = self._words, self._head, self._bell.ring
        now, plain = time.monotonic_ns, selector.select
        turns = 0

        def select(timeout: float | None = None) -> Any:
            nonlocal turns
            words[BUSY_SINCE] = 0
            try:
                return plain(timeout)
            finally:
                turns += 1
                words[TURNS] = turns
                words[BUSY_SINCE] = now()
                if not head[AWAKE]:  # behind the write: see `leeward._core.vitals`
                    ring()

        self._selector = selector
        selector.select = select
        words[BUSY_SINCE] = now()  # the turn that we are in
        ring()

    # --- by beats ------------------------------------------------------------------------

    def _active(self) -> None:
        self._arrived = True
        if self._timer is None:
            self._go_on()
            if not self._head[AWAKE]:
                self._bell.ring()

    def _go_on(self) -> None:
        self._words[TURNS] += 1
        self._words[BUSY_SINCE] = time.monotonic_ns()
        self._timer = self._loop.call_later(BEAT, self._beat)

    def _beat(self) -> None:
        if self._arrived or self._words[IN_FLIGHT]:
            self._arrived = False
            self._go_on()
        else:
            self._timer = None
            self._words[TURNS] += 1
            self._words[BUSY_SINCE] = 0

    # --- the stack -----------------------------------------------------------------------

    def _offer_stack(self, say: Callable[[Message], None]) -> None:
        """Let the supervisor have our stack written, whatever we do then.

        By a handler of Python's, which runs between two steps of the interpreter; and, for
        when the main thread is in a C call and takes no steps, by faulthandler's, which runs
        at once.  That one alone will not do: while steps are taken it reads frames that are
        half made, and crashed a worker once in 17,000 to 500,000 stacks (Python 3.12 and 3.13,
        with one thread as with several; python/cpython#116008).
        """
        if any(signal.getsignal(it) != signal.SIG_DFL for it in (STACK, STACK_IN_C)):
            return  # the application's
        if threading.current_thread() is not threading.main_thread():
            return  # a loop in another thread: its stalls are told without their place
        # Without descriptors left as well.
        with contextlib.suppress(OSError):
            self._stack = memfd_create("leeward-stack")
            signal.signal(STACK, self._write_stack)
            # What can be restarted is: no call of the application fails with EINTR.
            signal.siginterrupt(STACK, False)
            faulthandler.register(STACK_IN_C, file=self._stack, all_threads=False, chain=False)
            say(Watched(Descriptor(self._stack)))

    def _write_stack(self, signum: int, frame: FrameType | None) -> None:
        """In the form of faulthandler."""
        lines = ["Current thread (most recent call first):"]
        while frame is not None and len(lines) <= _DEEPEST:
            code = frame.f_code
            lines.append(f'  File "{code.co_filename}", line {frame.f_lineno} in {code.co_name}')
            frame = frame.f_back
        if self._stack >= 0:
            with contextlib.suppress(OSError):  # no memory for the page: as if it had not come
                os.write(self._stack, "\n".join([*lines, ""]).encode("utf-8", "replace"))
