"""The one place where the supervisor sleeps.

An epoll set and a table from descriptor to callback.  There are no timers here:
whoever runs the loop passes the time until the next deadline, or None to sleep
until something happens ("should not wake up unless notified").
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leeward._supervisor.guard import Guard

from leeward._sys.posix import LONGEST_WAIT

#: Events handled per turn, so that a flood on one descriptor leaves room for
#: deadlines and signals between two turns.
_EVENTS_PER_TURN = 64


class Loop:
    """guard:  what callbacks raise goes to it, and the others are called all the same."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[int], None]] = {}

    def watch(
        self,
        fd: int,
        callback: Callable[[int], None],
        *,
        read: bool = True,
        write: bool = False,
    ) -> None:
        """Calls `callback(events)` when `fd` is readable (if `read`) or writable (if `write`)."""
        events = (select.EPOLLIN if read else 0) | (select.EPOLLOUT if write else 0)
        if fd in self._callbacks:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._callbacks[fd] = callback

    def unwatch(self, fd: int) -> None:
        """Must come before `fd` is closed: a closed one cannot be taken out again."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def turn(self, timeout: float | None) -> None:
        """Sleeps until something happens, at most `timeout` seconds; runs the callbacks.

        Returns early where `timeout` is longer than `LONGEST_WAIT`.
        """
        wait = -1.0 if timeout is None else max(0.0, min(timeout, LONGEST_WAIT))
        found = self._epoll.poll(wait, _EVENTS_PER_TURN)
        if not found and wait > 0:
            # Python's poll gives up without a last look if it was stopped (Ctrl-Z, a debugger)
            # until its time was over: what lies there must be read before deadlines are judged.
            found = self._epoll.poll(0, _EVENTS_PER_TURN)
        for fd, events in found:
            callback = self._callbacks.get(fd)
            if callback is not None:  # an earlier callback of this turn may have closed it
                self._guard.run(callback, events)

    def close(self) -> None:
        self._epoll.close()
