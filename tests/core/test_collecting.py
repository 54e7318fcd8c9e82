"""When a log collector that died is replaced."""

from __future__ import annotations

from leeward._core.collecting import HEALTHY, Replacement


def test_one_that_worked_is_replaced_at_once() -> None:
    """However often it is killed: lines are waiting."""
    replacement = Replacement()
    assert [replacement.died(HEALTHY) for _ in range(100)] == [0.0] * 100


def test_one_that_keeps_dying_is_left_alone_for_longer_and_longer() -> None:
    """Five times at once, then after 0.1 s, and never more than 5 s."""
    replacement = Replacement()
    pauses = [replacement.died(0.01) for _ in range(40)]
    assert pauses[:8] == [0.0] * 5 + [0.1, 0.2, 0.4]
    assert pauses == sorted(pauses) and pauses[-1] == 5.0
    assert replacement.died(HEALTHY) == 0.0
    assert replacement.died(0.01) == 0.0
