"""From the order to leave to the moment when nothing is left, or the deadline."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from leeward._core.connection import Life
from leeward._worker import leave

if TYPE_CHECKING:
    from collections.abc import Callable

    from leeward._core.messages import Drain
    from leeward._worker.accept import Acceptor
    from leeward._worker.logs import Log
    from leeward.engine.server import Server

#: Of the timeout, the part in which WebSockets are told to go: the last of them
#: still needs its closing handshake before the deadline.
SPREAD = 0.9

#: Of the timeout, when it is noted who still sends something; from `SPREAD` on a reload
#: leaves the others, evenly until the deadline.
STOCK = 0.8

#: Seconds for handlers whose clients have all left, or have their answer, and that are to run
#: to their end; and between two looks at them: nobody tells of the end of the latter.  A client
#: that has said FIN and waits may have left: one whose time is out held a stop for all of it.
LAST_WORK = 5.0
_AGAIN = 0.05
#: Seconds, of those after the deadline, for handlers that were ended to clean up.
CLEAN_UP = 0.2

#: Seconds after the deadline in which the process must be gone even if the
#: event loop does not turn any more.
OVERRUN = 0.6


class Drainer:
    """Ends what a worker serves.

    done:  called once, on the loop, when nothing is left or the deadline came.
    """

    def __init__(
        self, acceptor: Acceptor, server: Server, log: Log, done: Callable[[], None]
    ) -> None:
        self._acceptor = acceptor
        self._server = server
        self._log = log
        self._done = done
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._alone = 0.0  # until when handlers without a client are waited for
        self._again: asyncio.TimerHandle | None = None
        self._pause = 0.0  # first a turn later: as a rule an answer is the last that a handler does
        self._cutting = False
        self._over = False
        self.reason = ""  # "" until a drain begins
        self.deadline = 0.0  # on the loop's clock

    def set_aside(self) -> bool:
        """Accept no more, and keep what is there.  False if it drains already."""
        if self.reason:
            return False
        self._acceptor.stop()
        self._server.begin_drain("aside", 0.0)
        count = self._server.connections()
        self._log.say(
            "info",
            f"aside: {_plural(sum(count.values()), 'connection')} left, "
            f"{count[Life.ACTIVE]} in flight, {_plural(count[Life.UPGRADED], 'WebSocket')}",
        )
        return True

    def begin(self, order: Drain) -> None:
        """Obey `order`.  A second one may hurry the first, never slow it down."""
        if self._over or self._cutting:
            return
        now = self._loop.time()
        deadline = now + max(0.0, order.timeout)
        if self.reason:
            deadline = min(deadline, self.deadline)
        self.deadline = deadline
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._cut)
        # A handler that blocks the loop would keep `_cut` from ever running.
        leave.guard(deadline - now + OVERRUN)
        if self.reason not in (order.reason, "stop"):
            self._acceptor.stop(sweep=order.reason == "stop", refuse=order.refuse)
            self.reason = order.reason
            window = min(max(0.0, order.window), SPREAD * (deadline - now))
            self._say(order)
            self._server.begin_drain(order.reason, window)
        self._plan_the_end(deadline - now)
        self.look()

    def _plan_the_end(self, seconds: float) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers = [
            self._loop.call_later(STOCK * seconds, self._server.take_stock),
            self._loop.call_later(
                SPREAD * seconds, self._server.close_rest, (1 - SPREAD) * seconds
            ),
        ]

    def look(self) -> None:
        """Has the last connection gone, and the last handler?  Called after each one's end."""
        if not self.reason or self._over:
            return
        if not self._server.only_doubtful():
            self._alone = 0.0  # one that was doubtful reads: its handler has its time anew
            return
        if not self._server.doubtful() and not self._server.unfinished():
            self._finish()
            return
        now = self._loop.time()
        if not self._alone:
            self._alone = min(now + LAST_WORK, self.deadline)
            self._loop.call_at(self._alone, self.look)
        if now >= self._alone and not self._cutting:
            self._cut()
        elif self._again is None:
            self._again = self._loop.call_later(self._pause, self._look_again)
            self._pause = _AGAIN

    def _look_again(self) -> None:
        self._again = None
        self.look()

    def _cut(self) -> None:
        left = {life: count for life, count in self._server.connections().items() if count}
        doubtful = self._server.doubtful()
        if doubtful and doubtful == sum(left.values()):
            what = _plural(doubtful, "connection")
            self._log.say("warning", f"closing {what} of clients that have said FIN, unanswered")
        elif left:
            words = ", ".join(f"{count} {life.value}" for life, count in left.items())
            self._log.say("warning", f"drain deadline reached, cutting connections: {words}")
        elif count := self._server.unfinished():
            what = _plural(count, "handler")
            self._log.say("warning", f"ending {what} whose clients have left, or have their answer")
        self._cutting = True
        self._server.close_rest()
        self._loop.call_later(CLEAN_UP, self._finish)
        self.look()

    def _finish(self) -> None:
        if not self._over:
            self._over = True
            for timer in (self._timer, self._again, *self._timers):
                if timer is not None:
                    timer.cancel()
            self._done()

    def _say(self, order: Drain) -> None:
        count = self._server.connections()
        self._log.say(
            "info",
            f"draining ({order.reason}): {_plural(sum(count.values()), 'connection')}, "
            f"{count[Life.ACTIVE]} in flight, {_plural(count[Life.UPGRADED], 'WebSocket')}, "
            f"at most {order.timeout:.3g} s",
        )


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
