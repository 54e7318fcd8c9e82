"""A connection is lent to one waiter at a time, and nobody waits for what does not come."""

from __future__ import annotations

import os
import random
import sys
from collections import Counter, deque
from pathlib import Path
from types import ModuleType

import pytest

from leeward._core import pool as real
from leeward._core.pool import Check, Close, Command, Lend, Limits, Open, Pool, Refuse, State, Why

SEED = int(os.environ.get("LEEWARD_SEED", random.randrange(10**9)))


def pool(**limits: float) -> Pool:
    return Pool(Limits(**limits))  # type: ignore[arg-type]


def test_the_first_call_opens_and_is_lent_it() -> None:
    """And the next is lent the same."""
    it = pool()
    assert it.ask(1, 0.0) == [Open(1)]
    assert it.opened(1, 0.1) == [Lend(1, 1)]
    assert it.answered(1, 0.2) == []
    assert it.ask(2, 0.3) == [Lend(2, 1)]


def test_no_more_are_open_than_may() -> None:
    """The others wait their turn, the first first."""
    it = pool(connections=2)
    assert [it.ask(n, 0.0) for n in (1, 2, 3, 4)] == [[Open(1)], [Open(2)], [], []]
    assert (it.count(State.OPENING), it.waiting) == (2, 4)
    assert [*it.opened(2, 0.1), *it.opened(1, 0.1)] == [Lend(1, 2), Lend(2, 1)]
    assert (it.count(State.LENT), it.count(State.IDLE)) == (2, 0)
    assert [*it.answered(1, 0.2), *it.answered(1, 0.3)] == [Lend(3, 1), Lend(4, 1)]


def test_those_who_wait_are_bounded() -> None:
    """Those for whom one is being opened do not count."""
    it = pool(connections=1, waiters=1)
    assert [it.ask(n, 0.0) for n in (1, 2)] == [[Open(1)], []]
    assert it.ask(3, 0.0) == [Refuse(3, Why.FULL)]
    it.forget(2)
    assert it.ask(4, 0.0) == []
    assert pool(connections=1, waiters=0).ask(1, 0.0) == [Open(1)]


def test_a_spare_one_that_has_gone_is_no_failure() -> None:
    """It was opened for a second caller, whom the first one served; the server closes both."""
    it = pool(connections=2)
    assert [*it.ask(1, 0.0), *it.ask(2, 0.0)] == [Open(1), Open(2)]
    assert it.opened(1, 0.1) == [Lend(1, 1)]
    assert it.answered(1, 0.2) == [Lend(2, 1)]
    assert [*it.answered(1, 0.3), *it.opened(2, 0.3)] == []
    assert it.dropped(1, 30.0, 0.5, failed=True) == []
    assert it.ask(3, 30.0) == [Lend(3, 2)]
    assert it.stale(2, 3, 30.0, 0.5) == [Open(3)]


def test_nobody_there_for_what_was_opened() -> None:
    """It is idle then."""
    it = pool()
    it.ask(1, 0.0)
    it.forget(1)
    it.forget(1)
    assert it.opened(1, 0.1) == []
    assert it.count(State.IDLE) == 1


def test_down_is_said_at_once_to_all() -> None:
    """And to those who come before the pause is over; the first after it tries."""
    it = pool(connections=1, pause=1.0)
    it.ask(1, 0.0)
    it.ask(2, 0.0)
    assert it.dropped(1, 0.5, 1.0) == [Refuse(1, Why.DOWN), Refuse(2, Why.DOWN)]
    assert it.not_before == 1.5
    assert it.ask(3, 1.4) == [Refuse(3, Why.DOWN)]
    assert it.ask(4, 1.5) == [Open(2)]


def test_a_pause_doubles_up_to_its_bound_and_is_never_less_than_half() -> None:
    """By chance in between."""
    it, now, pauses = pool(pause=1.0, longest=5.0), 0.0, []
    for draw in (1.0, 1.0, 0.0, 1.0, 0.0):
        [opened] = it.ask(1, now)
        assert isinstance(opened, Open)
        it.dropped(opened.connection, now, draw)
        pauses.append(it.not_before - now)
        now = it.not_before
    assert pauses == [1.0, 2.0, 2.0, 5.0, 2.5]


def test_those_that_were_opened_together_are_one_try() -> None:
    """Refused one after another, they do not lengthen the pause that the first has begun."""
    it = pool(connections=16, pause=1.0)
    for waiter in range(16):
        it.ask(waiter, 0.0)
    for connection in range(1, 17):
        it.dropped(connection, connection / 1000, 1.0)
    assert it.not_before == 1.001
    [opened] = it.ask(99, 1.001)
    assert isinstance(opened, Open)
    it.dropped(opened.connection, 2.0, 1.0)
    assert it.not_before == 4.0


def test_an_answer_ends_the_pauses() -> None:
    """Being opened does not: a balancer without servers accepts as well."""
    it = pool(pause=1.0)
    it.ask(1, 0.0)
    it.dropped(1, 0.0, 1.0)
    it.ask(2, 1.0)
    it.opened(2, 1.0)
    it.dropped(2, 1.0, 1.0, failed=True)
    assert it.not_before == 3.0
    it.ask(3, 3.0)
    it.opened(3, 3.0)
    it.answered(3, 3.0)
    assert it.ask(4, 3.0) == [Lend(4, 3)]
    assert it.ask(5, 3.0) == [Open(4)]


def test_one_that_answered_before_is_no_failure() -> None:
    """A server that was restarted is called again at once."""
    it = pool()
    it.ask(1, 0.0)
    it.opened(1, 0.0)
    it.answered(1, 0.0)
    it.dropped(1, 5.0, 1.0, failed=True)
    assert it.ask(2, 5.0) == [Open(2)]


def test_our_own_deadline_is_no_failure() -> None:
    """The server is slow, not down: who waits gets another connection."""
    it = pool(connections=1)
    it.ask(1, 0.0)
    it.opened(1, 0.0)
    it.ask(2, 0.0)
    assert it.dropped(1, 3.0, 1.0) == [Open(2)]


def test_one_tries_whether_it_is_up_again() -> None:
    """Not as many as wait; once it has answered, the others are opened."""
    it = pool(connections=3, pause=1.0)
    it.ask(1, 0.0)
    it.dropped(1, 0.0, 1.0)
    assert [it.ask(n, 1.0) for n in (2, 3, 4)] == [[Open(2)], [], []]
    assert it.opened(2, 1.1) == [Lend(2, 2), Open(3)]
    assert it.answered(2, 1.2) == [Lend(3, 2)]
    assert it.opened(3, 1.3) == [Lend(4, 3)]


def test_who_waits_for_one_that_lives_is_not_refused() -> None:
    """And a new one is tried when the pause is over: that is due."""
    it = pool(connections=2, pause=1.0)
    it.ask(1, 0.0)
    it.opened(1, 0.0)
    it.ask(2, 0.0)
    assert it.due() is None
    assert it.dropped(2, 0.0, 1.0) == []
    assert it.due() == 1.0
    assert it.tick(0.9) == []
    assert it.tick(1.0) == [Open(3)]
    assert it.due() is None


def test_with_all_connections_lent_nothing_is_due() -> None:
    """A due time that has passed and stays would spin."""
    it = pool(connections=1, pause=1.0)
    it.ask(1, 0.0)
    it.dropped(1, 0.0, 1.0)
    it.ask(2, 1.0)
    it.opened(2, 1.0)
    it.ask(3, 1.0)
    assert it.due() is None


def test_a_stale_one_costs_its_waiter_nothing() -> None:
    """He is lent the next, before those who came later."""
    it = pool(connections=2)
    for waiter in (1, 2):
        it.ask(waiter, 0.0)
    for connection in (1, 2):
        it.opened(connection, 0.0)
    for connection in (1, 2):
        it.answered(connection, 0.0)
    assert it.ask(3, 9.0) == [Lend(3, 2)]
    assert it.stale(2, 3, 9.0, 1.0) == [Lend(3, 1)]
    assert it.ask(4, 9.0) == [Open(3)]
    assert it.stale(1, 3, 9.0, 1.0) == [Open(4)]
    assert it.opened(3, 9.1) == [Lend(3, 3)]


def test_one_that_is_not_used_is_lent_on() -> None:
    """To the next; that proves nothing of the other side."""
    it = pool(connections=1, pause=1.0)
    it.ask(1, 0.0)
    it.ask(2, 0.0)
    assert it.opened(1, 0.1) == [Lend(1, 1)]
    assert it.unused(1, 0.2) == [Lend(2, 1)]
    assert it.unused(1, 0.3) == []
    assert it.ask(3, 0.4) == [Lend(3, 1)]
    it.dropped(1, 0.5, 1.0, failed=True)
    assert it.not_before == 1.5


@pytest.mark.parametrize("check", [None, 30.0])
def test_a_stale_one_that_answered_no_call_is_a_failure(check: float | None) -> None:
    """A check that passed is no call: another would be opened at once, and another."""
    it = Pool(Limits(connections=1, pause=1.0, check=check))
    it.ask(1, 0.0)
    it.opened(1, 0.0)
    if check:
        it.checked(1, 0.0)
    assert it.stale(1, 1, 0.0, 1.0) == [Refuse(1, Why.DOWN)]
    assert it.ask(2, 0.9) == [Refuse(2, Why.DOWN)]
    assert it.ask(3, 1.0) == [Open(2)]


def test_an_answer_that_may_go_on_ends_its_connection() -> None:
    """It counts as one: the server is up."""
    it = pool(connections=1)
    it.ask(1, 0.0)
    it.opened(1, 0.0)
    it.ask(2, 0.0)
    assert it.answered(1, 0.1, clear=False) == [Close(1), Open(2)]


def test_idle_ones_are_closed_the_oldest_first() -> None:
    """The one that was used last is lent first, so that the others grow old."""
    it = pool(connections=3, idle=60.0)
    for waiter in (1, 2, 3):
        it.ask(waiter, 0.0)
    for connection in (1, 2, 3):
        it.opened(connection, 0.0)
    for connection, now in ((1, 1.0), (2, 2.0), (3, 30.0)):
        it.answered(connection, now)
    assert it.due() == 61.0
    assert it.tick(60.9) == []
    assert it.tick(62.0) == [Close(1), Close(2)]
    assert it.due() == 90.0
    assert it.ask(4, 70.0) == [Lend(4, 3)]


def test_idle_ones_may_stay_for_ever() -> None:
    it = pool(idle=0.0)
    it.ask(1, 0.0)
    it.opened(1, 0.0)
    it.answered(1, 0.0)
    assert it.due() is None
    assert it.tick(1e9) == []


def test_an_idle_one_that_is_dropped_is_not_lent() -> None:
    it = pool()
    it.ask(1, 0.0)
    it.opened(1, 0.0)
    it.answered(1, 0.0)
    assert it.dropped(1, 1.0, 0.5, failed=True) == []
    assert it.ask(2, 1.0) == [Open(2)]


def test_closing_refuses_who_waits_and_spares_what_is_lent() -> None:
    """It is closed when its answer has come."""
    it = pool(connections=3)
    for waiter in (1, 2, 3):
        it.ask(waiter, 0.0)
    it.opened(1, 0.0)
    it.opened(2, 0.0)
    it.answered(2, 0.0)
    for waiter in (4, 5):
        it.ask(waiter, 0.0)
    # 1 and 2 are lent (to 1 and 3), 3 is still opening, 4 and 5 wait.
    assert it.close() == [Refuse(4, Why.CLOSED), Refuse(5, Why.CLOSED), Close(3)]
    assert it.ask(9, 0.0) == [Refuse(9, Why.CLOSED)]
    assert it.answered(1, 1.0) == [Close(1)]
    assert it.dropped(2, 1.0, 0.5) == []
    assert [it.count(state) for state in State] == [0, 0, 0, 0]


def test_an_event_that_cannot_be_raises() -> None:
    """A connection comes back once."""
    it = pool()
    it.ask(1, 0.0)
    with pytest.raises(ValueError, match="not State.LENT"):
        it.answered(1, 0.0)
    it.opened(1, 0.0)
    it.answered(1, 0.0)
    with pytest.raises(ValueError, match="connection 1 is State.IDLE"):
        it.answered(1, 0.0)
    with pytest.raises(ValueError, match="connection 7 is None"):
        it.opened(7, 0.0)


# --- checks -----------------------------------------------------------------------------


def idle(it: Pool, *since: float) -> None:
    """As many connections as times, each of which has answered and is idle since then."""
    for waiter in range(-len(since), 0):
        it.ask(waiter, 0.0)
    for connection in range(1, len(since) + 1):
        it.opened(connection, 0.0)
        it.checked(connection, 0.0)
    for connection, now in enumerate(since, 1):
        it.answered(connection, now)


def test_a_new_connection_is_checked_before_it_is_lent() -> None:
    """Whether somebody waits for it still or not."""
    it = pool(check=30.0)
    assert it.ask(1, 0.0) == [Open(1)]
    assert it.opened(1, 0.1) == [Check(1, proven=False)]
    assert (it.count(State.CHECKING), it.count(State.LENT), it.waiting) == (1, 0, 1)
    assert it.checked(1, 0.2) == [Lend(1, 1)]
    it.ask(2, 0.3)
    it.forget(2)
    assert it.opened(2, 0.4) == [Check(2, proven=False)]
    assert it.checked(2, 0.5) == []
    assert it.ask(3, 0.6) == [Lend(3, 2)]


def test_one_that_was_idle_for_long_is_checked_and_the_others_are_not() -> None:
    it = pool(check=30.0)
    idle(it, 1.0)
    assert it.ask(1, 30.9) == [Lend(1, 1)]
    assert it.answered(1, 31.0) == []
    assert it.ask(2, 61.0) == [Check(1, proven=True)]
    assert it.checked(1, 61.1) == [Lend(2, 1)]


def test_nothing_is_due_for_checks() -> None:
    """While nobody calls; nor while somebody waits for one, which would spin."""
    it = pool(check=1.0, idle=0.0)
    idle(it, 0.0)
    assert it.due() is None and it.tick(100.0) == []
    it.ask(1, 100.0)
    assert it.due() is None
    it = pool(check=1.0, connections=2, pause=1.0)
    idle(it, 0.0)
    assert [it.ask(1, 0.5), it.ask(2, 0.5)] == [[Lend(1, 1)], [Open(2)]]
    it.dropped(2, 0.5, 1.0)
    it.tick(1.5)
    it.opened(3, 1.5)
    it.ask(3, 9.0)
    assert it.due() is None


def test_who_waits_for_a_check_has_whichever_comes_first() -> None:
    """One that comes back meanwhile; the one that was checked is then idle, and proven."""
    it = pool(check=30.0, connections=2)
    idle(it, 0.0, 0.0)
    assert it.ask(1, 10.0) == [Lend(1, 2)]
    assert it.ask(2, 40.0) == [Check(1, proven=True)]
    assert it.answered(2, 40.5) == [Lend(2, 2)]
    assert it.checked(1, 41.0) == []
    assert it.ask(3, 42.0) == [Lend(3, 1)]


def test_no_more_are_checked_than_wait() -> None:
    """Nor one twice; who waits for them is no waiter of those that are bounded."""
    it = pool(check=30.0, connections=3, waiters=0)
    idle(it, 0.0, 0.0)
    assert it.ask(1, 40.0) == [Check(2, proven=True)]
    assert it.ask(2, 40.0) == [Check(1, proven=True)]
    assert it.ask(3, 40.0) == [Open(3)]
    assert it.ask(4, 40.0) == [Refuse(4, Why.FULL)]


def test_one_that_fails_takes_those_along_that_were_idle_for_longer() -> None:
    """Who waits gets a new one, at once: the server has answered before."""
    it = pool(check=30.0, connections=3)
    idle(it, 0.0, 5.0, 10.0)
    assert it.ask(1, 40.0) == [Check(3, proven=True)]
    assert it.dropped(3, 41.0, 1.0, failed=True) == [Close(1), Close(2), Open(4)]
    it = pool(check=30.0, connections=3)
    idle(it, 0.0, 5.0, 10.0)
    it.ask(1, 40.0)
    assert it.dropped(3, 41.0, 1.0) == [Check(2, proven=True)]


def test_a_new_one_that_fails_is_a_failure_to_connect() -> None:
    """Who waits is refused, and nothing is opened in the pause; a check that passes ends it."""
    it = pool(check=30.0, connections=2, pause=1.0)
    it.ask(1, 0.0)
    it.opened(1, 0.0)
    assert it.dropped(1, 1.0, 1.0, failed=True) == [Refuse(1, Why.DOWN)]
    assert it.ask(2, 1.5) == [Refuse(2, Why.DOWN)]
    assert [it.ask(3, 2.0), it.ask(4, 2.0)] == [[Open(2)], []]
    assert it.opened(2, 2.0) == [Check(2, proven=False)]
    assert it.ask(5, 2.0) == [], "one tries whether it is up again"
    assert it.checked(2, 2.1) == [Lend(3, 2), Open(3)]


def test_nobody_waits_for_check_after_check() -> None:
    """However soon a connection is doubted."""
    it = pool(check=0.0)
    idle(it, 0.0)
    assert it.ask(1, 0.0) == [Check(1, proven=True)]
    assert it.checked(1, 0.0) == [Lend(1, 1)]
    assert it.answered(1, 0.0) == []
    assert it.ask(2, 0.0) == [Check(1, proven=True)]


def test_closing_ends_checks() -> None:
    it = pool(check=0.0)
    it.ask(1, 0.0)
    it.opened(1, 0.0)
    assert it.close() == [Refuse(1, Why.CLOSED), Close(1)]
    assert [it.count(state) for state in State] == [0, 0, 0, 0]
    with pytest.raises(ValueError, match=r"None, not State\.CHECKING"):
        it.checked(1, 0.0)


# --- weather ----------------------------------------------------------------------------


class World:
    """Keeps its own books of who has what, and holds each command against them."""

    def __init__(self, seed: int, core: ModuleType = real) -> None:
        self.core = core
        self.random = random.Random(seed)
        self.limits = core.Limits(
            connections=self.random.randint(1, 4),
            waiters=self.random.randint(0, 6),
            idle=self.random.choice([0.0, 3.0]),
            pause=0.5,
            longest=4.0,
            check=self.random.choice([None, 0.0, 1.0]),
        )
        self.pool = core.Pool(self.limits)
        self.now = 0.0
        self.waiting: list[int] = []
        self.lent: dict[int, int] = {}
        self.opening: set[int] = set()
        self.checking: set[int] = set()
        self.new: set[int] = set()
        #: The one whose check has just passed may be lent, however soon it is doubted.
        self.passed = 0
        self.idle: dict[int, float] = {}
        self.answered: set[int] = set()
        #: Those that answered a call, or lay idle, since they were open: their end is age.
        self.settled: set[int] = set()
        self.silent_until = 0.0
        self.number = 0
        self.outcomes: Counter[int] = Counter()

    def carry_out(self, commands: list[Command]) -> None:
        core, left = self.core, deque(self.decided(commands))
        while left:
            match left.popleft():
                case core.Open(connection):
                    self.opening.add(connection)
                case core.Check(connection, proven):
                    assert proven == (connection in self.answered)
                    wanted = len(self.waiting) > len(self.opening) + len(self.checking)
                    if connection in self.new:
                        self.new.remove(connection)
                    else:
                        assert self.doubtful(connection) and wanted, "checked for nothing"
                    del self.idle[connection]
                    self.checking.add(connection)
                case core.Lend(waiter, connection):
                    assert waiter == self.waiting[0], "not the first"
                    assert connection not in self.new, "lent unchecked"
                    assert connection == self.passed or not self.doubtful(connection)
                    del self.idle[connection]
                    assert connection not in self.lent
                    fate = self.random.random()
                    if fate < 0.05:
                        self.outcomes[self.waiting.pop(0)] += 1
                        self.idle[connection] = self.now
                        left += self.settle(connection, self.pool.unused(connection, self.now))
                    elif fate < 0.15:
                        draw, before = self.random.random(), self.pool.not_before
                        commands = self.pool.stale(connection, waiter, self.now, draw)
                        if connection not in self.settled and self.now >= before:
                            self.silent_until = self.now + self.limits.pause / 2
                        left += self.decided(commands)
                    else:
                        self.lent[connection] = self.waiting.pop(0)
                case core.Close(connection):
                    self.opening.discard(connection)
                    self.checking.discard(connection)
                    self.lent.pop(connection, None)
                    self.idle.pop(connection, None)
                case core.Refuse(waiter, why):
                    self.waiting.remove(waiter)
                    self.outcomes[waiter] += 1
                    if why is core.Why.FULL:
                        coming = len(self.opening) + len(self.checking)
                        assert len(self.waiting) - coming >= self.limits.waiters
                    elif why is core.Why.DOWN:
                        assert not self.lent and not self.idle and not self.opening
                        assert not self.checking
        self.passed = 0
        self.check()

    def settle(self, connection: int, commands: list[Command]) -> list[Command]:
        core = self.core
        taken = [it for it in commands if isinstance(it, core.Lend | core.Check | core.Close)]
        if connection not in [it.connection for it in taken]:
            self.settled.add(connection)
        return self.decided(commands)

    def decided(self, commands: list[Command]) -> list[Command]:
        opens = any(isinstance(it, self.core.Open) for it in commands)
        assert not opens or self.now >= self.silent_until, "opened in a pause"
        return commands

    def doubtful(self, connection: int) -> bool:
        check = self.limits.check
        return check is not None and self.now >= self.idle[connection] + check

    def check(self) -> None:
        it = self.pool
        assert (it.waiting, it.count(self.core.State.LENT)) == (len(self.waiting), len(self.lent))
        assert it.count(self.core.State.OPENING) == len(self.opening)
        assert it.count(self.core.State.CHECKING) == len(self.checking)
        assert it.count(self.core.State.IDLE) == len(self.idle)
        coming = len(self.opening) + len(self.checking)
        alive = len(self.lent) + len(self.idle) + coming
        assert alive <= self.limits.connections
        assert not self.new, "neither idle nor checked"
        assert not (len(self.waiting) > coming and self.idle), "waits beside an idle one"
        assert not (self.waiting and not alive), "waits for nothing"
        assert len(self.waiting) + len(self.lent) <= self.limits.waiters + self.limits.connections

    def ask(self) -> None:
        self.number += 1
        self.waiting.append(self.number)
        self.carry_out(self.pool.ask(self.number, self.now))

    def forget(self) -> None:
        if self.waiting:
            gone = self.random.choice(self.waiting)
            self.waiting.remove(gone)
            self.outcomes[gone] += 1
            self.pool.forget(gone)
            self.check()

    def open(self) -> None:
        if self.opening:
            connection = self.random.choice(sorted(self.opening))
            self.opening.remove(connection)
            self.idle[connection] = self.now
            if self.limits.check is not None:
                self.new.add(connection)
            self.carry_out(self.settle(connection, self.pool.opened(connection, self.now)))

    def pass_check(self) -> None:
        if self.checking:
            self.passed = connection = self.random.choice(sorted(self.checking))
            self.checking.remove(connection)
            self.answered.add(connection)
            self.silent_until = self.idle[connection] = self.now
            self.carry_out(self.settle(connection, self.pool.checked(connection, self.now)))

    def fail_check(self) -> None:
        if self.checking:
            connection = self.random.choice(sorted(self.checking))
            self.checking.remove(connection)
            failed = self.random.random() < 0.8
            doubted = set(filter(self.doubtful, self.idle))
            self.drop(connection, failed, failed and connection not in self.answered)
            left = doubted & (self.idle.keys() | self.checking | self.lent.keys())
            assert not (failed and left), "is asked in its turn"

    def fail(self) -> None:
        if self.opening:
            connection = self.random.choice(sorted(self.opening))
            self.opening.remove(connection)
            self.drop(connection, failed=True, counts=True)

    def drop(self, connection: int, failed: bool, counts: bool) -> None:
        counts = counts and self.now >= self.pool.not_before
        commands = self.pool.dropped(connection, self.now, self.random.random(), failed)
        if counts:
            self.silent_until = self.now + self.limits.pause / 2
        self.carry_out(commands)

    def answer(self) -> None:
        if self.lent:
            connection = self.random.choice(sorted(self.lent))
            self.outcomes[self.lent.pop(connection)] += 1
            self.answered.add(connection)
            self.settled.add(connection)
            self.silent_until = self.now
            clear = self.random.random() < 0.8
            self.idle[connection] = self.now
            commands = self.pool.answered(connection, self.now, clear)
            assert clear or self.core.Close(connection) in commands, "may go on, and is lent"
            self.carry_out(commands)

    def lose(self) -> None:
        if self.lent:
            connection = self.random.choice(sorted(self.lent))
            self.outcomes[self.lent.pop(connection)] += 1
            failed = self.random.random() < 0.5
            self.drop(connection, failed, failed and connection not in self.answered)

    def die_idle(self) -> None:
        if self.idle:
            connection = self.random.choice(sorted(self.idle))
            del self.idle[connection]
            self.drop(connection, True, connection not in self.answered)

    def pass_time(self) -> None:
        self.now += self.random.random() * 2
        due = self.pool.due()
        if due is not None and due <= self.now:
            self.carry_out(self.pool.tick(self.now))
            after = self.pool.due()
            assert after is None or after > self.now, "stays due"

    def live(self, turns: int) -> None:
        events = [
            *[self.ask] * 6, self.forget, *[self.open] * 3, self.fail, *[self.answer] * 4,
            self.lose, self.die_idle, *[self.pass_check] * 3, self.fail_check,
            *[self.pass_time] * 3,
        ]  # fmt: skip
        for _ in range(turns):
            self.random.choice(events)()

    def calm_down(self) -> None:
        for _ in range(1000):
            if not (self.waiting or self.lent or self.opening or self.checking):
                break
            self.pass_time()
            self.open()
            self.pass_check()
            self.answer()
        assert not self.waiting and not self.lent and not self.opening and not self.checking
        assert set(self.outcomes) == set(range(1, self.number + 1)), "never heard of it"
        assert set(self.outcomes.values()) <= {1}, "heard of it twice"


@pytest.mark.parametrize("first", [0, SEED], ids=["kept", "new"])
def test_the_rules_hold_in_any_weather(first: int) -> None:
    """Each call has one outcome, each connection one borrower, and all calms down."""
    print(f"LEEWARD_SEED={SEED}")
    for seed in range(first, first + 60):
        world = World(seed)
        try:
            world.live(200)
            world.calm_down()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


#: Mistakes that the weather must notice.
MUTANTS = {
    "lends to the last who came": (
        "commands.append(self._lend(self._waiting.popitem(last=False)[0]))",
        "commands.append(self._lend(self._waiting.popitem()[0]))",
    ),
    "lends what was checked to the last who came": (
        "lent = [self._lend(self._waiting.popitem(last=False)[0])]",
        "lent = [self._lend(self._waiting.popitem()[0])]",
    ),
    "lends what is lent": (
        "connection, _ = self._idle.popitem()",
        "connection = next(iter(self._idle))",
    ),
    "forgets who was refused": ("            del self._waiting[waiter]\n", ""),
    "opens more than may": (
        "len(self._lives) >= self._limits.connections or now",
        "len(self._lives) > self._limits.connections or now",
    ),
    "knows no pause": ("or now < self._not_before:\n", "or False:\n"),
    "counts a broken opening on": ("        self._opening -= opening\n", ""),
    "counts an opened one on": ("        self._opening -= 1\n", ""),
    "opens none for who is left": (
        "while len(self._waiting) > self._coming and self._may_open(now):",
        "while self._waiting and not self._lives and self._may_open(now):",
    ),
    "leaves waiting when all is down": (
        "for waiter in self._waiting]\n            self._waiting.clear()",
        "for waiter in self._waiting]",
    ),
    "keeps an idle one that died": ("self._idle.pop(connection, None)", "pass"),
    "puts back without serving": (
        "        self._settle(connection)\n        return commands\n\n    def _settle",
        "        self._settle(connection)\n        return []\n\n    def _settle",
    ),
    "does not serve after a loss": (
        "        return commands + self._serve(now)\n\n    def tick",
        "        return commands\n\n    def tick",
    ),
    "a stale one's waiter is the last": ("move_to_end(waiter, last=False)", "move_to_end(waiter)"),
    "a stale one is no failure": (
        "        if connection not in self._settled:\n",
        "        if False:\n",
    ),
    "refuses too few": ("> self._limits.waiters:", "> self._limits.waiters + 9:"),
    "refuses whom it could serve": (
        "- self._coming > self._limits.waiters:",
        "> self._limits.waiters:",
    ),
    "is due for ever": (
        "if self._waiting and room and not self._coming:",
        "if self._waiting and self._failures:",
    ),
    "does not close the idle": ("            commands.append(Close(oldest))\n", ""),
    "is due while it checks": (
        "if self._waiting and room and not self._coming:",
        "if self._waiting and room and not self._opening:",
    ),
    "lends unchecked": ("        if self._limits.check is None:\n", "        if True:\n"),
    "lends what it doubts": ("return bool(self._idle) and not self._is_doubtful(", "return bool("),
    "checks after a check": ("if self._waiting else []\n", "if False else []\n"),
    "checks for nobody": (
        "while len(self._waiting) > self._coming and self._idle:",
        "while self._waiting and self._idle:",
    ),
    "checks none": (
        "            commands.append(self._check(self._idle.popitem()[0]))\n",
        "            break\n",
    ),
    "counts a passed check on": ("        self._checking -= 1\n", ""),
    "counts a failed check on": ("        self._checking -= state is State.CHECKING\n", ""),
    "asks each in its turn": ("if failed and state is State.CHECKING:", "if False:"),
    "a check proves nothing": (
        "        self._checking -= 1\n        self._prove(connection)\n",
        "        self._checking -= 1\n",
    ),
    "lends what was not clear": ("        if clear:\n", "        if True:\n"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_weather_notices(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each mistake breaks a rule in some world."""
    old, new = MUTANTS[name]
    source = Path(real.__file__).read_text(encoding="utf-8")
    assert source.count(old) == 1, source.count(old)
    core = ModuleType("leeward._core.pool")
    monkeypatch.setitem(sys.modules, "mutant", core)  # dataclasses look there
    core.__name__ = "mutant"
    exec(compile(source.replace(old, new), "<mutant>", "exec"), core.__dict__)
    for seed in range(200):
        world = World(seed, core)
        try:
            world.live(200)
            world.calm_down()
        except Exception:
            return
    pytest.fail("nobody noticed")
