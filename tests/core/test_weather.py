"""The decisions in random weather: see `core.world` for the rules that must hold."""

from __future__ import annotations

import os
import random

import pytest
from core.world import FATES, Code, World, live

#: Half of the worlds are always the same, half are new in each run: set this to
#: repeat a run, or LEEWARD_WORLDS to live through more.
SEED = int(os.environ.get("LEEWARD_SEED", random.randrange(10**9)))
WORLDS = int(os.environ.get("LEEWARD_WORLDS", 120))


@pytest.mark.parametrize("first", [0, SEED], ids=["kept", "new"])
def test_the_rules_hold_in_any_weather(first: int) -> None:
    """Boot, weather, calm, end: no rule breaks, whatever happens when."""
    print(f"LEEWARD_SEED={SEED}")
    turns = sum(live(seed).turns for seed in range(first, first + WORLDS // 2))
    assert turns > 10 * (WORLDS // 2), "the worlds are too quiet to show anything"


@pytest.mark.parametrize("fate", sorted(set(FATES) - {"crashes later", "mixed"}))
@pytest.mark.parametrize("start", ["auto", "spawn"])
def test_no_bad_code_boots_for_ever(fate: str, start: str) -> None:
    """Code that never serves ends the instance with 3 or 5; it does not try for ever."""
    world = World(1, code=Code(fate, start=start), workers=2)
    world.nasty = False
    world.run(600.0)
    if fate == "crashes young" or (start == "spawn" and fate.startswith("zygote")):
        assert world.up, "it was ready: back off for ever, keep the listener"
    elif fate == "zygote dies" and world.exit is None:
        assert world.up, "a worker was quicker than the end of its zygote"
    else:
        assert world.exit.code in (3, 5), world.exit


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("fate", ["crashes young", "crashes later"])
@pytest.mark.parametrize("start", ["zygote", "spawn"])
def test_a_crash_loop_forks_at_most_ten_times_in_ten_seconds(
    workers: int, fate: str, start: str
) -> None:
    """Per slot, whenever one looks; the usual process managers fork 82-96 times."""
    world = World(workers, code=Code(fate, start=start, load=0.01, boot=0.0), workers=workers)
    world.nasty = False
    starts: dict[int, list[float]] = {}
    carry_out = world._hands[_START]

    def note(command: object) -> None:
        starts.setdefault(command.slot, []).append(world.now)  # type: ignore[attr-defined]
        carry_out(command)

    world._hands[_START] = note
    world.run(60.0)
    assert len(starts) == workers
    for slot, times in starts.items():
        most = max(sum(t <= it < t + 10.0 for it in times) for t in times)
        assert most <= 10, f"slot {slot}: {most} forks in 10 s"


def test_two_hundred_kills_never_cause_a_pause() -> None:
    """A worker that served and got somebody's SIGKILL is replaced at once, each time."""
    world = World(5, code=Code(start="zygote", load=0.05), workers=4)
    world.nasty, world.calm = False, True
    killed = []

    def sigkill() -> None:
        served = [it for it in world.fakes.values() if it.role == "worker" and it.serves]
        killed.append(served[0].id)
        world.die(served[0], "killed by SIGKILL", True, True)

    for number in range(200):
        world.at(2.0 + 0.13 * number, sigkill)
    world.run(60.0)
    assert len(set(killed)) == 200
    assert not [it for it in world.said if type(it).__name__ == "BackedOff"]
    world.calm_down()
    world.end()


def test_a_world_is_its_seed() -> None:
    """The same seed lives the same life, so that a printed seed is worth something."""
    first, again = live(7), live(7)
    assert [repr(it) for it in first.said] == [repr(it) for it in again.said]
    assert first.said


_START = next(it for it in World(0)._hands if it.__name__ == "StartWorker")
