"""Durations mean the same in a flag, a file and a decorator."""

from __future__ import annotations

import pytest

from leeward._core.durations import duration, positive


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [(30, 30.0), (1.5, 1.5), ("250ms", 0.25), ("30s", 30.0), (" 1h ", 3600.0), (".5", 0.5), (0, 0)],
)
def test_what_is_a_duration(raw: object, seconds: float) -> None:
    assert duration(raw) == seconds


@pytest.mark.parametrize(
    "raw", ["", "soon", "-1", -1, "1d", float("inf"), float("nan"), True, None, "1 2"]
)
def test_what_is_none(raw: object) -> None:
    assert duration(raw) is None


@pytest.mark.parametrize(
    "raw",
    [1e9 + 1, 10**400, "1000000001", "277778h", "9" * 400],
    ids=["float", "huge", "text", "hours", "long"],
)
def test_what_no_timer_can_wait_for_is_none(raw: object) -> None:
    assert duration(1e9) == duration("1000000000s") == 1e9
    assert duration(raw) is None


def test_an_interval_is_above_nothing() -> None:
    assert positive("1m") == 60.0
    for raw in (0, "0s", "never"):
        with pytest.raises(ValueError, match="expected a duration such as"):
            positive(raw)


def test_what_would_be_rounded_to_0_is_no_duration() -> None:
    assert duration("0.0001ms") is None
    assert duration("0.001ms") == 0.000001
    assert duration("0.000ms") == 0.0
