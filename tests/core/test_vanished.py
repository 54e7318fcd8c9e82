"""Who acknowledges nothing and is not heard is gone; who is heard now and then is not."""

from __future__ import annotations

import pytest

from leeward._core.vanished import Doubt

TIMEOUT = 60.0


@pytest.mark.parametrize(
    ("doubted", "silent", "gone"),
    [
        (0.0, 1000.0, False),
        (19.9, 1000.0, False),
        (20.0, 60.0, True),
        (20.0, 59.9, False),
        (500.0, 30.0, False),
        (60.0, 61.0, True),
    ],
    ids=["first look", "too soon", "both", "heard", "lives on", "long since"],
)
def test_both_must_have_passed(doubted: float, silent: float, gone: bool) -> None:
    """What is under way for a third of the timeout, and silence for all of it."""
    assert Doubt(100.0).gone(100.0 + doubted, silent, TIMEOUT) is gone
