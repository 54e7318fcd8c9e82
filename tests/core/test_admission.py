"""Who accepts: decisions one by one, and pretended workers, in pretended time."""

from __future__ import annotations

import itertools

import pytest
from core.crews import Crew, burst, paced, rudely

from leeward._core import admission as a
from leeward._core.admission import Caps, Courtesy, Shortage, Standing, Step, Streak


def standing(pid: int, open: int = 0, **other: object) -> Standing:
    it = Standing(pid, open, 0, 0, 0, 0.0, False)
    return it._replace(**other)  # type: ignore[arg-type]


class One:
    """One worker of 5 connections that is asked about one queue."""

    def __init__(self, **own: object) -> None:
        self.courtesy, self.streak = Courtesy(), Streak()
        self.own = standing(1, 5)._replace(**own)  # type: ignore[arg-type]
        self.now = 100.0

    def accepts(self, *others: Standing, after: float = 0.0) -> bool:
        self.now += after
        return self.courtesy.accepts(self.streak, self.own, others, self.now)

    def patience(self, *others: Standing) -> int:
        """How often it declines before it accepts."""
        for declined in range(100):
            if self.accepts(*others, after=a.PAUSE if declined else 0.0):
                return declined
        raise AssertionError("it never accepts")


# --- one decision --------------------------------------------------------------------------


def test_alone_it_accepts() -> None:
    """Nobody is waited for who is not there."""
    assert One().patience() == 0


@pytest.mark.parametrize("fewer, declines", [(5, 0), (4, 2), (0, 2), (6, 0)])
def test_one_fewer_is_enough_at_rest(fewer: int, declines: int) -> None:
    """Without a load the difference that counts is one connection."""
    assert One().patience(standing(2, fewer)) == declines


def test_declining_has_a_bound() -> None:
    """At most twice for one queue, whoever else appears meanwhile and keeps waking."""
    one = One()
    answers = [one.accepts(standing(n, woken=n), after=a.PAUSE) for n in range(2, 5)]
    assert answers == [False, False, True]


@pytest.mark.parametrize(
    "age, beats, able",
    [
        (0.0, False, True),
        (a.BUSY * 0.9, False, True),
        (a.BUSY * 1.1, False, False),
        (a.BUSY * 1.1, True, True),
        (a.BEATS * 1.1, True, False),
    ],
)
def test_a_stalled_worker_counts_as_full(age: float, beats: bool, able: bool) -> None:
    """Who is in one turn for too long is not waited for; who sleeps always is."""
    one = One()
    since = one.now - age if age else 0.0
    assert one.accepts(standing(2, 0, busy_since=since, beats=beats)) is not able


def test_who_does_not_even_wake_is_waited_for_more_and_more_rarely() -> None:
    """A stopped or killed process: 4 ms for the first connection, nothing for the next ones."""
    one = One()
    times = []
    for _ in range(500):
        one.now += 0.01
        if one.patience(standing(2, 0, woken=7)):
            times.append(one.now)
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert pauses[:4] == pytest.approx([0.02, 0.04, 0.08, 0.16], abs=0.012)
    assert max(pauses) == pytest.approx(a.LONGEST_SILENCE, abs=0.012)
    assert one.patience(standing(2, 0, woken=7)) == 0
    assert one.patience(standing(2, 0, woken=8)) == a.MOST, "it has come back"
    assert one.patience(standing(3, 0, woken=7)) == a.MOST, "another worker"


def test_who_wakes_is_waited_for_again() -> None:
    """A worker that looked, and left it to a third, is no silent one."""
    one = One()
    assert not one.accepts(standing(2, 0, woken=7))
    assert not one.accepts(standing(2, 0, woken=8), after=a.PAUSE)
    assert one.accepts(standing(2, 0, woken=8), after=a.PAUSE)
    assert not one.accepts(standing(2, 0, woken=8), after=1.0)


def test_a_storm_is_shared() -> None:
    """A queue that outlasts patience after patience: each time twice as many are taken."""
    one = One(open=1000)
    taken, runs = 0, []
    for turn in range(200):
        if one.accepts(standing(2, 0, woken=turn), after=a.PAUSE / 2):
            taken += 1
        elif taken:
            runs.append(taken)
            taken = 0
    runs = [run for run in runs if run]
    assert runs[:5] == [1, 2, 4, 8, 16]
    assert max(runs) <= a.RUN + 1


def test_silence_is_noticed_when_a_third_was_quicker() -> None:
    """Three wait for a dead one, one of them takes it: all of them know."""
    one = One()
    dead = standing(2, 0, woken=7)
    assert not one.accepts(dead)
    assert not one.accepts(dead, after=a.PAUSE)
    one.courtesy.nobody_waits(one.streak, [dead], one.now)
    assert one.patience(dead) == 0


def test_a_quick_third_is_no_proof() -> None:
    """It had hardly the time to wake when somebody else took the connection."""
    one = One()
    quiet = standing(2, 0, woken=7)
    assert not one.accepts(quiet)
    one.courtesy.nobody_waits(one.streak, [quiet], one.now)
    assert one.patience(quiet) == a.MOST


def test_a_queue_that_was_empty_is_no_storm() -> None:
    """The credit of one storm is not spent on the connection that comes an hour later."""
    one = One(open=1000)
    for turn in range(20):
        one.accepts(standing(2, 0, woken=turn), after=a.PAUSE)
    one.courtesy.nobody_waits(one.streak, [], one.now)
    assert one.patience(standing(2, 0, woken=21)) == a.MOST


def test_credit_ends_with_the_hurry() -> None:
    """Nor is it when nobody has seen the queue run empty."""
    one = One(open=1000)
    for turn in range(30):
        if one.accepts(standing(2, 0, woken=turn), after=a.PAUSE / 2) and one.streak.credit > 2:
            break
    assert one.streak.credit
    assert not one.accepts(standing(2, 0, woken=99), after=3600.0)


@pytest.mark.parametrize(
    "mean_open, accepts, brief, slack",
    [
        (4, 16, 0, 1),
        (30, 120, 0, 1),
        (250, 2560, 0, 10),
        (2500, 5000, 0, 75),
        (4, 800, 200, 403.125),
    ],
)
def test_the_slack(mean_open: float, accepts: float, brief: float, slack: float) -> None:
    """One for a few, a small part of many, any number under a load of brief ones."""
    assert a._slack(mean_open, accepts, brief) == pytest.approx(slack)


def test_brief_connections_are_load() -> None:
    """A fresh worker that serves many short requests has as much as one with WebSockets."""
    one = One(open=250)
    fresh = standing(2, 0)
    assert one.patience(fresh) == a.MOST
    one.now += 0.4
    one.accepts(fresh)
    one.now += 0.4
    one.courtesy.nobody_waits(one.streak, [], one.now)
    assert one.accepts(standing(2, 1, brief=600, accepted=601, woken=600))


def test_who_comes_back_brings_no_load_along() -> None:
    """A worker that was full has a history: none of it is of the last half second."""
    one = One(open=300)
    low = standing(2, 0)
    one.accepts(low)
    one.now += 0.3
    one.courtesy.nobody_waits(one.streak, [], one.now)
    back = standing(3, 300, accepted=200_000, brief=90_000)
    assert one.patience(low, back) == a.MOST
    assert not one.courtesy.haste_until


def test_what_a_newcomer_takes_is_load() -> None:
    """From when it is first seen, and not only after the next window."""
    one = One(open=300)
    low = standing(2, 0)
    one.accepts(low)
    one.now += 0.3
    one.accepts(low, standing(3, 300, accepted=1000))
    one.courtesy.nobody_waits(one.streak, [], one.now)
    hurried = standing(3, 300, accepted=1150, brief=150)
    assert one.accepts(low, hurried, after=0.1)


def test_those_that_left_long_ago_are_no_load() -> None:
    """A thousand that ended after the last look say nothing about a time much later."""
    one = One(open=250)
    one.accepts(standing(2, 250))
    one.own = one.own._replace(open=5, brief=500)
    other = standing(2, 0, brief=500)
    assert one.accepts(other, after=a.WINDOW), "they have just left"
    one.now += 2.5 * a.WINDOW
    assert one.patience(other) == a.MOST


def test_in_haste_nobody_is_asked() -> None:
    """Under a load of brief connections one need not look; with few that stay, one must."""
    one = One(open=5, brief=0)
    one.accepts(standing(2, 5), after=0.4)
    assert one.courtesy.haste_until == 0.0
    one.own = one.own._replace(brief=500)
    one.accepts(standing(2, 5, brief=500), after=0.4)
    assert one.courtesy.haste_until == one.now + a.HASTE
    fresh = One(open=0)
    fresh.accepts(standing(2, 0))
    assert fresh.courtesy.haste_until == 0.0


# --- pretended workers -----------------------------------------------------------------------

ARRIVALS = {"paced": paced, "burst": burst, "serial": lambda n: paced(n, 0.0008)}
SEEDS = range(3)


@pytest.mark.parametrize("arrivals", ARRIVALS)
@pytest.mark.parametrize("count, most", [(16, 2), (40, 3), (120, 4)])
@pytest.mark.parametrize("seed", SEEDS)
def test_few_are_spread(arrivals: str, count: int, most: int, seed: int) -> None:
    """max - min of 16, 40 and 120 on four workers."""
    crew = Crew(seed=seed)
    crew.run(ARRIVALS[arrivals](count))
    assert sum(crew.counts) == count
    assert max(crew.counts) - min(crew.counts) <= most, crew.counts
    assert max(crew.waited) < 0.1


@pytest.mark.parametrize("arrivals", ARRIVALS)
@pytest.mark.parametrize("workers, count", [(4, 1000), (7, 1050)])
def test_many_are_spread(arrivals: str, workers: int, count: int) -> None:
    """max / mean of a thousand and more."""
    crew = Crew(workers, seed=2)
    crew.run(ARRIVALS[arrivals](count))
    assert max(crew.counts) * workers / count <= 1.05, crew.counts


def test_a_burst_costs_little_time() -> None:
    """The politeness of a burst of 1000: at most half as long again as without it."""
    polite, rude = Crew(seed=3), rudely(Crew(seed=3))
    for crew in (polite, rude):
        crew.run(burst(1000))
    assert polite.now - 1000 < 1.5 * (rude.now - 1000)


@pytest.mark.parametrize("dead", [1, 3])
def test_the_dead_cost_four_milliseconds_now_and_then(dead: int) -> None:
    """Stopped workers with fewer connections: 4 ms of waiting, seven times a second at most."""
    crew = Crew(seed=4)
    for it in crew.workers:
        it.open = 10
    for it in crew.workers[:dead]:
        it.works, it.open = False, 0
    crew.run(paced(200))
    assert max(crew.waited) < 0.006
    assert sum(wait > 0.001 for wait in crew.waited) <= 7 * (4 - dead)


def test_a_fresh_worker_gets_most() -> None:
    """After a replacement new connections go where there are none, until all have as many."""
    crew = Crew(seed=5)
    for it in crew.workers[1:]:
        it.open = 250
    crew.run(paced(200))
    assert crew.workers[0].accepted >= 190
    crew.run(paced(200))
    assert max(crew.counts) - min(crew.counts) <= 12, crew.counts


def test_a_fresh_worker_does_not_bear_a_storm_alone() -> None:
    """Those that come faster than it can take are shared, without much waiting."""
    crew = Crew(seed=6)
    for it in crew.workers[1:]:
        it.open = 5000
    crew.run(burst(1000))
    assert 250 < crew.workers[0].accepted < 850, crew.counts
    assert max(crew.waited) < 0.5


def test_a_fresh_worker_shares_brief_connections() -> None:
    """A load of short requests does not all go to the one that has no WebSockets."""
    crew = Crew(seed=7)
    for it in crew.workers[1:]:
        it.open = 250
    crew.lasts = lambda: crew.random.uniform(0.001, 0.01)
    crew.run(paced(4000, 0.0005))
    share = crew.workers[0].accepted / 4000
    assert 0.2 < share < 0.6, share


def test_brief_connections_are_taken_as_fast_as_without_politeness() -> None:
    """Under a load of short requests nobody waits for politeness, but in its first moment."""
    polite, rude = Crew(seed=8), rudely(Crew(seed=8))
    late = []
    for crew in (polite, rude):
        crew.lasts = lambda: crew.random.uniform(0.001, 0.02)  # noqa: B023
        crew.run(paced(2500, 0.0002))
        waits = sorted(crew.waited[700:])
        late.append(waits[int(len(waits) * 0.99)])
    assert late[0] < 1.1 * late[1] + 0.0001, late


# --- full ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("files, kept", [(16, 4), (64, 8), (256, 32), (1024, 32), (1 << 20, 32)])
def test_what_is_kept_back(files: int, kept: int) -> None:
    """Thirty-two descriptors, or an eighth of few."""
    assert Caps(files).kept_back == kept


def test_full_by_descriptors() -> None:
    """The next number says how many are taken, by whomever."""
    assert not a.why_full(40, 55, Caps(64))
    assert "64 descriptors allowed" in a.why_full(40, 56, Caps(64))
    assert a.why_full(1, 1000, Caps(1024)), "the application has eaten them"
    assert not a.why_full(0, 1000, Caps(1024)), "one is served all the same"


def test_full_by_order() -> None:
    """--max-conns counts connections only."""
    assert not a.why_full(99, 120, Caps(1024, 100))
    assert "--max-conns 100" in a.why_full(100, 120, Caps(1024, 100))
    assert a.why_full(101, 120, Caps(1024, 100))


@pytest.mark.parametrize("connections, gone", [(1, 1), (63, 1), (640, 10)])
def test_room_is_worth_a_look_after_some(connections: int, gone: int) -> None:
    """Not after each of many."""
    assert a.room_after(connections) == gone


def test_nobody_is_evicted_for_nobody() -> None:
    """A full worker whose backlog is empty leaves all in peace, for ever."""
    shortage = Shortage()
    for now in range(100):
        assert shortage.look(float(now), waiting=False, others=False) is Step.REST


def test_others_come_first() -> None:
    """While another accepts, clients are its; after a second it has not."""
    shortage = Shortage()
    assert shortage.look(0.0, waiting=True, others=True) is Step.REST
    assert shortage.look(0.9, waiting=True, others=True) is Step.REST
    assert shortage.look(1.0, waiting=True, others=True) is Step.EVICT
    assert shortage.look(1.1, waiting=False, others=True) is Step.REST
    assert shortage.look(1.2, waiting=True, others=True) is Step.REST


def test_first_evict_then_refuse() -> None:
    """503 only when nobody could be evicted for a while, and no longer than that."""
    shortage = Shortage()
    assert shortage.look(0.0, waiting=True, others=False) is Step.EVICT
    shortage.evicted(0, 0.0)
    for now in (0.7, 1.4):
        assert shortage.look(now, waiting=True, others=False) is Step.EVICT
        shortage.evicted(0, now)
    assert shortage.look(1.5, waiting=True, others=False) is Step.SHED
    shortage.evicted(3, 1.5)
    assert shortage.look(1.6, waiting=True, others=False) is Step.EVICT
    shortage.evicted(0, 1.6)
    assert shortage.look(3.0, waiting=False, others=False) is Step.REST
    assert shortage.look(3.2, waiting=True, others=False) is Step.EVICT


def test_an_old_shortage_is_forgotten() -> None:
    """Who had room again meanwhile, for longer than a moment, begins anew."""
    shortage = Shortage()
    assert shortage.look(0.0, waiting=True, others=False) is Step.EVICT
    shortage.evicted(0, 0.0)
    assert shortage.look(3600.0, waiting=True, others=True) is Step.REST
    assert shortage.look(3600.9, waiting=True, others=False) is Step.EVICT
    shortage.evicted(0, 3600.9)
    assert shortage.look(3601.6, waiting=True, others=False) is Step.EVICT


def test_a_moment_of_room_changes_nothing() -> None:
    """Room that each client takes at once, and is full again: being helpless adds up."""
    shortage = Shortage()
    seen = []
    for now in (0.0, 0.8, 1.6):
        seen.append(shortage.look(now, waiting=True, others=False))
        shortage.evicted(0, now)
    assert seen == [Step.EVICT, Step.EVICT, Step.SHED]


@pytest.mark.parametrize(
    "count, idle, silent",
    [(0, 0, 0), (1, 1, 1), (7, 1, 7), (12, 1, 8), (80, 10, 10), (1000, 32, 32)],
)
def test_how_many_are_evicted(count: int, idle: int, silent: int) -> None:
    """An eighth, at least one, or eight of those that never said a word; at most 32."""
    assert a.batch(count, silent=False) == idle
    assert a.batch(count, silent=True) == silent
