"""The life of a connection: total, and able to end."""

from __future__ import annotations

import pytest

from leeward._core.connection import LIFE, WAITING, Event, IllegalEvent, Life, step

PAIRS = [(life, event) for life in Life for event in Event]


@pytest.mark.parametrize(("life", "event"), PAIRS, ids=lambda it: it.name)
def test_a_pair_that_is_not_in_the_table_raises(life: Life, event: Event) -> None:
    """A message that nobody thought of is a bug to be seen, not a state to be guessed."""
    if event in LIFE[life]:
        assert step(life, event) is LIFE[life][event]
    else:
        with pytest.raises(IllegalEvent, match=f"{event.name} in {life.name}"):
            step(life, event)


@pytest.mark.parametrize("life", [it for it in Life if it is not Life.CLOSED])
def test_every_life_ends_with_its_socket(life: Life) -> None:
    assert step(life, Event.GONE) is Life.CLOSED


def test_nothing_follows_the_end() -> None:
    assert not LIFE[Life.CLOSED]


def test_only_who_waits_is_woken_by_a_byte() -> None:
    assert {life for life in Life if Event.BYTE in LIFE[life]} == WAITING
