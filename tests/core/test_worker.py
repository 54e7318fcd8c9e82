"""The table of a life: total, able to end, and strict."""

from __future__ import annotations

import itertools

import pytest

from leeward._core.worker import ALIVE, LIFE, Event, IllegalEvent, State, step

PAIRS = list(itertools.product(State, Event))


def test_every_state_has_its_row() -> None:
    """The table is total: no state is forgotten, and it leads only to states."""
    assert set(LIFE) == set(State)
    assert {it for row in LIFE.values() for it in row.values()} <= set(State)


@pytest.mark.parametrize(("state", "event"), PAIRS, ids=lambda it: it.name)
def test_a_pair_is_in_the_table_or_raises(state: State, event: Event) -> None:
    """A message that nobody thought of is a bug to be seen, and is named."""
    if event in LIFE[state]:
        assert step(state, event) is LIFE[state][event]
    else:
        with pytest.raises(IllegalEvent, match=f"{event.name} in {state.name}"):
            step(state, event)


@pytest.mark.parametrize("state", [it for it in State if it not in (State.SERVING, State.GONE)])
def test_no_state_lives_for_ever(state: State) -> None:
    """Every state but SERVING has a deadline, and following deadlines ends in GONE."""
    seen = []
    while state is not State.GONE:
        assert state not in seen, "deadlines go in a circle"
        seen.append(state)
        state = step(state, Event.DEADLINE)


def test_a_worker_may_serve_for_years() -> None:
    """SERVING alone has no deadline."""
    assert [it for it in State if Event.DEADLINE not in LIFE[it]] == [State.SERVING, State.GONE]


def test_the_end_can_come_at_any_time() -> None:
    """Whatever lives can die, can be drained and can be killed."""
    for state in set(State) - {State.GONE}:
        assert step(state, Event.DIED) is State.GONE
        assert step(state, Event.DRAIN) in (State.DRAINING, State.KILLING)
        assert step(state, Event.KILL) is State.KILLING


def test_nothing_comes_after_the_end() -> None:
    """GONE is the end, and nobody in it fills a slot."""
    assert LIFE[State.GONE] == {}
    assert State.GONE not in ALIVE


def test_every_state_is_reached() -> None:
    """From SPAWNING there is a way to every state: no row is dead."""
    reached, new = set(), {State.SPAWNING}
    while new:
        reached |= new
        new = {it for state in new for it in LIFE[state].values()} - reached
    assert reached == set(State)


def test_nobody_comes_back() -> None:
    """Who has been sent away or killed never serves again, whatever is said."""
    for state in (State.ASIDE, State.DRAINING, State.KILLING, State.GONE):
        assert not set(ALIVE) & set(LIFE[state].values())
