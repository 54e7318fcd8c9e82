"""A job is due on time, runs in the lowest slot that serves, and misses are one run."""

from __future__ import annotations

import pytest

from leeward._core.jobs import STUCK, Candidate, caught_up, due, rank


def test_the_lowest_slot_comes_first() -> None:
    crew = [Candidate(slot, 1, slot + 3, 0.0) for slot in (2, 0, 1)]
    ranks = {own.slot: rank(own, [it for it in crew if it is not own], 10.0) for own in crew}
    assert ranks == {0: 0, 1: 1, 2: 2}


def test_of_one_slot_the_newer_generation_comes_first() -> None:
    """In a roll both serve for a moment; of one generation, by row: exactly one is first."""
    old, new, twin = Candidate(0, 4, 0, 0.0), Candidate(0, 5, 1, 0.0), Candidate(0, 5, 2, 0.0)
    assert rank(new, [old, twin], 1.0) == 0
    assert rank(twin, [old, new], 1.0) == 1
    assert rank(old, [new, twin], 1.0) == 2


@pytest.mark.parametrize(("busy_for", "expected"), [(0.0, 1), (STUCK - 0.1, 1), (STUCK + 0.1, 0)])
def test_a_stuck_worker_is_passed_over(busy_for: float, expected: int) -> None:
    first = Candidate(0, 1, 0, 100.0)
    assert rank(Candidate(1, 1, 1, 0.0), [first], 100.0 + busy_for) == expected


def test_one_that_sleeps_is_not_stuck() -> None:
    assert rank(Candidate(1, 1, 1, 0.0), [Candidate(0, 1, 0, 0.0)], 1e6) == 1


def test_the_first_run_comes_after_one_interval() -> None:
    assert due(0.0, 60.0, 1000.0) == 1060.0
    assert due(900.0, 60.0, 1000.0) == 960.0, "of a job that ran elsewhere before"


@pytest.mark.parametrize(
    ("now", "answers"), [(60.0, 60.0), (60.2, 60.0), (119.9, 60.0), (120.0, 120.0), (700.0, 660.0)]
)
def test_missed_runs_are_one_run(now: float, answers: float) -> None:
    """Due each 60 s; whatever was missed, the run at `now` is the last of them."""
    assert caught_up(60.0, 60.0, now) == answers
    assert due(answers, 60.0, 0.0) > now


def test_a_run_before_its_time_answers_none_before_it() -> None:
    assert caught_up(60.0, 60.0, 59.0) == 60.0
