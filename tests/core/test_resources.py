"""What is needed is open before; who would wait for itself is told by whom."""

from __future__ import annotations

import random

import pytest

from leeward._core.resources import Cycle, Waits, allowance, before, way

Graph = dict[str, list[str]]


def first(key: str, needs: Graph, mentions: Graph) -> list[str]:
    return before(key, lambda it: needs.get(it, []), lambda it: mentions.get(it, []))


def test_needs_come_before_mentions_and_each_once() -> None:
    assert first("c", {"c": ["b", "b"]}, {"c": ["a", "b"]}) == ["b", "a"]


def test_a_mention_that_leads_back_is_no_hint() -> None:
    """Of two that mention each other either may ask for the other much later."""
    mentions = {"a": ["b"], "b": ["c"], "c": ["a", "d"]}
    assert [first(key, {}, mentions) for key in "abc"] == [[], [], ["d"]]


def test_a_need_counts_even_if_it_is_mentioned_back() -> None:
    assert first("a", {"a": ["b"]}, {"b": ["a"]}) == ["b"]
    assert first("b", {"a": ["b"]}, {"b": ["a"]}) == []


def test_a_mention_of_itself_is_none() -> None:
    assert first("a", {}, {"a": ["a"]}) == []


def test_the_way_is_a_shortest_one() -> None:
    graph = {"a": ["b", "c"], "b": ["d"], "c": ["e"], "d": ["f"], "e": ["d"]}
    assert way("a", "f", lambda it: graph.get(it, [])) == ["a", "b", "d", "f"]
    assert way("f", "a", lambda it: graph.get(it, [])) == []
    assert way("a", "a", lambda it: graph.get(it, [])) == ["a"]


def test_a_cycle_is_told_from_the_asker_to_itself() -> None:
    waits: Waits[str] = Waits()
    waits.begin("a", "b")
    waits.begin("b", "c")
    with pytest.raises(Cycle) as raised:
        waits.begin("c", "a")
    assert raised.value.path == ["c", "a", "b", "c"]
    with pytest.raises(Cycle):
        waits.begin("a", "a")
    waits.end("b", "c")
    waits.begin("c", "a")
    assert waits.path("c", "b") == ["c", "a", "b"]


def test_one_may_wait_for_several_and_twice_for_one() -> None:
    waits: Waits[str] = Waits()
    for wanted in ("b", "c", "b"):
        waits.begin("a", wanted)
    waits.end("a", "b")
    assert waits.path("a", "b") == ["a", "b"]
    waits.end("a", "b")
    waits.end("a", "c")
    assert waits.path("a", "b") == []


def test_whoever_waits_is_never_waited_for_by_those_it_waits_for() -> None:
    """However askers come and go, no one is ever let into a circle."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    waits: Waits[int] = Waits()
    held: list[tuple[int, int]] = []
    for _ in range(2000):
        if held and chance.random() < 0.4:
            waits.end(*held.pop(chance.randrange(len(held))))
            continue
        edge = chance.randrange(8), chance.randrange(8)
        try:
            waits.begin(*edge)
        except Cycle as cycle:
            assert cycle.path[0] == cycle.path[-1] == edge[0]
        else:
            held.append(edge)
        for asker, wanted in held:
            assert not waits.path(wanted, asker)


def test_no_closer_takes_the_time_of_all() -> None:
    """Each that hangs leaves half; the last one has what there is."""
    left, taken = 8.0, []
    for count in (3, 2, 1):
        taken.append(allowance(left, count))
        left -= taken[-1]
    assert taken == [4.0, 2.0, 2.0]
    assert allowance(-1.0, 1) == 0.0 == allowance(-1.0, 2)
