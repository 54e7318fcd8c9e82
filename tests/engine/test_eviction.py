"""Who gives way when there is room for no more."""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field

import pytest

from leeward._core.connection import Life
from leeward.engine.eviction import GRACE, evict, evictable
from leeward.engine.telling import Account

NOW = 1000.0


@dataclass(eq=False)
class One:
    life: Life
    since: InitVar[float] = NOW - 60
    descriptor: int = 20
    gone: bool = False
    goes: bool = True
    account: Account = field(default_factory=Account)

    def __post_init__(self, since: float) -> None:
        self.account.since = since

    def evict(self) -> bool:
        self.gone = self.goes
        return self.goes


@pytest.mark.parametrize("life", [it for it in Life if it not in (Life.NEW, Life.IDLE)])
def test_never_one_in_which_something_happens(life: Life) -> None:
    """Requests in flight, WebSockets and those that end already stay, however old."""
    assert evictable([One(life)], NOW, 64) == []


@pytest.mark.parametrize("life", [Life.NEW, Life.IDLE])
def test_a_request_may_be_on_its_way(life: Life) -> None:
    """Who waits for less than a second is left alone."""
    assert evictable([One(life, NOW - GRACE + 0.01)], NOW, 64) == []
    assert len(evictable([One(life, NOW - GRACE)], NOW, 64)) == 1


def test_the_silent_before_the_idle() -> None:
    """A flood of connections without a byte drives no client out, however long that is idle."""
    silent = [One(Life.NEW, NOW - 2 - n) for n in range(16)]
    idle = [One(Life.IDLE, NOW - 3600)]
    assert evictable([*idle, *silent], NOW, 64) == silent[:7:-1]
    assert evictable(idle, NOW, 64) == idle


def test_only_those_that_make_room() -> None:
    """A descriptor above a limit that was lowered frees nothing below it; -1 is none at all."""
    members = [One(Life.IDLE, descriptor=number) for number in (-1, 63, 64, 200)]
    assert evictable(members, NOW, 64) == [members[1]]


def test_those_are_counted_that_go() -> None:
    """One whose request has come at the last moment stays."""
    assert evict([One(Life.IDLE)], NOW, 64) == 1
    assert evict([One(Life.IDLE, goes=False)], NOW, 64) == 0
