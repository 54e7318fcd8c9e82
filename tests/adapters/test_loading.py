"""The time-outs of a start, one behind the other."""

from __future__ import annotations

import pytest

from leeward._sys import procfs
from leeward._worker.resources import GRACE
from leeward.adapters.loading import STACK_BEFORE, last_moment, time_to_wait


@pytest.mark.parametrize("timeout", [1.0, 2.0, 5.0, 60.0])
def test_nobody_wakes_up_while_the_stack_is_written(
    timeout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its writer reads frames that are half made: one such start in some died by SIGSEGV."""
    monkeypatch.setattr(procfs, "age", lambda pid: 0.0)
    assert time_to_wait(timeout) + GRACE + 0.099 <= timeout - STACK_BEFORE


def test_what_is_over_is_looked_at_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procfs, "age", lambda pid: 3600.0)
    assert time_to_wait(60.0) == 0.05


@pytest.mark.parametrize("timeout", [0.5, 1.0, 2.0, 60.0])
def test_a_factory_has_nearly_all_of_the_time_out(
    timeout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given up between the writing of the stack and the supervisor's end of it."""
    monkeypatch.setattr(procfs, "age", lambda pid: 0.0)
    left = timeout - last_moment(timeout)
    assert 0.099 <= left <= 0.25 and left <= 0.2 * timeout + 0.001
