"""The processes of an instance, and what can be read off them."""

from __future__ import annotations

import pytest

from leeward._core.generation import Limits
from leeward._core.roster import Process, Roster
from leeward._core.worker import Event, State

LIMITS = Limits(start=60.0, graceful=25.0, fork=5.0, kill=4.0, margin=0.9)


def add(
    roster: Roster, slot: int = 0, generation: int = 1, state: State = State.SPAWNING
) -> Process:
    it = roster.add("worker", generation, LIMITS, State.SPAWNING, 0.0)
    it.slot, it.row = slot, roster.free_row() or 0
    for event in {
        State.SPAWNING: [],
        State.STARTING: [Event.FORKED],
        State.SERVING: [Event.FORKED, Event.READY],
        State.ASIDE: [Event.FORKED, Event.READY, Event.ASIDE],
        State.DRAINING: [Event.DRAIN],
        State.KILLING: [Event.KILL],
        State.GONE: [Event.DIED],
    }[state]:
        it.step(event, 0.0)
    return it


def test_each_state_starts_its_own_deadline() -> None:
    """By the limits of its generation, from the moment it begins."""
    it = add(Roster())
    assert it.deadline == 5.0
    for now, event, deadline in [
        (1.0, Event.FORKED, 61.0),
        (2.0, Event.FORKED, 61.0),  # told twice: the state goes on
        (3.0, Event.READY, None),
        (4.0, Event.DRAIN, 29.9),
        (29.9, Event.DEADLINE, 33.9),
        (33.9, Event.DEADLINE, None),
    ]:
        it.step(event, now)
        assert it.deadline == deadline
    assert (it.state, it.since) == (State.GONE, 33.9)


def test_a_process_may_exist_from_the_first() -> None:
    """A zygote is exec'ed, not asked for: it starts at once."""
    it = Roster().add("zygote", 1, LIMITS, State.STARTING, 7.0)
    assert (it.state, it.deadline) == (State.STARTING, 67.0)


def test_numbers_are_never_used_twice() -> None:
    """Late words about a process cannot meet another one."""
    roster = Roster()
    first = add(roster, state=State.GONE)
    assert roster.remove_gone() == [first]
    assert add(roster).id != first.id
    assert roster.remove_gone() == []


def test_the_dead_are_nobody() -> None:
    """Words about a process that is gone find nobody, even before it is forgotten."""
    roster = Roster()
    living, dead = add(roster), add(roster, state=State.GONE)
    assert roster.get(living.id) is living
    assert roster.get(dead.id) is None
    assert roster.get(99) is None
    assert list(roster) == [living, dead]


@pytest.mark.parametrize("state", State)
def test_who_fills_a_slot_and_who_serves(state: State) -> None:
    """A slot is filled from SPAWNING on, and served only by SERVING."""
    roster = Roster()
    add(roster, slot=1, generation=2, state=state)
    coming = state in (State.SPAWNING, State.STARTING)
    assert roster.filled(1, 2) is (coming or state is State.SERVING)
    assert roster.serves(1, 2) is (state is State.SERVING)
    assert roster.coming(2) is coming
    assert not roster.filled(0, 2) and not roster.serves(1, 1) and not roster.coming(1)


def test_who_retires_fills_no_slot() -> None:
    """It serves on, but its place is to be taken."""
    roster = Roster()
    it = add(roster, state=State.SERVING)
    it.retiring = True
    assert it.alive and not it.fills_its_slot
    assert not roster.filled(0, 1) and not roster.serves(0, 1)


def test_rows_are_free_when_their_worker_is_forgotten() -> None:
    """Nobody shares a row; the lowest free one is next; none means none."""
    roster = Roster(rows=2)
    first, second = add(roster), add(roster, slot=1)
    assert (first.row, second.row, roster.free_row()) == (0, 1, None)
    first.step(Event.DIED, 0.0)
    assert roster.free_row() is None, "it is not forgotten yet"
    roster.remove_gone()
    assert roster.free_row() == 0


def test_a_zygote_is_known_until_it_is_sent_away() -> None:
    """By its generation; strays and workers are no zygotes."""
    roster = Roster()
    add(roster)
    assert roster.zygote(1) is None
    it = roster.add("zygote", 1, LIMITS, State.STARTING, 0.0)
    assert roster.zygote(1) is it and roster.zygote(2) is None
    it.step(Event.DRAIN, 0.0)
    assert roster.zygote(1) is None
    assert roster.of("zygote") == [it] and roster.of("worker", 2) == []
