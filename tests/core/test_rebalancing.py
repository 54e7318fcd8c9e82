"""Who has clearly more than the mean lets some go, at a bounded rate, and nobody else does."""

from __future__ import annotations

import random

import pytest

from leeward._core.rebalancing import may_go


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
