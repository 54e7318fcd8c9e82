"""Which connections give way to others when there is room for no more.

Only those in which nothing has happened for `GRACE` seconds.  First those that have never
sent a byte; only when there are none of these, those between two requests: they have shown
that they are clients, and a flood of silent connections must not drive them out.  Of each
kind those first that waited longest.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Protocol, TypeVar

from leeward._core.admission import batch
from leeward._core.connection import WAITING, Life

if TYPE_CHECKING:
    from collections.abc import Iterable

    from leeward.engine.telling import Account

#: Seconds that a waiting connection is left alone: its request may be on the way, as at a
#: stop (`leeward.engine.registry.NEW_GRACE`).
GRACE = 1.0


class Evictable(Protocol):
    life: Life
    account: Account

    @property
    def descriptor(self) -> int: ...

    def evict(self) -> bool: ...


M = TypeVar("M", bound=Evictable)


def evictable(members: Iterable[M], now: float, files: int) -> list[M]:
    """One batch of them.

    now:    on the monotonic clock, as `Account.since`.
    files:  only who has a descriptor below it makes room by going: the limit may have been
            lowered while there were more.
    """
    silent: list[M] = []
    idle: list[M] = []
    for it in members:
        if it.life in WAITING and now - it.account.since >= GRACE and 0 <= it.descriptor < files:
            (silent if it.life is Life.NEW else idle).append(it)
    group = silent or idle
    count = batch(len(group), silent=bool(silent))
    return heapq.nsmallest(count, group, key=lambda it: it.account.since)


def idle(members: Iterable[M], now: float, most: int) -> list[M]:
    """Those that have waited longest between two requests."""
    found = [it for it in members if it.life is Life.IDLE and now - it.account.since >= GRACE]
    return heapq.nsmallest(most, found, key=lambda it: it.account.since)


def evict(members: Iterable[Evictable], now: float, files: int) -> int:
    """How many have been told to go."""
    return sum(it.evict() for it in evictable(members, now, files))
