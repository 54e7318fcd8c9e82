"""Members are looked at when their time has come, in few wake-ups, and none too early."""

from __future__ import annotations

import contextvars
import random

import pytest
from engine.test_deadlines import Loop

from leeward.engine.wheel import Wheel


class World:
    def __init__(self, step: float = 0.25) -> None:
        self.loop = Loop()
        self.seen: list[tuple[float, str]] = []
        self.again: dict[str, float] = {}
        self.wheel: Wheel[str] = Wheel(self.loop, step, self.due, contextvars.Context())

    def due(self, member: str) -> None:
        self.seen.append((self.loop.now - 1000.0, member))
        if member in self.again:
            self.wheel.place(member, self.loop.now + self.again[member])

    def place(self, member: str, after: float) -> None:
        self.wheel.place(member, self.loop.now + after)


def test_a_member_is_looked_at_once() -> None:
    """Within a step of its time, never before; then it is off the wheel."""
    world = World()
    world.place("one", 10.1)
    world.loop.advance(10.1)
    assert not world.seen
    world.loop.advance(30.0)
    assert world.seen == [(10.25, "one")] and len(world.wheel) == 0


def test_an_empty_wheel_wakes_nobody() -> None:
    """No timer is left."""
    world = World()
    world.place("one", 1.0)
    world.loop.advance(5.0)
    assert not world.loop.due()


def test_who_was_taken_off_is_not_looked_at() -> None:
    """Also by another of its own bucket, in the middle of the look."""
    world = World()
    for name in ("one", "two", "three"):
        world.place(name, 1.0)
    world.wheel.take("two")
    world.wheel.take("two")
    due = world.due

    def take_the_rest(member: str) -> None:
        due(member)
        for name in ("one", "three"):
            world.wheel.take(name)

    world.wheel._due = take_the_rest
    world.loop.advance(5.0)
    assert len(world.seen) == 1 and len(world.wheel) == 0


def test_a_place_replaces_the_one_before() -> None:
    """Earlier or later."""
    world = World()
    world.place("later", 1.0)
    world.place("later", 2.0)
    world.place("sooner", 9.0)
    world.place("sooner", 3.0)
    world.loop.advance(20.0)
    assert world.seen == [(2.25, "later"), (3.25, "sooner")]


def test_who_is_placed_anew_comes_again() -> None:
    """From within its own look, for now or for later."""
    world = World()
    world.again = {"one": 1.0, "two": 0.0}
    world.place("one", 1.0)
    world.place("two", 1.0)
    world.loop.advance(4.0)
    ones = [at for at, name in world.seen if name == "one"]
    twos = [at for at, name in world.seen if name == "two"]
    assert ones == pytest.approx([1.25, 2.5, 3.75])
    assert twos == pytest.approx([1.25 + 0.25 * n for n in range(12)])


def test_a_late_turn_looks_at_all_that_is_due() -> None:
    """After a stall, in the order of their times."""
    world = World()
    for n in range(10):
        world.place(str(n), n / 2)
    world.loop.now += 100.0
    world.loop.advance(0.0)
    assert [name for _, name in world.seen] == list("0123456789")


@pytest.mark.parametrize("seed", range(20))
def test_random_members(seed: int) -> None:
    """Each at its time, whatever was placed and taken before; wake-ups are bounded by steps."""
    draw = random.Random(seed)
    world = World(draw.choice((0.01, 0.1, 0.25, 1.0)))
    step, due = world.wheel._step, {}
    for _ in range(300):
        name, after = str(draw.randrange(100)), draw.random() * 20
        if draw.random() < 0.2:
            world.wheel.take(name)
            due.pop(name, None)
        else:
            world.place(name, after)
            due[name] = after
    assert len(world.wheel) == len(due)
    world.loop.advance(25.0)
    assert {name for _, name in world.seen} == due.keys() and len(world.seen) == len(due)
    for at, name in world.seen:
        assert due[name] - 1e-6 <= at <= due[name] + step + 1e-6
