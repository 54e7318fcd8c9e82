"""Who is stalled, who is told, who is killed, and when one must look."""

from __future__ import annotations

import pytest

from leeward._core.record import replace
from leeward._core.vitals import (
    BEAT,
    PATIENCE,
    QUIET,
    SOON,
    TICK,
    UNMOVED,
    WINDOW,
    Ask,
    Blocked,
    Bounds,
    Condemn,
    Details,
    Finding,
    More,
    Pulse,
    TurnsAgain,
    Vitals,
)

IDLE = 0.0


class Loops:
    """Pretended loops, looked at when `next_look` says so.

    Each worker's number is its slot too, unless `slots` says another.
    """

    def __init__(self, **bounds: object) -> None:
        self.vitals = Vitals()
        self.now = 1000.0
        self.bounds = replace(Bounds(), **bounds)  # type: ignore[arg-type]
        self.pulses: dict[int, Pulse] = {}
        self.slots: dict[int, int] = {}
        self.details = Details(cpu=0.0)
        self.working = 0.0  # processor seconds per second
        self.writes = True  # is a stack there at once?
        self._cpu = 0.0
        self.asked = False
        self.looks = 0
        self.turn(1, IDLE)

    def turn(self, worker: int, since: float | None = None) -> None:
        """The loop begins a turn now, or sleeps."""
        old = self.pulses.get(worker)
        turns = old.turns + 1 if old else 1
        since = self.now if since is None else since
        slot = self.slots.get(worker, worker)
        self.pulses[worker] = Pulse(slot, since, turns, False, self.bounds)

    def beat(self, worker: int = 1) -> None:
        self.turn(worker)
        self.pulses[worker] = replace(self.pulses[worker], beats=True)

    def look(self) -> list[Finding]:
        self.looks += 1
        suspects = self.vitals.suspects(self.now, self.pulses)
        seen = replace(
            self.details, cpu=self._cpu, main=self._cpu, written=self.asked and self.writes
        )
        if self.details.cpu is None:
            seen = replace(seen, cpu=None, main=None)
        found = self.vitals.look(self.now, self.pulses, dict.fromkeys(suspects, seen))
        for it in found:
            self.asked = isinstance(it, Ask) or (self.asked and not isinstance(it, Blocked))
        due = self.vitals.next_look()
        assert due is None or due > self.now, "a look that asks for another one at once"
        return found

    def run(self, seconds: float) -> list[Finding]:
        """Time passes; whatever is found meanwhile."""
        end, found = self.now + seconds, []
        while (due := self.vitals.next_look()) is not None and due <= end:
            self._pass(max(0.0, due - self.now))
            found += self.look()
        self._pass(end - self.now)
        return found

    def _pass(self, seconds: float) -> None:
        self.now += seconds
        self._cpu += self.working * seconds


# --- when to look ------------------------------------------------------------------------


def test_it_sleeps_when_all_sleep_but_looks_once_more() -> None:
    """The flag is cleared first; only a second look a tick later lets it sleep."""
    loops = Loops()
    loops.look()
    assert not loops.vitals.awake
    assert loops.vitals.next_look() == pytest.approx(loops.now + TICK)
    assert loops.run(60.0) == [] and loops.looks == 2
    assert loops.vitals.next_look() is None


def test_a_wake_up_between_the_two_looks_is_not_lost() -> None:
    """It woke when the flag still said that we look: nobody has rung, and it is seen."""
    loops = Loops()
    loops.look()
    loops.turn(1)
    loops.run(TICK)
    assert loops.vitals.awake
    assert [type(it) for it in loops.run(1.0)] == [Ask, Blocked]


def test_who_is_rung_looks_at_once_and_goes_on_while_somebody_is_busy() -> None:
    """Every tick, until two looks have found nobody busy."""
    loops = Loops(warn=0.0)
    loops.run(10.0)
    assert loops.looks == 2
    loops.turn(1)
    loops.vitals.rung(loops.now)
    assert loops.vitals.next_look() == loops.now and loops.vitals.awake
    loops.run(1.0)
    assert 12 <= loops.looks <= 14
    loops.turn(1, IDLE)
    loops.run(60.0)
    assert loops.looks <= 17 and not loops.vitals.awake


def test_nobody_to_look_at() -> None:
    """An instance whose workers are all being replaced."""
    loops = Loops()
    loops.pulses.clear()
    assert loops.run(10.0) == [] and loops.looks == 2


# --- stalls --------------------------------------------------------------------------------


def test_an_idle_loop_is_never_stalled() -> None:
    """However long it sleeps, and whatever it did before."""
    loops = Loops(kill=5.0)
    for _ in range(5):
        loops.turn(1)
        loops.run(0.05)
        loops.turn(1, IDLE)
        assert loops.run(1000.0) == []


def test_a_busy_loop_that_turns_is_never_stalled() -> None:
    """Under load it is never seen asleep."""
    loops = Loops(kill=1.0)
    loops.vitals.rung(loops.now)
    for _ in range(100):
        loops.turn(1)
        assert loops.run(0.06) == []


def test_a_stall_is_told_once_with_its_stack_and_told_when_it_is_over() -> None:
    """Past the bound its stack is asked for; a moment later it is there."""
    loops = Loops()
    loops.turn(1)
    found = loops.run(60.0)
    assert found[0] == Ask(1)
    assert isinstance(found[1], Blocked) and len(found) == 2
    assert not found[1].over and found[1].more == 0
    assert 0.25 + SOON <= found[1].seconds <= 0.25 + TICK + SOON + 1e-6
    loops.turn(1)
    (again,) = loops.run(TICK)
    assert isinstance(again, TurnsAgain) and again.seconds == pytest.approx(60.0, abs=0.2)
    loops.turn(1, IDLE)
    assert loops.run(10.0) == []


def test_a_stall_that_ends_before_its_stack_is_read_is_told_in_one_line() -> None:
    """It was blocked."""
    loops = Loops(warn=0.1)
    loops.turn(1)
    assert loops.run(0.105) == [Ask(1)]
    loops.turn(1, IDLE)
    (told,) = loops.run(1.0)
    assert isinstance(told, Blocked) and told.over


def test_a_stack_that_does_not_come_is_waited_for_a_little() -> None:
    """The kernel does not let the process go: the line says so."""
    loops = Loops()
    loops.writes = False
    loops.turn(1)
    assert loops.run(0.35) == [Ask(1)]
    began = loops.now
    (told,) = loops.run(1.0)
    assert isinstance(told, Blocked)
    assert told.seconds <= began - 1000.0 + PATIENCE + SOON + 1e-6


@pytest.mark.parametrize("works", [False, True])
def test_what_takes_no_step_of_python_is_asked_in_a_way_that_waits_for_none(works: bool) -> None:
    """It sleeps in the kernel, or has worked for long enough to answer: it stands in C."""
    loops = Loops()
    loops.writes = False
    loops.working = float(works)
    loops.details = replace(loops.details, asleep=not works)
    loops.turn(1)
    first, second, told = loops.run(2.0)
    assert (first, second) == (Ask(1), Ask(1, in_c=True))
    assert isinstance(told, Blocked)
    assert told.seconds <= 0.25 + TICK + UNMOVED + PATIENCE + 3 * SOON


def test_what_has_not_run_since_is_not_asked_again() -> None:
    """It waits for a processor, in the middle of a step for all we know."""
    loops = Loops()
    loops.writes = False
    loops.turn(1)
    assert [type(it) for it in loops.run(2.0)] == [Ask, Blocked]


def test_at_most_one_a_second_and_the_others_are_counted() -> None:
    """A handler that blocks for 0.4 s again and again: a line a second, nothing lost."""
    loops = Loops()
    found: list[Finding] = []
    for _ in range(20):
        loops.turn(1)
        found += loops.run(0.35)
        loops.turn(1, IDLE)
        found += loops.run(0.02)
    found += loops.run(5.0)
    told = [it for it in found if isinstance(it, Blocked)]
    rest = [it for it in found if isinstance(it, More)]
    assert 4 <= len(told) <= 8
    assert len(told) + sum(it.more for it in told) + sum(it.count for it in rest) == 20
    assert not told[0].more and any(it.more for it in told)


def test_what_was_not_told_is_said_when_it_is_quiet() -> None:
    """One more stall right behind the first: a second later its number is said, once."""
    loops = Loops()
    loops.turn(1)
    loops.run(0.5)
    loops.turn(1)
    loops.run(0.5)
    loops.turn(1, IDLE)
    found = loops.run(60.0)
    assert found == [More(1, 1)]
    assert loops.vitals.next_look() is None


def test_a_long_stall_behind_a_short_one_is_told_late_but_told() -> None:
    """One line a second; whoever still is blocked then gets it."""
    loops = Loops()
    loops.turn(1)
    loops.run(0.5)
    loops.turn(1)
    found = loops.run(3.0)
    assert [type(it) for it in found] == [TurnsAgain, Ask, Blocked]
    assert isinstance(found[2], Blocked) and found[2].seconds > QUIET and not found[2].more


def test_slots_are_told_of_apart() -> None:
    """Two workers that block at the same time, and one that does not."""
    loops = Loops()
    for worker in (1, 2, 3):
        loops.turn(worker)
    loops.turn(3, IDLE)
    told = [it.worker for it in loops.run(1.0) if isinstance(it, Blocked)]
    assert told == [1, 2]


def test_a_worker_that_goes_is_forgotten() -> None:
    """Its successor in the slot begins anew."""
    loops = Loops()
    loops.slots = {2: 1}
    loops.turn(1)
    loops.run(1.0)
    del loops.pulses[1]
    loops.turn(2, IDLE)
    assert loops.run(1.0) == []
    loops.turn(2)
    loops.vitals.rung(loops.now)
    assert [type(it) for it in loops.run(1.0)] == [Ask, Blocked]


def test_it_can_be_switched_off() -> None:
    """warn 0 and kill 0: nobody is even a suspect."""
    loops = Loops(warn=0.0)
    loops.turn(1)
    loops.vitals.rung(loops.now)
    assert loops.run(400.0) == []
    assert loops.vitals.suspects(loops.now, loops.pulses) == []


# --- loops that beat ---------------------------------------------------------------------------


def test_a_beat_may_be_a_beat_too_old() -> None:
    """The bound is wider by one beat where a timer writes."""
    loops = Loops()
    loops.beat()
    loops.vitals.rung(loops.now)
    assert loops.run(0.25 + BEAT - 0.01) == []
    assert [type(it) for it in loops.run(0.3)] == [Ask, Blocked]


@pytest.mark.parametrize("waits", [True, None])
def test_a_beat_that_is_late_is_no_stall_of_a_loop_that_waits(waits: bool | None) -> None:
    """It stands in epoll_wait; or nobody can tell, and then nothing is claimed."""
    loops = Loops(kill=1.0)
    loops.beat()
    loops.details = Details(cpu=0.0, waits=waits)
    loops.vitals.rung(loops.now)
    assert loops.run(100.0) == []


def test_a_loop_that_tells_its_turns_is_stalled_wherever_it_waits() -> None:
    """A handler that runs a select of its own blocks the loop all the same."""
    loops = Loops()
    loops.details = Details(cpu=0.0, waits=True)
    loops.turn(1)
    assert [type(it) for it in loops.run(1.0)] == [Ask, Blocked]


# --- killing ------------------------------------------------------------------------------------


def test_a_deadlock_is_killed_stack_first() -> None:
    """At the bound its stack is asked for once more; then it goes, with the reason."""
    loops = Loops(kill=3.0)
    loops.turn(1)
    found = loops.run(20.0)
    assert [type(it) for it in found] == [Ask, Blocked, Ask, Condemn]
    assert found[-1] == Condemn(1, "its loop has not turned for 3 s (--stall-kill)")


def test_without_a_bound_it_is_never_killed() -> None:
    """As for programs."""
    loops = Loops(kill=0.0)
    loops.turn(1)
    assert not any(isinstance(it, Condemn) for it in loops.run(400.0))


def test_the_unwarned_are_killed_without_a_line() -> None:
    """warn 0: only the end is told, and turning again is nothing to tell."""
    loops = Loops(warn=0.0, kill=3.0)
    loops.turn(1)
    loops.vitals.rung(loops.now)
    while not loops.run(SOON / 2):  # asked for its stack: the next would be its end
        assert loops.now < 1004.0
    loops.turn(1, IDLE)
    assert loops.run(1.0) == []
    loops.turn(1)
    loops.vitals.rung(loops.now)
    assert [type(it) for it in loops.run(20.0)] == [Ask, Condemn]


def test_a_kill_below_the_warning() -> None:
    """Nobody is warned of what is over before it would be told."""
    loops = Loops(warn=5.0, kill=1.0)
    loops.turn(1)
    loops.vitals.rung(loops.now)
    assert [type(it) for it in loops.run(20.0)] == [Ask, Condemn]
    loops = Loops(warn=5.0, kill=1.0)
    loops.turn(1)
    loops.working = 1.0
    loops.run(2.0)
    loops.turn(1, IDLE)
    assert loops.run(20.0) == [], "it was no stall that anybody wanted to hear of"


@pytest.mark.parametrize(("works", "killed"), [(0.0, True), (0.03, True), (0.1, False)])
def test_what_burns_cpu_is_not_killed(works: float, killed: bool) -> None:
    """A few per cent are no work."""
    loops = Loops(kill=3.0)
    loops.working = works
    loops.turn(1)
    assert any(isinstance(it, Condemn) for it in loops.run(100.0)) is killed


def test_what_has_stopped_burning_is_killed_then() -> None:
    """The last half second counts, not the whole."""
    loops = Loops(kill=3.0)
    loops.working = 1.0
    loops.turn(1)
    assert not any(isinstance(it, Condemn) for it in loops.run(10.0))
    loops.working = 0.0
    found = loops.run(2 * WINDOW + 2 * TICK)
    assert [type(it) for it in found] == [Ask, Condemn]


def test_what_burns_cpu_is_killed_when_asked_for() -> None:
    """--stall-kill-busy."""
    loops = Loops(kill=3.0, kill_working=True)
    loops.working = 1.0
    loops.turn(1)
    assert isinstance(loops.run(3.3)[-1], Condemn)


def test_what_cannot_be_told_is_not_killed() -> None:
    """No /proc for us: it may be working."""
    loops = Loops(kill=3.0)
    loops.details = Details(cpu=None)
    loops.turn(1)
    assert not any(isinstance(it, Condemn) for it in loops.run(100.0))


def test_who_turns_in_its_last_moment_lives() -> None:
    """Between the second question for its stack and the end."""
    loops = Loops(kill=3.0)
    loops.writes = False
    loops.turn(1)
    while not any(isinstance(it, Ask) for it in loops.run(SOON)) or loops.now < 1003.0:
        pass
    loops.turn(1, IDLE)
    assert [type(it) for it in loops.run(10.0)] == [TurnsAgain]


def test_the_stack_of_a_condemned_worker_is_not_waited_for_long() -> None:
    """Nothing comes from the depth of the kernel."""
    loops = Loops(kill=3.0)
    loops.writes = False
    loops.turn(1)
    found = loops.run(3.0 + PATIENCE + 3 * TICK)
    assert isinstance(found[-1], Condemn)


def test_who_is_traced_is_told_without_its_stack_and_never_killed() -> None:
    """A debugger would stop it at our signal, and whoever debugs knows what he does."""
    loops = Loops(kill=3.0, stopped=5.0)
    loops.details = Details(cpu=0.0, traced=True)
    loops.turn(1)
    assert [type(it) for it in loops.run(100.0)] == [Blocked]
    loops.vitals.stopped(1, "SIGSTOP", loops.bounds, loops.now)
    assert loops.run(100.0) == []
    loops.details = Details(cpu=0.0)
    assert [type(it) for it in loops.run(6.0)] == [Condemn]


def test_who_is_condemned_is_so_once() -> None:
    """Killing may take a moment."""
    loops = Loops(kill=1.0)
    loops.turn(1)
    assert sum(isinstance(it, Condemn) for it in loops.run(100.0)) == 1


# --- stopped processes ------------------------------------------------------------------------


def test_a_stopped_process_has_a_deadline_of_its_own() -> None:
    """Not stalled, though its loop is in the middle of a turn; killed after the bound."""
    loops = Loops(kill=3.0)
    loops.turn(1)
    loops.run(0.1)
    loops.vitals.stopped(1, "SIGSTOP", loops.bounds, loops.now)
    assert loops.run(29.9) == []
    (end,) = loops.run(0.2)
    assert end == Condemn(1, "stopped by SIGSTOP for 30 s (--stopped-kill)")
    assert loops.run(100.0) == []
    assert loops.vitals.next_look() is None, "nothing to look at in a stopped process"


def test_an_idle_process_that_is_stopped_wakes_us_for_its_end_only() -> None:
    """No ticks meanwhile."""
    loops = Loops()
    loops.run(1.0)
    loops.vitals.stopped(1, "SIGTSTP", loops.bounds, loops.now)
    before = loops.looks
    assert [type(it) for it in loops.run(100.0)] == [Condemn]
    assert loops.looks <= before + 3


def test_a_continued_process_is_well() -> None:
    """Its turn has not grown older meanwhile; a block that goes on is told."""
    loops = Loops(kill=20.0)
    loops.turn(1)
    loops.vitals.stopped(1, "SIGSTOP", loops.bounds, loops.now)
    loops.run(25.0)
    assert loops.vitals.continued(1, loops.now) == pytest.approx(25.0)
    assert loops.vitals.continued(1, loops.now) is None
    assert loops.run(0.2) == []
    told = [it for it in loops.run(10.0) if isinstance(it, Blocked)]
    assert len(told) == 1 and told[0].seconds < 1.0
    loops.turn(1, IDLE)
    loops.run(1.0)
    assert loops.run(100.0) == []


def test_a_stall_that_is_stopped_is_no_stall_any_more() -> None:
    """What was asked of it is not waited for."""
    loops = Loops()
    loops.turn(1)
    assert loops.run(0.31) == [Ask(1)] or loops.run(0.1)
    loops.vitals.stopped(1, "SIGSTOP", loops.bounds, loops.now)
    assert loops.run(5.0) == []


@pytest.mark.parametrize("traced", [False, True])
def test_a_stopped_one_obeys_the_bound_that_is_set_meanwhile(traced: bool) -> None:
    """A longer one, and none at all; nobody spins for a debugger either."""
    loops = Loops()
    loops.vitals.stopped(1, "SIGSTOP", loops.bounds, loops.now)
    loops.details = Details(cpu=0.0, traced=traced)
    loops.bounds = replace(loops.bounds, stopped=100.0)
    loops.turn(1, IDLE)
    assert loops.run(99.0) == []
    loops.bounds = replace(loops.bounds, stopped=0.0)
    loops.turn(1, IDLE)
    before = loops.looks
    assert loops.run(1000.0) == [] and loops.looks <= before + 2
    assert loops.vitals.next_look() is None


def test_stopped_for_ever_if_one_wants() -> None:
    """--stopped-kill 0s."""
    loops = Loops(stopped=0.0)
    loops.vitals.stopped(1, "SIGSTOP", loops.bounds, loops.now)
    assert loops.run(1_000.0) == []
