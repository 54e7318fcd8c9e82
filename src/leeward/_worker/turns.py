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
import time
from typing import TYPE_CHECKING, Any

from leeward._core.messages import Descriptor, Watched
from leeward._core.vitals import BEAT
from leeward._sys.bell import Bell
from leeward._sys.page import AWAKE, BUSY_SINCE, IN_FLIGHT, TURNS
from leeward._sys.posix import memfd_create
from leeward._sys.signals import STACK

if TYPE_CHECKING:
    from collections.abc import Callable

    from leeward._core.messages import Message
    from leeward._sys.page import Page, Row


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
            faulthandler.unregister(STACK)
            os.close(self._stack)

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

        By faulthandler's own C handler, which needs no interpreter lock.  That it reads
        the stacks of threads that run meanwhile is safe as far as we can tell: 50 000
        times with three that recursed, on Python 3.11 to 3.13.
        """
        if signal.getsignal(STACK) != signal.SIG_DFL:
            return  # the application's
        # Without descriptors left a stall is told without its place.
        with contextlib.suppress(OSError):
            self._stack = memfd_create("leeward-stack")
            faulthandler.register(STACK, file=self._stack, all_threads=True, chain=False)
            say(Watched(Descriptor(self._stack)))
