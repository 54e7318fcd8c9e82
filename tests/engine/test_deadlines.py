"""One timer ends every connection that has had its time, and costs at most 1 % of a core."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from leeward.engine.deadlines import Sweep


class Loop(asyncio.AbstractEventLoop):
    """A clock that the test moves, with one timer."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[Timer] = []
        self.slow = 0.0  # seconds that a look at one connection takes

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Any, *args: Any, **_: Any) -> Any:
        timer = Timer(when, callback)
        self.timers.append(timer)
        return timer

    def due(self) -> list[float]:
        return [it.at for it in self.timers if not it.gone]

    def advance(self, seconds: float) -> None:
        """Run the timers of the next `seconds`."""
        until = self.now + seconds
        while self.due() and min(self.due()) <= until:
            timer = min((it for it in self.timers if not it.gone), key=lambda it: it.at)
            self.timers.remove(timer)
            self.now = max(self.now, timer.at)
            timer.callback()
        self.now = until


class Timer:
    def __init__(self, at: float, callback: Any) -> None:
        self.at, self.callback, self.gone = at, callback, False

    def cancel(self) -> None:
        self.gone = True


class Member:
    def __init__(self, world: World) -> None:
        self.world = world
        self.deadline = 0.0
        self.expired: list[float] = []
        self.then: Any = lambda: None

    def expire(self) -> None:
        self.expired.append(self.world.loop.now)
        self.then()


class World:
    def __init__(self) -> None:
        self.loop = Loop()
        self.members: set[Member] = set()
        self.sweep = Sweep(self.loop, contextvars.copy_context(), self.members)

    def member(self, seconds: float = 0.0) -> Member:
        member = Member(self)
        member.deadline = self.sweep.deadline(seconds)
        self.members.add(member)
        return member


@pytest.fixture
def world() -> World:
    return World()


def test_what_has_had_its_time_is_ended_once_and_at_most_a_second_late(world: World) -> None:
    members = [world.member(0.5 + 0.37 * number) for number in range(40)]
    dues = [it.deadline for it in members]
    world.loop.advance(60.0)
    assert [len(it.expired) for it in members] == [1] * 40
    late = [it.expired[0] - due for it, due in zip(members, dues, strict=True)]
    assert min(late) >= 0.0
    assert max(late) <= 1.0


def test_zero_is_never_and_needs_no_timer(world: World) -> None:
    member = world.member(0.0)
    assert world.loop.due() == []
    world.loop.advance(1e6)
    assert member.expired == []


def test_one_timer_for_any_number(world: World) -> None:
    for _ in range(1000):
        world.member(75.0)
    assert len(world.loop.due()) == 1
    world.member(10.0)
    assert world.loop.due() == [1010.0]


def test_a_stamp_that_moves_on_is_not_ended(world: World) -> None:
    member = world.member(10.0)
    world.loop.advance(9.0)
    member.deadline = world.sweep.deadline(10.0)
    world.loop.advance(9.0)
    assert member.expired == []
    world.loop.advance(2.0)
    assert len(member.expired) == 1


def test_nothing_is_left_to_do_when_all_have_ended(world: World) -> None:
    member = world.member(1.0)
    member.then = lambda: world.members.discard(member)
    world.loop.advance(5.0)
    assert world.loop.due() == []


def test_the_end_of_one_may_set_the_deadline_of_itself_and_of_another(world: World) -> None:
    first, second = world.member(5.0), world.member()

    def then() -> None:
        first.deadline = world.sweep.deadline(3.0)
        second.deadline = world.sweep.deadline(1.0)
        first.then = lambda: None

    first.then = then
    world.loop.advance(20.0)
    assert len(first.expired) == 2
    assert len(second.expired) == 1


def test_sweeps_take_at_most_a_hundredth_of_the_time(world: World) -> None:
    """However many connections there are, and however their deadlines are spread."""
    started, spent = world.loop.now, 0.0
    count = 2000
    for number in range(count):
        member = world.member(1.0 + number * 0.01)

        def then(member: Member = member) -> None:
            nonlocal spent
            world.loop.now += 1e-4  # what a look at some thousand costs
            spent += 1e-4
            member.deadline = world.sweep.deadline(20.0)

        member.then = then
    world.loop.advance(120.0)
    assert spent <= (world.loop.now - started) * 0.02
    assert all(len(it.expired) >= 4 for it in world.members)
