"""A body that moves at its rate may take for ever; one that does not has its patience."""

from __future__ import annotations

import random

import pytest

from leeward._core.pace import Pace, Progress


def lives(rate: float, patience: float, arrivals: list[tuple[float, int]]) -> float | None:
    """When the sender of `arrivals` (seconds since the last one, bytes) is given up, or None."""
    pace = Pace(100.0, patience, rate)
    now, came, ends = 100.0, 0, pace.deadline(100.0, 0)
    for pause, size in arrivals:
        now += pause
        if now > ends:
            return ends - 100.0
        came += size
        ends = pace.deadline(now, came)
    return None


def test_a_silent_sender_has_its_patience() -> None:
    assert Pace(5.0, 30.0, 240).deadline(5.0, 0) == 35.0


@pytest.mark.parametrize(
    "arrivals",
    [[(1.0, 1000)] * 3600, [(25.0, 25000)] * 100, [(1.0, 240)] * 3600, [(29.9, 10000)] * 100],
    ids=["1 KB/s", "25 KB each 25 s", "just the rate", "pauses"],
)
def test_a_live_upload_is_never_given_up(arrivals: list[tuple[float, int]]) -> None:
    assert lives(240, 30.0, arrivals) is None


@pytest.mark.parametrize(
    ("arrivals", "most"),
    [
        ([(10.0, 1)] * 100, 31.0),
        ([(1.0, 1)] * 100, 31.0),
        ([(0.01, 10_000)] * 1000 + [(1000.0, 1)], 41.0),
    ],
    ids=["1 byte each 10 s", "1 byte a second", "10 MB and then nothing"],
)
def test_a_dead_one_is_given_up(arrivals: list[tuple[float, int]], most: float) -> None:
    """However much came before: nothing is earned beyond the patience."""
    ends = lives(240, 30.0, arrivals)
    assert ends is not None
    assert ends <= most


def test_below_the_rate_it_is_given_up_in_the_end() -> None:
    ends = lives(240, 30.0, [(1.0, 120)] * 600)
    assert ends is not None
    assert 55.0 <= ends <= 65.0


def test_without_a_rate_any_byte_will_do() -> None:
    assert lives(0, 30.0, [(29.0, 1)] * 100) is None
    assert lives(0, 30.0, [(31.0, 1)]) == 30.0


def test_time_that_the_application_takes_does_not_count() -> None:
    pace = Pace(0.0, 30.0, 240)
    assert pace.deadline(20.0, 0) == 30.0
    pace.pause(20.0)
    assert pace.deadline(500.0, 0) == 510.0


def test_two_pauses_are_one() -> None:
    pace = Pace(0.0, 30.0, 240)
    pace.pause(20.0)
    pace.pause(25.0)
    assert pace.deadline(100.0, 0) == 110.0


def test_an_application_that_takes_its_time_does_not_feed_a_dead_sender() -> None:
    """A pause after each byte is no new patience."""
    pace, now, came = Pace(0.0, 30.0, 240), 0.0, 0
    for _ in range(100):
        ends = pace.deadline(now, came)
        if now + 5.0 > ends:
            break
        now, came = now + 5.0, came + 1
        pace.pause(now)
        now += 60.0
    assert came <= 6


def test_no_history_earns_more_than_the_patience() -> None:
    for seed in range(200):
        rng = random.Random(seed)
        pace, now, came = Pace(0.0, 30.0, 240), 0.0, 0
        for _ in range(50):
            came += rng.choice([0, 1, 1000, 10**6])
            assert pace.deadline(now, came) <= now + 30.000001, seed
            if rng.random() < 0.3:
                pace.pause(now)
            now += rng.random() * 20


def silence(taken_until: float, timeout: float, interval: float) -> float:
    """Seconds between the last byte that was taken and the end, looked at each `interval`."""
    progress, now = Progress(), 0.0
    for step in range(1, 10_000):
        now = step * interval
        if progress.stalled(min(now, taken_until), now, timeout, interval):
            break
    return now - taken_until


@pytest.mark.parametrize("taken_until", [5.0, 7.4, 9.999, 100.0, 123.4])
def test_a_reader_that_stalls_has_the_timeout_and_no_more(taken_until: float) -> None:
    found = silence(taken_until, 60.0, 3.0)
    assert 53.9 <= found <= 57.0


def test_a_reader_that_moves_never_stalls() -> None:
    progress = Progress()
    for step in range(1, 1000):
        assert not progress.stalled(step // 15, step * 3.0, 60.0, 3.0)
