"""Which connections give way to others when there is room for no more.

Only those in which nothing happens: without a byte since their begin (for longer than a
request may be on its way), or between two requests.  Those first that waited longest.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Protocol, TypeVar

from leeward._core.admission import batch
from leeward._core.connection import Life

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Seconds from its begin that a connection without a byte is left alone: its request may be
#: on the way, as at a stop (`leeward.engine.registry.NEW_GRACE`).
GRACE = 1.0


class Evictable(Protocol):
    life: Life
    since: float

    @property
    def descriptor(self) -> int: ...

    def evict(self) -> bool: ...


M = TypeVar("M", bound=Evictable)


def evictable(members: Iterable[M], now: float, files: int) -> list[M]:
    """One batch of them.

    now:    on the loop's clock, as `Evictable.since`.
    files:  only who has a descriptor below it makes room by going: the limit may have been
            lowered while there were more.
    """
    idle = [
        it
        for it in members
        if (it.life is Life.IDLE or (it.life is Life.NEW and now - it.since >= GRACE))
        and 0 <= it.descriptor < files
    ]
    return heapq.nsmallest(batch(len(idle)), idle, key=lambda it: it.since)


def evict(members: Iterable[Evictable], now: float, files: int) -> int:
    """How many have been told to go."""
    return sum(it.evict() for it in evictable(members, now, files))
