"""Strikes and pauses."""

from __future__ import annotations

from leeward._core.generation import FORGIVEN, LONGEST_PAUSE, Generation, Limits, Pauses


def test_pauses_double_up_to_the_longest() -> None:
    """0.1 s, 0.2 s, 0.4 s … 30 s, each counted from its strike."""
    pauses, now, lengths = Pauses(), 5.0, []
    for _ in range(20):
        pause = pauses.strike(now, "killed by SIGSEGV")
        assert pause is not None
        lengths.append(pause)
        assert not pauses.over(now + pause - 0.01)
        now += pause
        assert pauses.over(now)
    assert lengths[:4] == [0.1, 0.2, 0.4, 0.8]
    assert lengths[8:] == [25.6] + [LONGEST_PAUSE] * 11
    assert pauses.why == "killed by SIGSEGV"


def test_a_wave_is_one_strike() -> None:
    """Four workers that die together are one strike; the last reason is kept."""
    pauses = Pauses()
    assert pauses.strike(1.0, "first") == 0.1
    assert [pauses.strike(1.0 + i / 100, f"wave {i}") for i in range(3)] == [None] * 3
    assert (pauses.strikes, pauses.not_before, pauses.why) == (1, 1.1, "wave 2")


def test_strikes_are_forgiven() -> None:
    """Ten quiet seconds begin anew; with long pauses, twice the pause."""
    pauses = Pauses()
    pauses.strike(0.0, "")
    assert pauses.strike(FORGIVEN, "") == 0.2, "not yet"
    assert pauses.strike(2 * FORGIVEN + 0.1, "") == 0.1
    pauses = Pauses(strikes=7)
    pauses.strike(0.0, "", on_trial=True)
    assert pauses.not_before == 12.8
    assert pauses.strike(2 * 12.8, "") == 25.6, "a pause is not a quiet time"


def test_code_on_trial_is_forgiven_nothing() -> None:
    """Workers that each take a minute to fail still add up."""
    pauses = Pauses()
    assert [pauses.strike(60.0 * i, "", on_trial=True) for i in (1, 2, 3)] == [0.1, 0.2, 0.4]
    assert pauses.strikes == 3


def test_a_row_knows_when_it_began() -> None:
    """With its first strike; the next row, after a quiet time or a birth, anew."""
    pauses = Pauses()
    for now, first in ((3.0, 3.0), (5.0, 3.0), (40.0, 40.0)):
        pauses.strike(now, "")
        assert pauses.first == first
    pauses.strikes = 0
    pauses.strike(41.0, "", on_trial=True)
    assert (pauses.strikes, pauses.first) == (1, 41.0)


def test_a_generation_begins_unproven() -> None:
    """Neither ready nor loaded, and free to start at any time, with pauses of its own."""
    one, two = (Generation(n, Limits(), "", False, 1) for n in (1, 2))
    assert not one.ever_ready and not one.ever_loaded
    one.pauses.strike(0.0, "")
    assert two.pauses.over(0.0) and one.zygote_pauses.over(0.0)
    assert [it.over(0.0) for it in one.start_pauses] == [False, True, True]
