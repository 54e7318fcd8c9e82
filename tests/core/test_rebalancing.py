"""Who has clearly more than the mean lets some go, at a bounded rate, and nobody else does."""

from __future__ import annotations

import random

import pytest

from leeward._core import admission as a
from leeward._core.rebalancing import Takers, may_go


@pytest.mark.parametrize(
    ("own", "others", "rate", "count"),
    [
        (100, [], 10, 0),
        (100, [100], 10, 0),
        (100, [96], 10, 0),
        (100, [94], 10, 1),
        (100, [0], 10, 10),
        (100, [0], 500, 25),
        (0, [100, 100], 10, 0),
        (1000, [950, 950], 10, 10),
        (1000, [960, 970], 10, 0),
        (5, [0], 1, 1),
        (2, [0], 9, 0),
    ],
)
def test_one_look(own: int, others: list[int], rate: int, count: int) -> None:
    assert may_go(own, others, rate) == count


def test_it_ends_and_ends_even() -> None:
    """Whoever was closed comes back to who has fewest: nothing is closed for ever."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    draw = random.Random(seed)
    for _ in range(50):
        counts = [draw.choice((0, draw.randrange(2000))) for _ in range(draw.randint(2, 8))]
        for _ in range(500):
            going = [may_go(it, counts[:at] + counts[at + 1 :], 50) for at, it in enumerate(counts)]
            if not any(going):
                break
            counts = [it - gone for it, gone in zip(counts, going, strict=True)]
            for _ in range(sum(going)):
                counts[counts.index(min(counts))] += 1
        mean = sum(counts) / len(counts)
        assert not any(going) and max(counts) - mean <= max(2, 0.03 * mean), counts


def standing(pid: int, accepted: int = 0, woken: int = 0, **other: object) -> a.Standing:
    it = a.Standing(pid, 0, 0, accepted, woken, 0.0, False)
    return it._replace(**other)  # type: ignore[arg-type]


def test_who_does_not_wake_takes_nothing() -> None:
    """A stopped worker looks as if it slept; it is left out until it wakes again."""
    takers, now = Takers(), 100.0
    dead, alive = standing(2, woken=7), standing(3, woken=7)

    def look(accepted: int, *others: a.Standing) -> list[int]:
        return [it.pid for it in takers.look(standing(1, accepted), others, now)]

    assert look(5, dead, alive) == [2, 3]
    assert look(5, dead, alive) == [2, 3], "nobody has come: there was nothing to wake for"
    assert look(6, dead, alive._replace(woken=8)) == [3]
    assert look(6, dead, alive._replace(woken=8)) == [3], "nobody has come since"
    assert look(6, dead._replace(woken=8), alive._replace(woken=8)) == [2, 3]
    assert look(9, standing(4), alive._replace(woken=9)) == [4, 3], "it has just begun"


@pytest.mark.parametrize(
    ("age", "beats", "takes"),
    [
        (0.0, False, True),
        (a.BUSY * 0.9, False, True),
        (a.BUSY * 1.1, False, False),
        (a.BUSY * 1.1, True, True),
        (a.BEATS * 1.1, True, False),
    ],
)
def test_who_is_blocked_takes_nothing(age: float, beats: bool, takes: bool) -> None:
    """Who is in one turn for too long, by the same bounds as for accepting."""
    other = standing(2, busy_since=100.0 - age if age else 0.0, beats=beats)
    assert bool(Takers().look(standing(1), [other], 100.0)) is takes
