"""A silent peer is asked; who has answered once and does not any more is given up."""

from __future__ import annotations

import pytest

from leeward._core.pings import Rule, Verdict, Watch

WAIT, ASK, DEAF, GONE = Verdict.WAIT, Verdict.ASK, Verdict.DEAF, Verdict.GONE
RULE = Rule(interval=20.0, timeout=10.0, patience=60.0)


@pytest.fixture
def watch() -> Watch:
    return Watch(RULE, 0.0)


def test_who_speaks_is_not_asked(watch: Watch) -> None:
    """A byte within the interval puts the ping off."""
    assert watch.look(120.0, 115.0, False) == (WAIT, 135.0)


def test_who_is_silent_is_asked(watch: Watch) -> None:
    """After the interval comes a ping, and the answer has its timeout."""
    assert watch.look(120.0, 100.0, False) == (ASK, 130.0)
    assert watch.look(125.0, 100.0, False) == (WAIT, 130.0)


def test_any_byte_is_an_answer(watch: Watch) -> None:
    """Who sends a message while a ping is under way lives, and the interval begins anew."""
    watch.look(120.0, 100.0, True)
    assert watch.look(130.0, 121.0, True) == (WAIT, 141.0)
    assert watch.look(141.0, 121.0, True) == (ASK, 151.0)


def test_a_byte_in_the_moment_of_the_ping_is_life(watch: Watch) -> None:
    """The clock may not tell the two apart."""
    watch.look(120.0, 100.0, True)
    assert watch.look(130.0, 120.0, True) == (WAIT, 140.0)


def test_who_has_answered_once_and_is_silent_is_gone(watch: Watch) -> None:
    """At the timeout, not before."""
    watch.look(120.0, 100.0, True)
    assert watch.look(129.9, 100.0, True) == (WAIT, 130.0)
    assert watch.look(130.0, 100.0, True) == (GONE, 130.0)


def test_who_never_answered_is_told_once_and_pinged_on(watch: Watch) -> None:
    """It is never given up, and its pings come at the interval."""
    watch.look(120.0, 100.0, False)
    assert watch.look(130.0, 100.0, False) == (DEAF, 140.0)
    assert watch.look(140.0, 100.0, False) == (WAIT, 150.0)
    assert watch.look(150.0, 100.0, False) == (ASK, 160.0)


def test_who_answers_at_last_is_as_all_others(watch: Watch) -> None:
    """From then on its silence counts."""
    watch.look(120.0, 100.0, False)
    watch.look(130.0, 100.0, False)
    assert watch.look(150.0, 133.0, True) == (WAIT, 153.0)
    watch.look(151.0, 131.0, True)
    assert watch.look(171.0, 131.0, True) == (GONE, 171.0)


def test_a_long_timeout_does_not_make_the_interval_longer() -> None:
    """Who has answered is asked again after the interval."""
    watch = Watch(Rule(interval=1.0, timeout=20.0), 0.0)
    assert watch.look(101.0, 100.0, True) == (ASK, 102.0)
    assert watch.look(102.0, 101.25, True) == (WAIT, 102.25)
    assert watch.look(102.25, 101.25, True) == (ASK, 103.25)
    assert watch.look(103.25, 101.25, True) == (WAIT, 122.25)
    assert watch.look(122.25, 101.25, True) == (GONE, 122.25)


def test_a_slow_reader_that_moves_is_excused(watch: Watch) -> None:
    """It gets to the ping when it has read what came before: its time begins anew."""
    watch.look(120.0, 100.0, True)
    watch.owed = 500
    for now, left in ((130.0, 300), (140.0, 301)):
        assert watch.look(now, 100.0, True) == (GONE, now)
        assert watch.excuse(now, left, stuck=False) == now + 10.0
    assert watch.excuse(150.0, 301, stuck=False) is None


def test_who_has_just_come_to_the_ping_has_a_timeout_for_it(watch: Watch) -> None:
    """Once: what it takes behind the ping is no answer."""
    watch.look(120.0, 100.0, True)
    watch.owed = 500
    watch.excuse(130.0, 300, stuck=False)
    assert watch.excuse(140.0, 700, stuck=False) == 150.0
    assert watch.excuse(150.0, 900, stuck=False) is None


def test_who_has_come_to_the_ping_within_its_timeout_is_not_excused(watch: Watch) -> None:
    """It took all that stands before, and did not answer."""
    watch.look(120.0, 100.0, True)
    watch.owed = 500
    assert watch.excuse(130.0, 500, stuck=False) is None


@pytest.mark.parametrize(("can_send", "again"), [(True, None), (False, 180.0)])
def test_an_excuse_is_for_one_ping(watch: Watch, can_send: bool, again: float | None) -> None:
    """How far it was behind the one before says nothing of the next."""
    watch.look(120.0, 100.0, True)
    watch.owed = 500
    watch.excuse(130.0, 300, stuck=False)
    watch.look(160.0, 135.0, True, can_send)
    watch.owed = left = 500 if can_send else 300
    assert watch.excuse(170.0, left, stuck=False) == again


def test_an_excuse_does_not_make_the_interval_longer() -> None:
    """Who has read what came before, and answered, is asked again after the interval."""
    watch = Watch(Rule(interval=1.0, timeout=20.0), 0.0)
    watch.look(101.0, 100.0, True)
    watch.owed = 500
    assert watch.excuse(121.0, 300, stuck=False) == 122.0
    assert watch.look(122.0, 100.0, True) == (WAIT, 141.0)


def test_who_does_not_read_has_patience(watch: Watch) -> None:
    """As long as for any other write, and no longer."""
    watch.look(120.0, 100.0, True)
    assert watch.excuse(130.0, 0, stuck=True) == 140.0
    assert watch.excuse(179.9, 0, stuck=True) is not None
    assert watch.excuse(180.0, 0, stuck=True) is None


def test_who_acknowledges_nothing_has_none(watch: Watch) -> None:
    """No bytes move, and no window is closed: nobody is there."""
    watch.look(120.0, 100.0, True)
    assert watch.excuse(130.0, 0, stuck=False) is None


def test_a_ping_that_cannot_be_sent_is_held_back(watch: Watch) -> None:
    """It goes at the first look at which it can, and the answer has its timeout from then."""
    assert watch.look(120.0, 100.0, True, can_send=False) == (WAIT, 130.0)
    assert watch.look(125.0, 100.0, True, can_send=True) == (ASK, 135.0)
    assert watch.look(134.0, 100.0, True, can_send=False) == (WAIT, 135.0)
    assert watch.look(135.0, 100.0, True, can_send=True) == (GONE, 135.0)


def test_a_ping_that_is_held_back_does_not_wait_for_a_long_timeout() -> None:
    """It is tried at the interval; a proxy may cut a connection on which nothing happens."""
    watch = Watch(Rule(interval=2.0, timeout=5.0), 0.0)
    assert watch.look(102.0, 100.0, True, can_send=False) == (WAIT, 104.0)
    assert watch.look(104.0, 100.0, True, can_send=False) == (WAIT, 106.0)
    assert watch.look(106.0, 100.0, True, can_send=False) == (WAIT, 107.0)
    assert watch.look(107.0, 100.0, True, can_send=False) == (GONE, 107.0)


def test_who_speaks_needs_no_ping_that_was_held_back(watch: Watch) -> None:
    """Any byte is life, and the interval begins anew."""
    watch.look(120.0, 100.0, True, can_send=False)
    assert watch.look(130.0, 122.0, True, can_send=True) == (WAIT, 142.0)


def test_who_takes_bytes_is_not_gone_for_a_ping_that_is_held_back(watch: Watch) -> None:
    """However many wait behind them; who takes none for a timeout is."""
    watch.owed = 500  # before the last ping, long ago
    watch.look(120.0, 100.0, True, can_send=False)
    for now, left in ((130.0, 9000), (140.0, 9001)):
        assert watch.look(now, 100.0, True, can_send=False) == (GONE, now)
        assert watch.excuse(now, left, stuck=False) == now + 10.0
    assert watch.look(150.0, 100.0, True, can_send=False) == (GONE, 150.0)
    assert watch.excuse(150.0, 9001, stuck=True) == 160.0
    assert watch.excuse(160.0, 9001, stuck=False) is None


def test_who_got_no_ping_is_not_told(watch: Watch) -> None:
    """It is held back for as long as it takes; the first that was sent is the first to tell of."""
    assert watch.look(120.0, 100.0, False, can_send=False) == (WAIT, 130.0)
    assert watch.look(130.0, 100.0, False, can_send=False) == (WAIT, 140.0)
    assert watch.look(140.0, 100.0, False, can_send=True) == (ASK, 150.0)
    assert watch.look(150.0, 100.0, False, can_send=True) == (DEAF, 160.0)


def test_who_may_not_have_come_to_its_ping_is_not_told(watch: Watch) -> None:
    """Bytes wait here when its time is over, and so perhaps before that ping too."""
    watch.look(120.0, 100.0, False)
    assert watch.look(130.0, 100.0, False, can_send=False) == (WAIT, 140.0)
    assert watch.look(140.0, 100.0, False) == (ASK, 150.0)
    assert watch.look(150.0, 100.0, False) == (DEAF, 160.0)


def test_those_who_came_together_are_not_asked_together() -> None:
    """The ping comes up to a quarter of the interval earlier."""
    assert Watch(RULE, 1.0).look(115.0, 100.0, False)[0] is ASK
    assert Watch(RULE, 0.5).look(117.0, 100.0, False) == (WAIT, 117.5)


@pytest.mark.parametrize(("asked", "due"), [(0.0, 105.0), (101.0, 104.0)])
def test_another_rule_counts_from_what_was_heard(asked: float, due: float) -> None:
    watch = Watch(RULE, 0.0)
    watch.asked = asked
    watch.obey(Rule(interval=5.0, timeout=3.0))
    assert watch.spread == 5.0 and watch.again(102.0, 100.0) == due


def test_those_who_are_overdue_by_another_rule_are_not_all_asked_at_once() -> None:
    watches = [Watch(RULE, it / 10) for it in range(10)]
    for it in watches:
        it.obey(Rule(interval=8.0, timeout=4.0))
    found = [it.again(1000.0, 100.0) for it in watches]
    assert found == sorted({*found}) and found[0] == 1000.0 and found[-1] <= 1004.0


@pytest.mark.parametrize(("answered", "verdict"), [(120.5, ASK), (121.3, WAIT)])
def test_who_answers_at_once_costs_one_look_for_each_ping(
    answered: float, verdict: Verdict
) -> None:
    watch = Watch(Rule(interval=20.0, timeout=20.0), 0.0)
    assert watch.look(120.0, 100.0, True) == (ASK, 140.0)
    assert watch.look(140.0, answered, True)[0] is verdict
