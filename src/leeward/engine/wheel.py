"""Many points in time, one timer: what is due about now is looked at together.

A point is rounded up to the next of the wheel's steps; all that fall on one step are one
bucket.  To place and to take away is one operation on a set, whatever the number of
members; asyncio's own timers cost 2 µs each, and a cancelled one stays in its heap.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import asyncio
    import contextvars
    from collections.abc import Callable

T = TypeVar("T")


class Wheel(Generic[T]):
    """step:   seconds between two looks, and so how late a look may come.
    due:    called with each member when its time has come; the member is off the wheel.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        step: float,
        due: Callable[[T], None],
        context: contextvars.Context,
    ) -> None:
        self._loop = loop
        self._step = step
        self._due = due
        self._context = context
        self._buckets: dict[int, set[T]] = {}
        self._order: list[int] = []
        self._places: dict[T, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._places)

    def clear(self) -> list[T]:
        """Take all off; who they were."""
        members = list(self._places)
        for member in members:
            self.take(member)
        return members

    def place(self, member: T, at: float) -> None:
        """Have `member` looked at when the loop's clock says `at`, and at no time before."""
        self.take(member)
        number = int(at / self._step) + 1
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = set()
            heapq.heappush(self._order, number)
            if self._order[0] == number:
                self._arm()
        bucket.add(member)
        self._places[member] = number

    def take(self, member: T) -> None:
        """Take `member` off, if it is on the wheel."""
        number = self._places.pop(member, None)
        if number is not None:
            # Its bucket may be the one that is being looked at.
            self._buckets.get(number, set()).discard(member)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if self._order:
            at = self._order[0] * self._step
            self._timer = self._loop.call_at(at, self._turn, context=self._context)

    def _turn(self) -> None:
        self._timer = None
        last = int(self._loop.time() / self._step + 1e-6)
        order = self._order
        while order and order[0] <= last:
            number = heapq.heappop(order)
            bucket = self._buckets[number]
            while bucket:
                member = bucket.pop()
                del self._places[member]
                self._due(member)
            del self._buckets[number]
        self._arm()
