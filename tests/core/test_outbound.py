"""Connections that grow without an end are told; a pool that fills and a gateway are not."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from leeward._core.outbound import LATEST, SOONEST, Grown, Growth

DB = "10.0.0.5:5432"


def told(counts: Iterable[int], work: Iterable[int] | int = 1) -> list[tuple[int, int]]:
    """What is told of one peer, look by look."""
    growth, found = Growth(), []
    counts = list(counts)
    works = [work] * len(counts) if isinstance(work, int) else work
    for count, in_hand in zip(counts, works, strict=True):
        found += growth.look({DB: count}, in_hand)
    return [(it.before, it.count) for it in found]


@pytest.mark.parametrize("step", [3, 7, 40, 200])
def test_a_leak_is_told_at_each_doubling(step: int) -> None:
    """However fast; some dozen lines until descriptors are out, and no more."""
    found = told(range(0, 100_000, step))
    assert found and found[0][0] == 64 and found[0][1] <= 128 + 4 * step
    assert all(count >= 2 * before for before, count in found)
    assert 5 <= len(found) <= 10


def test_a_leak_beside_a_busy_pool_is_told() -> None:
    """Some come and go at any time; what stays grows."""
    draw = random.Random(5)
    assert told(60 + 2 * n + draw.randrange(20) for n in range(300))


@pytest.mark.parametrize(
    "counts",
    [
        [*range(0, 101, 3), *[100] * 50],
        [100] * 50,
        [*[0, 100] * 30],
        [127] * 9,
        [0, 3000, 3000, 3000, *[3000] * 50],
        [0, 500, 1000, 1000, 1000],
        [*range(0, 120, 10), *range(120, 60, -10), *range(60, 120, 10)] * 5,
        [*[64, 96, 120, 80] * 20],
        [0, 90, 300, 20, 90, 300, 20] * 5,
    ],
    ids=["fills", "full", "all new", "below", "at once", "twice", "breathes", "wavers", "bursts"],
)
def test_a_pool_is_not_told(counts: list[int]) -> None:
    assert told(counts) == []


def test_a_gateway_with_a_connection_for_each_client_is_not_told() -> None:
    """Nor one that has three, nor one whose clients leave at night and come again."""
    clients = [*range(0, 4000, 25), *range(4000, 100, -100), *range(100, 5000, 25)]
    assert told(clients, clients) == []
    assert told([3 * it for it in clients], clients) == []


def test_a_gateway_that_leaks_is_told_once_its_clients_are_there() -> None:
    clients = [*range(0, 400, 50), *[400] * 200]
    assert told([it + 5 * look for look, it in enumerate(clients)], clients)


def test_peers_are_told_apart_the_most_used_first() -> None:
    growth = Growth()
    found = []
    for count in range(0, 400, 30):
        found += growth.look({"a:1": count, "b:1": 2 * count, "c:1": 90}, 1)
    assert found[0] == Grown("b:1", 64, 240) and {it.peer for it in found} == {"a:1", "b:1"}
    both = Growth()
    for count in (64, 90, 100):
        assert both.look({"a:1": count, "b:1": count + 1}, 1) == []
    assert [it.peer for it in both.look({"a:1": 200, "b:1": 300}, 1)] == ["b:1", "a:1"]


def test_a_peer_that_was_left_begins_anew() -> None:
    growth = Growth()
    for count in (100, 110, 120):
        assert growth.look({DB: count}, 1) == []
    assert growth.look({}, 1) == []
    assert growth.look({DB: 500}, 1) == []


def test_looks_grow_rarer_while_nothing_changes() -> None:
    growth = Growth()
    assert growth.rest(1) == SOONEST
    rests = [growth.rest(1) for _ in range(6)]
    assert rests[:3] == [20.0, 40.0, 80.0] and set(rests[2:]) == {LATEST}
    assert growth.rest(2) == SOONEST
