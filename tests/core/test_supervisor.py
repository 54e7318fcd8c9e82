"""The decisions, one sentence at a time.  What holds in any weather is in test_weather.py."""

from __future__ import annotations

import pytest
from core.hand import EXIT_0, SEGV, SIGKILL, Hand

from leeward._core import commands as c
from leeward._core.generation import Limits
from leeward._core.record import replace
from leeward._core.roster import Death, Process
from leeward._core.supervisor import Supervisor
from leeward._core.worker import Event, State

KILLED_UNSERVED = Death("killed by SIGKILL", sigkill=True)
UNBORN = Death("could not be forked: EAGAIN", unborn=True)


def kinds(commands: list[c.Command]) -> list[type]:
    return [type(it) for it in commands]


# --- boot -----------------------------------------------------------------------------------


def test_boot_loads_then_tries_one_then_all() -> None:
    """Zygote, canary, and only when that is ready the others."""
    hand = Hand(workers=3)
    mode, start = hand.plan()
    assert mode == c.ModeChosen(1, "zygote", "--start asks for it")
    assert start == c.StartZygote(1, 1)
    hand.forked(1)
    assert hand.plan() == []
    hand.sup.loaded(1, (), hand.now)
    assert hand.plan() == [c.StartWorker(2, 1, slot=0, ordinal=1, row=0, zygote=1, canary=True)]
    hand.forked(2)
    assert hand.plan() == []
    hand.sup.ready(2, hand.now)
    assert hand.plan() == [
        c.Up(1),
        c.StartWorker(3, 1, slot=1, ordinal=1, row=1, zygote=1, canary=False),
        c.StartWorker(4, 1, slot=2, ordinal=1, row=2, zygote=1, canary=False),
    ]


def test_boot_in_spawn_mode_needs_no_zygote() -> None:
    """Each worker is an interpreter of its own."""
    hand = Hand(workers=1, start="spawn")
    assert hand.plan()[1:] == [
        c.StartWorker(1, 1, slot=0, ordinal=1, row=0, zygote=None, canary=True)
    ]


@pytest.mark.parametrize("hazards", [(), ("a thread at chat.py:3", "another")])
def test_the_audit_decides_an_automatic_start(hazards: tuple[str, ...]) -> None:
    """Safe code is forked; a hazard means spawn, says why, and retires the zygote."""
    hand = Hand(workers=1, start="auto", hazards=hazards).up()
    expected = ("spawn", hazards[0]) if hazards else ("zygote", "safe to fork")
    assert hand.only(c.ModeChosen) == c.ModeChosen(1, *expected)
    assert hand.sup.mode == expected[0]
    assert len(hand.sup.roster.of("zygote")) == (not hazards)
    assert hand.serving() == [(0, 1)]


def test_code_that_says_why_it_fails_ends_the_boot_with_3() -> None:
    """Trying again changes nothing: the traceback is the answer."""
    hand = Hand()
    hand.plan()
    hand.sup.failed(1, "ImportError: no module named chat")
    hand.sup.died(1, Death("exited with code 3"), hand.now)
    assert hand.plan()[-1] == c.Exit(3, "ImportError: no module named chat")
    assert hand.later(1.0) == [], "one Exit, and then nothing"


def test_a_start_that_hangs_ends_the_boot_with_3() -> None:
    """The start timeout is an answer too; who hangs is killed first."""
    hand = Hand()
    hand.plan()
    hand.forked(1)
    assert hand.later(9.9) == []
    assert hand.later(0.2) == [c.Kill(1)]
    hand.sup.died(1, SIGKILL, hand.now)
    (_, end) = hand.plan()
    assert end == c.Exit(3, "was not imported within 10 s (--start-timeout)")


def test_five_silent_deaths_end_the_boot_with_5() -> None:
    """They gave no reason, so it is tried again; with pauses, and not for ever."""
    hand = Hand(start="spawn")
    hand.plan()
    for strike in (1, 2, 3, 4):
        hand.sup.died(hand.only(c.StartWorker).process, SEGV, hand.now)
        pause = 0.1 * 2 ** (strike - 1)
        back, _ = hand.plan()
        assert back == c.BackedOff(1, pause, strike, "killed by SIGSEGV")
        assert hand.sup.next_deadline() == pytest.approx(hand.now + pause)
        assert kinds(hand.later(pause)) == [c.StartWorker]
    hand.sup.died(hand.only(c.StartWorker).process, SEGV, hand.now)
    end = hand.plan()[-1]
    assert end == c.Exit(5, "killed by SIGSEGV, 5 times before it was ever ready")


def test_slow_deaths_add_up_too() -> None:
    """A minute between two failures of a boot is no quiet time."""
    hand = Hand(start="spawn")
    hand.limits = replace(hand.limits, start=100.0)
    hand.plan()
    for _ in range(5):
        hand.later(60.0)
        hand.sup.died(hand.only(c.StartWorker).process, SEGV, hand.now)
        hand.later(60.0)
    assert hand.only(c.Exit).code == 5


def test_a_boot_whose_zygote_cannot_fork_ends_with_5() -> None:
    """It loads and is deaf: five zygotes, then an answer."""
    hand = Hand()
    hand.plan()
    for _ in range(5):
        hand.obey(hand.only(c.StartZygote))
        assert kinds(hand.plan()) == [c.StartWorker]
        kill = hand.later(5.0)[0]
        assert isinstance(kill, c.Kill)
        hand.sup.died(kill.process, SIGKILL, hand.now)
        hand.later(2.0)
    end = hand.only(c.Exit)
    assert end.code == 5 and "did not answer a fork request within 5 s" in end.why


def test_without_settings_there_is_nothing_to_do() -> None:
    """Before the first offer nothing is wanted and nothing is due."""
    supervisor = Supervisor(workers=2)
    assert supervisor.plan(0.0) == []
    assert supervisor.next_deadline() is None


# --- replacing and backing off ----------------------------------------------------------------


def test_a_dead_worker_is_replaced_in_its_slot() -> None:
    """At once, from the same generation; the others are left alone."""
    hand = Hand(workers=3).up()
    dead = hand.worker(1)
    hand.sup.died(dead.id, SEGV, hand.now)
    start, forget = hand.plan()
    assert isinstance(start, c.StartWorker) and start.slot == 1 and start.generation == 1
    assert forget == c.Forget(dead.id)


def test_two_hundred_kills_in_a_row_never_pause() -> None:
    """Somebody's SIGKILL of a worker that served does not speak against the code."""
    hand = Hand().up()
    for _ in range(200):
        hand.sup.died(hand.worker(0).id, SIGKILL, hand.now)
        hand.settle()
        hand.now += 0.02
    assert hand.count(c.BackedOff) == 0
    assert hand.serving() == [(0, 1), (1, 1)]


@pytest.mark.parametrize(("age", "pauses"), [(0.05, 1), (0.2, 0)])
def test_a_kill_of_the_newborn_pauses(age: float, pauses: int) -> None:
    """Who is killed before it served anybody may be at fault, for a tenth of a second."""
    hand = Hand().up()
    hand.sup.died(hand.worker(0).id, SIGKILL, hand.now)
    hand.settle()
    hand.now += age
    hand.sup.died(hand.worker(0).id, KILLED_UNSERVED, hand.now)
    hand.settle()
    assert hand.count(c.BackedOff) == pauses


def test_young_deaths_pause_and_keep_on_trying() -> None:
    """Once it has served it never gives up: longer and longer pauses, up to 30 s."""
    hand = Hand(workers=1)
    hand.settle()
    pauses = []
    for _ in range(12):
        hand.now += 0.01
        hand.sup.died(hand.worker(0).id, SEGV, hand.now)
        hand.settle()
        assert hand.serving() == []
        pauses.append(hand.only(c.BackedOff).delay)
        hand.now += pauses[-1]
        hand.settle()
    assert pauses[:3] == [0.1, 0.2, 0.4]
    assert pauses[-1] == 30.0
    assert not hand.sup.stopping


def test_each_generation_has_its_own_pauses() -> None:
    """New code is not held up by what the old code did."""
    hand = Hand(workers=1).up()
    hand.sup.generations[1].pauses.strike(hand.now, "")
    hand.sup.reload()
    hand.settle()
    assert hand.serving() == [(0, 2)]


def test_a_wave_of_deaths_is_one_strike() -> None:
    """Four workers that die together cause one short pause."""
    hand = Hand(workers=4, start="spawn")
    hand.settle()
    for it in hand.sup.roster.of("worker"):
        hand.sup.died(it.id, SEGV, hand.now)
    hand.settle()
    assert hand.count(c.BackedOff) == 1
    hand.now += 0.1
    hand.settle()
    assert len(hand.serving()) == 4


def test_without_a_free_row_nobody_is_started() -> None:
    """A thousand leave at once: the next death frees a row."""
    hand = Hand(workers=2)
    hand.sup.roster.rows = 1
    hand.settle()
    assert hand.serving() == [(0, 1)]
    hand.sup.roster.rows = 2
    hand.settle()
    assert hand.serving() == [(0, 1), (1, 1)]


# --- reload -------------------------------------------------------------------------------------


def test_a_reload_rolls_slot_by_slot() -> None:
    """New zygote, canary, then each slot: the new one serves before the old one drains."""
    hand = Hand(workers=2).up()
    old = [hand.worker(0).id, hand.worker(1).id]
    assert hand.sup.reload()
    assert hand.plan() == [c.Resolve()]
    hand.offer()
    zygote = hand.plan()[-1]
    assert isinstance(zygote, c.StartZygote) and zygote.generation == 2
    hand.obey(zygote)
    for slot in (0, 1):
        out = hand.plan()
        start = hand.only(c.StartWorker)
        assert (start.slot, start.generation) == (slot, 2)
        if slot == 1:
            assert c.Drain(old[0], "reload", 5.0) in out
        hand.forked(start.process)
        assert hand.plan() == [], "the old one serves on"
        assert len(hand.serving()) == 2
        hand.sup.ready(start.process, hand.now)
        assert len(hand.serving()) == 3, "one more for a moment, never one less"
    out = hand.plan()
    assert c.Served(2) in out and c.Drain(old[1], "reload", 5.0) in out
    assert c.Drain(1, "reload", 2.0) in out, "the old zygote retires"
    hand.settle()
    assert hand.serving() == [(0, 2), (1, 2)]
    assert set(hand.sup.generations) == {2}
    assert hand.sup.next_deadline() is None, "asleep"


def test_reloads_asked_for_meanwhile_become_one_more() -> None:
    """A storm of them is merged: the one under way, and one that sees what all have deployed."""
    hand = Hand().up()
    assert hand.sup.reload()
    assert [hand.sup.reload() for _ in range(3)] == [False] * 3
    assert hand.plan() == [c.Resolve()]
    assert [hand.sup.reload() for _ in range(3)] == [False] * 3
    hand.offer()
    assert not hand.sup.reload()
    hand.settle()
    assert hand.count(c.Resolve) == 2
    assert [it for it in hand.said if isinstance(it, c.Served)] == [c.Served(2), c.Served(3)]


def test_a_reload_during_the_boot_waits_for_it() -> None:
    """There is nothing yet that could serve on."""
    hand = Hand()
    hand.sup.reload()
    said = hand.settle()
    assert said.index(c.Up(1)) < said.index(c.Resolve()) < said.index(c.Served(2))


def test_settings_that_cannot_be_resolved_change_nothing() -> None:
    """What serves, serves on; the next reload begins anew."""
    hand = Hand().up()
    hand.sup.reload()
    hand.plan()
    hand.sup.unresolved()
    assert hand.plan() == []
    assert hand.sup.reload()


def test_a_resolver_that_hangs_is_stopped() -> None:
    """After 30 seconds; whoever asked meanwhile gets a new one."""
    hand = Hand().up()
    hand.sup.reload()
    hand.plan()
    hand.sup.reload()
    assert hand.sup.next_deadline() == hand.now + 30.0
    assert hand.later(29.9) == []
    assert hand.later(0.2) == [c.StopResolving(), c.Resolve()]


def test_a_canary_has_one_try() -> None:
    """It died before READY: the old code serves on and the reason is the answer."""
    hand = Hand().up()
    canary = hand.roll_begins()
    hand.sup.failed(canary, "NameError: name 'x' is not defined")
    hand.sup.died(canary, Death("exited with code 3"), hand.now)
    assert c.RolledBack(2, "NameError: name 'x' is not defined") in hand.plan()
    hand.settle()
    assert hand.serving() == [(0, 1), (1, 1)]
    assert set(hand.sup.generations) == {1}


def test_code_that_hangs_at_its_import_is_rolled_back() -> None:
    """Judged when its time is over, not tried again while it is being killed."""
    hand = Hand().up()
    hand.sup.reload()
    hand.plan()
    hand.offer()
    zygote = hand.plan()[-1]
    assert isinstance(zygote, c.StartZygote)
    hand.forked(zygote.process)
    out = hand.later(10.0)
    assert kinds(out) == [c.Kill, c.RolledBack]
    assert hand.later(0.1) == []
    hand.sup.died(zygote.process, SIGKILL, hand.now)
    assert hand.plan() == [c.Forget(zygote.process)]


def test_words_of_a_process_that_then_hangs_are_kept() -> None:
    """Its own reason says more than that it was late."""
    hand = Hand().up()
    canary = hand.roll_begins()
    hand.forked(canary)
    hand.sup.failed(canary, "ValueError: no")
    hand.later(10.0)
    assert hand.only(c.RolledBack).why == "ValueError: no"


def test_proven_code_is_rolled_back_after_three_strikes() -> None:
    """Its canary served, the next ones die: two more tries, then the old code again."""
    hand = Hand(workers=2).up()
    canary = hand.roll_begins()
    hand.forked(canary)
    hand.sup.ready(canary, hand.now)
    hand.plan()
    for pause in (0.1, 0.2):
        hand.sup.died(hand.only(c.StartWorker).process, SEGV, hand.now)
        hand.plan()
        assert hand.only(c.BackedOff).delay == pause
        hand.later(pause)
    hand.sup.died(hand.only(c.StartWorker).process, SEGV, hand.now)
    assert c.RolledBack(2, "killed by SIGSEGV") in hand.plan()
    assert hand.serving() == [(0, 2), (1, 1)], "the new worker stays until it is replaced"
    hand.settle()
    assert hand.serving() == [(0, 1), (1, 1)]


def test_on_trial_a_later_death_counts_as_well() -> None:
    """Code that dies every two seconds must not keep a roll going for ever."""
    hand = Hand(workers=2).up()
    canary = hand.roll_begins()
    hand.forked(canary)
    hand.sup.ready(canary, hand.now)
    hand.plan()
    hand.now += 2.0
    hand.sup.died(canary, SEGV, hand.now)
    hand.plan()
    assert hand.only(c.BackedOff).generation == 2


def test_a_slot_that_the_candidate_lost_gets_the_old_code() -> None:
    """Whichever comes first serves: the capacity is what counts."""
    hand = Hand(workers=2).up()
    canary = hand.roll_begins()
    hand.obey(hand.only(c.StartWorker))
    hand.plan()
    hand.sup.died(canary, SIGKILL, hand.now)
    starts = [it for it in hand.plan() if isinstance(it, c.StartWorker)]
    assert [(it.slot, it.generation) for it in starts] == [(0, 1)]
    hand.settle()
    assert hand.serving() == [(0, 2), (1, 2)]


@pytest.mark.parametrize("settings", [2, 3])
def test_a_number_scaled_by_hand_outlives_a_reload(settings: int) -> None:
    """Until the settings themselves say another one."""
    hand = Hand(workers=2).up()
    hand.sup.scale(4)
    hand.settle()
    hand.workers = settings
    hand.sup.reload()
    hand.settle()
    assert len(hand.serving()) == (4 if settings == 2 else 3)


@pytest.mark.parametrize("canary_starts", [False, True])
def test_the_last_word_about_the_number_counts(canary_starts: bool) -> None:
    """What is scaled amid a roll-out is newer than its settings, not than the next ones."""
    hand = Hand(workers=2).up()
    hand.workers = 4
    if canary_starts:
        hand.roll_begins()
    else:
        hand.sup.reload()
        hand.plan()
    hand.sup.scale(3)
    hand.settle()
    assert hand.serving() == [(slot, 2) for slot in range(3)]
    hand.workers = 5
    hand.sup.reload()
    hand.settle()
    assert len(hand.serving()) == 5


def test_going_back_goes_back_to_the_number_too() -> None:
    hand = Hand(workers=2)
    hand.limits = Limits(start=10.0, graceful=5.0, settle=300.0)
    hand.up()
    hand.workers = 4
    hand.sup.reload()
    hand.settle()
    hand.sup.scale(3)
    hand.settle()
    assert hand.sup.rollback(hand.now) == 1
    hand.settle()
    assert hand.serving() == [(0, 1), (1, 1)]


# --- mode -----------------------------------------------------------------------------------------


def test_the_mode_is_fixed_by_the_first_start() -> None:
    """New code with a hazard is refused with the reason and the remedy."""
    hand = Hand(start="auto").up()
    hand.hazards = ("a thread at chat.py:3",)
    hand.sup.reload()
    hand.settle()
    why = hand.only(c.RolledBack).why
    assert "a thread at chat.py:3" in why and "--start-fallback allow" in why
    assert len(why.splitlines()) <= 8
    assert hand.serving() == [(0, 1), (1, 1)]
    assert hand.sup.mode == "zygote"


def test_a_change_of_mode_can_be_allowed() -> None:
    """Then the instance goes over to it with the new code."""
    hand = Hand(start="auto").up()
    hand.hazards, hand.may_change_mode = ("a thread at chat.py:3",), True
    hand.sup.reload()
    hand.settle()
    assert hand.serving() == [(0, 2), (1, 2)]
    assert hand.sup.mode == "spawn"
    assert hand.sup.roster.of("zygote") == []


def test_spawn_goes_on_spawning() -> None:
    """Spawn is always right, so an automatic start that had to spawn is asked no more."""
    hand = Hand(start="auto", hazards=("a thread",)).up()
    hand.hazards = ()
    hand.sup.reload()
    hand.settle()
    assert hand.only(c.ModeChosen) == c.ModeChosen(2, "spawn", "as at the first start")
    assert hand.serving() == [(0, 2), (1, 2)]


def test_an_explicit_mode_is_held_against_the_instance_at_once() -> None:
    """Nothing is loaded for it."""
    hand = Hand(start="spawn").up()
    hand.start = "zygote"
    hand.sup.reload()
    hand.settle()
    assert "needs zygote mode" in hand.only(c.RolledBack).why
    assert hand.count(c.StartZygote) == 0


def test_a_zygote_that_loads_after_its_code_has_failed_decides_nothing() -> None:
    """Its word was on its way."""
    hand = Hand(start="auto").up()
    hand.sup.reload()
    hand.plan()
    number = hand.offer()
    zygote = hand.plan()[-1]
    assert isinstance(zygote, c.StartZygote)
    hand.forked(zygote.process)
    hand.later(10.0)  # too late
    assert hand.sup.candidate is None
    hand.sup.loaded(zygote.process, ("hazard",), hand.now)
    assert hand.sup.generations[number].mode == ""


# --- zygotes ------------------------------------------------------------------------------------


def test_a_dead_zygote_is_rebuilt_and_workers_do_not_notice() -> None:
    """One that has lived for a while is no strike."""
    hand = Hand().up()
    zygote = hand.zygote()
    hand.sup.died(zygote.id, SEGV, hand.now)
    assert kinds(hand.plan()) == [c.StartZygote, c.Forget]
    assert hand.serving() == [(0, 1), (1, 1)]


def test_a_zygote_that_keeps_dying_pauses_by_itself() -> None:
    """Its pauses are its own: workers of the generation are not held up by them."""
    hand = Hand().up()
    for pause in (0.1, 0.2, 0.4):
        hand.sup.died(hand.zygote().id, SEGV, hand.now)
        hand.settle()
        hand.sup.died(hand.zygote().id, SEGV, hand.now)
        hand.settle()
        assert hand.only(c.BackedOff).delay == pause
        assert hand.sup.next_deadline() == pytest.approx(hand.now + pause)
        hand.now += pause
        hand.settle()
        hand.now += 2.0
    assert hand.sup.generations[1].pauses.strikes == 0
    # A second one within a pause belongs to the same wave.
    strikes = hand.count(c.BackedOff)
    hand.sup.generations[1].zygote_pauses.not_before = hand.now + 9.0
    hand.sup.failed(hand.zygote().id, "")
    hand.zygote().ready_at = hand.now
    hand.sup.died(hand.zygote().id, SEGV, hand.now)
    hand.settle()
    assert hand.count(c.BackedOff) == strikes


def test_a_deaf_zygote_is_killed_and_rebuilt() -> None:
    """A fork request unanswered for 5 s; the worker that never was is forgotten."""
    hand = Hand().up()
    zygote = hand.zygote()
    hand.sup.died(hand.worker(0).id, SIGKILL, hand.now)
    (start, _) = hand.plan()
    assert isinstance(start, c.StartWorker)
    out = hand.later(5.0)
    assert out[0] == c.Kill(zygote.id) and c.Forget(start.process) in out
    assert "did not answer" in hand.only(c.BackedOff).why
    assert kinds(hand.later(0.1)) == [c.StartZygote]
    hand.sup.died(zygote.id, SIGKILL, hand.now)
    for command in hand.said[-1:]:
        hand.obey(command)
    hand.settle()
    assert hand.serving() == [(0, 1), (1, 1)]


def test_what_a_dying_zygote_had_not_forked_is_lost_with_it() -> None:
    """Only what was asked of that one, and nobody who is born."""
    hand = Hand(workers=4).up()
    first = hand.zygote()
    victims = [hand.worker(slot).id for slot in (0, 1, 2)]
    for process in victims[:2]:
        hand.sup.died(process, SIGKILL, hand.now)
    born, unborn, *_ = (it.process for it in hand.plan() if isinstance(it, c.StartWorker))
    hand.forked(born)
    hand.later(3.0)
    first.step(Event.KILL, hand.now)
    hand.plan()
    hand.obey(hand.only(c.StartZygote))
    hand.sup.died(victims[2], SIGKILL, hand.now)
    hand.plan()
    of_second = hand.only(c.StartWorker).process
    hand.sup.died(first.id, SIGKILL, hand.now)
    assert {c.Forget(unborn), c.Forget(first.id)} <= set(hand.plan())
    assert hand.sup.roster.get(born) is not None
    assert hand.sup.roster.get(of_second) is not None


def test_a_candidate_whose_zygotes_die_is_rolled_back() -> None:
    """Loaded, but it can never fork: three tries, then the caller gets an answer."""
    hand = Hand().up()
    hand.roll_begins()
    for _ in range(3):
        assert hand.sup.candidate == 2
        zygote = next(it for it in hand.sup.roster.of("zygote", 2) if it.alive)
        hand.sup.died(zygote.id, SEGV, hand.now)
        for command in hand.plan() + hand.later(0.4):
            if isinstance(command, c.StartZygote):
                hand.obey(command)
    assert hand.only(c.RolledBack) == c.RolledBack(2, "killed by SIGSEGV")


def test_a_spawned_worker_that_is_never_born_is_given_up() -> None:
    """There is no zygote to blame."""
    hand = Hand(start="spawn")
    hand.plan()
    assert kinds(hand.later(5.0)) == [c.StartWorker, c.Forget]


# --- recycling ------------------------------------------------------------------------------------


def test_workers_that_all_ask_to_leave_go_one_after_the_other() -> None:
    """The next one's replacement starts when the one before has been replaced."""
    hand = Hand(workers=4).up()
    old = [hand.worker(slot).id for slot in range(4)]
    for process in old:
        hand.sup.leaving(process)
        hand.sup.leaving(process)
    for slot in range(4):
        starts = [it for it in hand.plan() if isinstance(it, c.StartWorker)]
        assert [(it.slot, it.generation) for it in starts] == [(slot, 1)]
        assert len(hand.serving()) == 4
        hand.obey(starts[0])
        assert hand.sup.roster.get(old[slot]).state is State.SERVING  # type: ignore[union-attr]
    assert hand.plan() == [c.Drain(old[3], "reload", 5.0)]
    assert [it.process for it in hand.said if isinstance(it, c.Drain)] == old
    hand.settle()
    assert hand.serving() == [(slot, 1) for slot in range(4)]
    assert hand.sup.retirees == []


def test_recycle_takes_one_slot_or_all() -> None:
    """It names who is to go; who starts, or is above n, is no worker to be replaced."""
    hand = Hand(workers=3).up()
    ids = [hand.worker(slot).id for slot in range(3)]
    assert hand.sup.recycle(1) == [ids[1]]
    assert hand.sup.recycle(7) == []
    hand.settle()
    assert [hand.worker(slot).id == ids[slot] for slot in range(3)] == [True, False, True]
    hand.sup.scale(2)
    assert ids[2] not in hand.sup.recycle()
    hand.settle()
    assert len(hand.serving()) == 2


def test_a_reload_takes_the_place_of_a_recycling() -> None:
    """Who waits for his turn while a candidate rolls out is replaced by it, once."""
    hand = Hand(workers=3).up()
    old = hand.sup.recycle()
    hand.sup.reload()
    hand.plan()
    first = hand.only(c.StartWorker)
    hand.offer()
    hand.plan()
    hand.obey(first)
    hand.settle()
    assert hand.serving() == [(slot, 2) for slot in range(3)]
    starts = [it.generation for it in hand.said[-40:] if isinstance(it, c.StartWorker)]
    assert starts.count(2) == 3 and len([it for it in starts if it == 1]) == 3 + 1
    assert all(hand.sup.roster.get(it) is None for it in old)
    assert hand.sup.retirees == []


def test_a_worker_of_the_candidate_that_asks_to_leave_waits_for_the_end_of_the_roll() -> None:
    """Until then its slot could only go back to the old code."""
    hand = Hand(workers=2).up()
    canary = hand.roll_begins()
    hand.forked(canary)
    hand.sup.ready(canary, hand.now)
    hand.sup.leaving(canary)
    hand.settle()
    assert hand.serving() == [(0, 2), (1, 2)]
    assert hand.worker(0).id != canary
    starts = [it.generation for it in hand.said if isinstance(it, c.StartWorker)]
    assert starts == [1, 1, 2, 2, 2]


def test_a_recycling_ends_with_a_stop() -> None:
    """Everybody leaves; nobody is replaced first."""
    hand = Hand(workers=2).up()
    hand.sup.recycle()
    hand.sup.stop(hand.now, 5.0)
    assert not [it for it in hand.settle() if isinstance(it, c.StartWorker)]
    assert hand.only(c.Exit).code == 0


# --- going back -----------------------------------------------------------------------------------


def kept(workers: int = 2) -> Hand:
    """Generation 2 serves, generation 1 is warm."""
    hand = Hand(workers=workers)
    hand.limits = replace(hand.limits, settle=50.0)
    hand.up()
    hand.sup.reload()
    hand.settle()
    assert hand.sup.previous == 1
    hand.now += 2.0
    return hand


def test_a_generation_is_kept_until_the_next_has_settled() -> None:
    """Its zygote stays for so long and is then retired; nothing else wakes anybody."""
    hand = kept()
    (old,) = hand.sup.roster.of("zygote", 1)
    assert hand.sup.next_deadline() == hand.now + 48.0
    assert hand.later(47.0) == []
    assert hand.later(1.0) == [c.Drain(old.id, "reload", 2.0)]
    assert hand.sup.rollback(hand.now) is None
    hand.settle()
    assert set(hand.sup.generations) == {2}


def test_a_rollback_forks_the_old_generation_anew() -> None:
    """Slot by slot from its warm zygote: nothing is resolved and nothing imported."""
    hand = kept()
    begin = len(hand.said)
    assert hand.sup.rollback(hand.now) == 1
    assert hand.sup.rollback(hand.now) == 1, "it is on its way"
    first, start = hand.plan()
    assert first == c.GoesBack(2, 1, "leeward rollback")
    assert isinstance(start, c.StartWorker) and (start.slot, start.generation) == (0, 1)
    hand.settle()
    assert hand.serving() == [(0, 1), (1, 1)]
    said = hand.said[begin:]
    assert c.Served(1) in said
    assert not [it for it in said if isinstance(it, c.Resolve | c.StartZygote)]
    assert hand.sup.rollback(hand.now) is None, "nothing to go back to, and no way forth"
    hand.sup.reload()
    hand.settle()
    assert hand.serving() == [(0, 3), (1, 3)], "a number is never used twice for new code"


def test_nothing_to_go_back_to() -> None:
    """Before anything serves, in the first generation, after `settle` 0, in spawn mode."""
    hand = Hand()
    assert hand.sup.rollback(hand.now) is None
    hand.up()
    assert hand.sup.rollback(hand.now) is None
    hand.sup.reload()
    hand.settle()
    assert (hand.sup.rollback(hand.now), hand.sup.lost) == (None, "settled")
    spawned = Hand(start="spawn")
    spawned.limits = replace(spawned.limits, settle=50.0)
    spawned.up()
    spawned.sup.reload()
    spawned.settle()
    assert (spawned.sup.rollback(spawned.now), spawned.sup.lost) == (None, "spawn")


def test_a_crash_loop_goes_back_by_itself() -> None:
    """The third strike in a row within the settling, and not the first two."""
    hand = kept(workers=1)
    hand.sup.died(hand.worker(0).id, SIGKILL, hand.now)
    hand.settle()  # its replacement is young
    for pause in (0.1, 0.2, 0.4):
        assert hand.count(c.GoesBack) == 0
        hand.sup.died(hand.worker(0).id, SEGV, hand.now)
        hand.settle()
        hand.now += pause
        hand.settle()
    assert hand.only(c.GoesBack) == c.GoesBack(2, 1, "killed by SIGSEGV")
    assert hand.only(c.BackedOff).strikes == 3
    assert hand.serving() == [(0, 1)]


def test_a_crash_loop_does_not_go_back_while_new_code_comes() -> None:
    """A reload under way is likelier the remedy."""
    hand = kept(workers=1)
    hand.sup.reload()
    hand.plan()
    hand.sup.generations[2].pauses.strikes = 2
    hand.sup.generations[2].pauses.last = hand.now
    hand.sup.generations[2].pauses.not_before = hand.now
    hand.worker(0).ready_at = hand.now
    hand.sup.died(hand.worker(0).id, SEGV, hand.now)
    assert c.BackedOff(2, 0.4, 3, "killed by SIGSEGV") in hand.plan()
    assert hand.count(c.GoesBack) == 0
    hand.settle()
    hand.now += 1.0
    hand.settle()
    assert hand.serving() == [(0, 3)]


def refuse(hand: Hand, times: int) -> list[c.Command]:
    """The system lets nothing be made, so many times.  What follows the last one."""
    out: list[c.Command] = []
    for _ in range(times):
        while not (asked := [it for it in hand.sup.roster if not it.pid]):
            due = hand.sup.next_deadline()
            assert due is not None
            hand.now = due
            hand.plan()
        for it in asked:
            hand.sup.died(it.id, UNBORN, hand.now)
        out = hand.plan()
    return out


@pytest.mark.parametrize("role", ["worker", "zygote"])
def test_what_the_system_refuses_is_never_held_against_the_code(role: str) -> None:
    """However often: it pauses, goes on by itself, and no old code comes back for it."""
    hand = kept()
    if role == "worker":
        hand.sup.scale(8)
    else:
        hand.sup.died(hand.sup.roster.of("zygote", 2)[0].id, SIGKILL, hand.now)
    hand.plan()
    assert c.BackedOff(2, 0.4, 3, UNBORN.why) in refuse(hand, 3)
    assert hand.sup.generations[2].start_pauses[2].why == UNBORN.why
    assert c.BackedOff(2, 25.6, 9, UNBORN.why) in refuse(hand, 6)
    generation = hand.sup.generations[2]
    assert (generation.pauses.strikes, generation.zygote_pauses.strikes) == (0, 0)
    hand.later(25.6)
    hand.settle()
    assert len(hand.serving()) == (8 if role == "worker" else 2)
    assert hand.count(c.GoesBack) == 0 and {number for _, number in hand.serving()} == {2}


def test_refused_births_do_not_add_to_crashes() -> None:
    """Two of each are not the third strike."""
    hand = kept(workers=1)
    hand.sup.died(hand.worker(0).id, SIGKILL, hand.now)
    hand.plan()
    refuse(hand, 2)
    for _ in range(2):
        hand.later(0.2)
        hand.settle()
        hand.sup.died(hand.worker(0).id, SEGV, hand.now)
        hand.plan()
    assert hand.only(c.BackedOff).strikes == 2
    hand.now += 1.0
    hand.settle()
    assert hand.serving() == [(0, 2)] and hand.count(c.GoesBack) == 0


def test_a_birth_ends_a_row_of_refusals_and_not_its_pause() -> None:
    """Of four that are asked for at once two come to be: who is missing waits, but not longer."""
    hand = Hand(workers=1).up()
    hand.sup.scale(5)
    hand.plan()
    for wave in range(2):
        asked = [it for it in hand.sup.roster.of("worker") if not it.pid]
        hand.sup.died(asked[0].id, UNBORN, hand.now)
        hand.forked(asked[1].id)
        for it in asked[2:]:
            hand.sup.died(it.id, UNBORN, hand.now)
        assert kinds(hand.plan()).count(c.BackedOff) == 1
        assert hand.only(c.BackedOff) == c.BackedOff(1, 0.1, 1, UNBORN.why)
        assert kinds(hand.later(0.1)) == [c.StartWorker] * (3 - wave)


def test_a_first_start_that_is_refused_gives_up() -> None:
    """After five tries, as one whose workers die without a word."""
    hand = Hand(start="spawn")
    hand.plan()
    end = refuse(hand, 5)[-1]
    assert end == c.Exit(5, f"{UNBORN.why}, 5 times before it was ever ready")


@pytest.mark.parametrize("first", [True, False], ids=["canary", "second"])
def test_a_roll_out_that_is_refused_is_tried_again_and_ends(first: bool) -> None:
    """It goes on as soon as there is room; without, it ends within the start time-out."""
    for frees in (True, False):
        hand = Hand(workers=2).up()
        canary = hand.roll_begins()
        if not first:
            hand.forked(canary)
            hand.sup.ready(canary, hand.now)
            hand.plan()
        begun = hand.now
        assert c.BackedOff(2, 3.2, 6, UNBORN.why) in refuse(hand, 6)
        if frees:
            hand.later(3.2)
            hand.settle()
            assert hand.serving() == [(0, 2), (1, 2)]
            continue
        why = f"{UNBORN.why}, 7 times within 10 s (--start-timeout)"
        assert c.RolledBack(2, why) in refuse(hand, 1)
        assert hand.now <= begun + 10.0
        hand.settle()
        assert hand.serving() == [(0, 1), (1, 1)]


def test_who_is_refused_on_the_way_back_can_be_gone_back_to_later() -> None:
    """Nothing has shown that the old generation fails; a later rollback has all its tries."""
    hand = kept()
    assert hand.sup.rollback(hand.now) == 1
    hand.plan()
    assert c.RolledBack(1, f"{UNBORN.why}, 7 times within 10 s (--start-timeout)") in refuse(
        hand, 7
    )
    assert (hand.sup.previous, hand.sup.lost) == (1, "")
    assert hand.serving() == [(0, 2), (1, 2)]
    assert hand.sup.rollback(hand.now) == 1
    hand.plan()
    assert c.BackedOff(1, 0.1, 1, UNBORN.why) in refuse(hand, 1)
    hand.later(0.1)
    hand.settle()
    assert hand.serving() == [(0, 1), (1, 1)]


def test_without_its_zygote_a_generation_is_not_gone_back_to() -> None:
    """Another zygote would import what stands on the disk now."""
    hand = kept()
    (zygote,) = hand.sup.roster.of("zygote", 1)
    hand.sup.died(zygote.id, SIGKILL, hand.now)
    assert hand.sup.rollback(hand.now) is None
    assert (hand.sup.previous, hand.sup.lost) == (None, "zygote")
    assert hand.plan() == [c.Forget(zygote.id)]
    assert hand.sup.lost == "zygote"


def test_a_zygote_that_ends_on_the_way_back_ends_it() -> None:
    """The new generation serves on."""
    hand = kept()
    hand.sup.rollback(hand.now)
    hand.plan()
    (zygote,) = hand.sup.roster.of("zygote", 1)
    hand.sup.died(zygote.id, SIGKILL, hand.now)
    out = hand.plan()
    assert c.RolledBack(1, "cannot be had again: its zygote has ended") in out
    assert hand.sup.lost == "zygote"
    hand.settle()
    assert hand.serving() == [(0, 2), (1, 2)]


def test_old_code_that_fails_now_is_left_again() -> None:
    """Three strikes, as for any code that was ready once."""
    hand = kept(workers=1)
    hand.sup.rollback(hand.now)
    for _ in range(3):
        hand.now += 1.0
        hand.plan()
        hand.sup.died(hand.only(c.StartWorker).process, SEGV, hand.now)
    assert c.RolledBack(1, "killed by SIGSEGV") in hand.plan()
    assert hand.sup.lost == "failed"
    hand.settle()
    assert hand.serving() == [(0, 2)]


def test_a_rollback_gives_a_reload_up() -> None:
    """While its settings are read, while it rolls out, and while it waits."""
    hand = Hand().up()
    hand.sup.reload()
    hand.sup.reload()
    hand.plan()
    hand.sup.reload()
    assert hand.sup.rollback(hand.now) == 1
    assert hand.plan() == [c.StopResolving("given up: leeward rollback")]
    canary = hand.roll_begins()
    assert hand.sup.rollback(hand.now) == 1
    assert hand.plan()[0] == c.RolledBack(2, "was given up: leeward rollback")
    hand.settle()
    assert hand.sup.roster.get(canary) is None and hand.serving() == [(0, 1), (1, 1)]
    hand.sup.reload()
    assert hand.sup.rollback(hand.now) == 1
    assert hand.settle() == []


def test_a_rollback_gives_up_a_reload_that_waits_for_the_way_back() -> None:
    """The last word counts: what was just left is not rolled out again."""
    hand = kept()
    assert hand.sup.rollback(hand.now) == 1
    hand.plan()
    assert not hand.sup.reload()
    assert hand.sup.rollback(hand.now) == 1
    out = hand.settle()
    assert c.Served(1) in out and c.Resolve() not in out
    assert hand.serving() == [(0, 1), (1, 1)]


# --- resize, leaving, strays ----------------------------------------------------------------------


def test_scaling_starts_and_drains() -> None:
    """Up: new slots.  Down: the highest slots leave; never below one."""
    hand = Hand(workers=1).up()
    hand.sup.scale(3)
    hand.settle()
    assert [slot for slot, _ in hand.serving()] == [0, 1, 2]
    hand.sup.scale(-5)
    assert kinds(hand.plan()) == [c.Drain, c.Drain]
    assert [slot for slot, _ in hand.serving()] == [0]


def test_no_two_workers_of_a_slot_are_the_same_in_number() -> None:
    """A death, a replacement, a reload, another zygote, a slot that goes and comes back."""
    hand = Hand(workers=2).up()
    hand.sup.died(hand.worker(1).id, SEGV, hand.now)
    hand.settle()
    hand.sup.recycle(1)
    hand.settle()
    hand.sup.reload()
    hand.settle()
    hand.sup.scale(1)
    hand.settle()
    hand.sup.died(hand.zygote().id, SIGKILL, hand.now)
    hand.later(60.0)
    hand.sup.scale(3)
    hand.settle()
    starts = [(it.slot, it.ordinal) for it in hand.said if isinstance(it, c.StartWorker)]
    assert sorted(starts) == [(0, 1), (0, 2), *((1, n) for n in range(1, 6)), (2, 1)]


@pytest.mark.parametrize("workers", [1, 4])
def test_scaling_during_a_roll_is_one_thing_with_it(workers: int) -> None:
    """The roll ends with as many as are wanted now."""
    hand = Hand(workers=2).up()
    hand.roll_begins()
    hand.sup.scale(workers)
    hand.obey(hand.only(c.StartWorker))
    hand.settle()
    assert hand.serving() == [(slot, 2) for slot in range(workers)]


def test_a_roll_whose_slot_is_taken_away_goes_on() -> None:
    """A candidate's worker on its way to a slot that is gone leaves."""
    hand = Hand(workers=3).up()
    hand.roll_begins()
    hand.obey(hand.only(c.StartWorker))
    hand.plan()
    coming = hand.only(c.StartWorker)
    assert coming.slot == 1
    hand.forked(coming.process)
    hand.sup.scale(1)
    out = hand.plan()
    assert c.Served(2) in out
    assert c.Drain(coming.process, "reload", 5.0) in out


def test_who_asks_to_leave_is_replaced_first() -> None:
    """It serves until the next one does, then it is drained; that is no failure."""
    hand = Hand(workers=1).up()
    leaver = hand.worker(0)
    hand.sup.leaving(leaver.id)
    (start,) = hand.plan()
    assert isinstance(start, c.StartWorker)
    assert hand.serving() == [(0, 1)]
    hand.obey(start)
    assert hand.plan() == [c.Drain(leaver.id, "reload", 5.0)]
    hand.sup.died(leaver.id, SEGV, hand.now)
    hand.settle()
    assert hand.count(c.BackedOff) == 0


def test_a_drain_has_a_deadline() -> None:
    """Its own time and a margin for its last breath, then SIGKILL, then it is given up."""
    hand = Hand(workers=2).up()
    hand.sup.scale(1)
    (drain,) = hand.plan()
    assert isinstance(drain, c.Drain) and drain.timeout == 5.0
    assert hand.later(5.8) == []
    assert hand.later(0.2) == [c.Kill(drain.process)]
    assert hand.later(4.9) == []
    assert hand.later(0.2) == [c.Forget(drain.process)], "unkillable: its slot does not wait"


# --- aside ----------------------------------------------------------------------------------------


def aside(hand: Hand, slot: int = 0, seconds: float = 60.0) -> Process:
    """Somebody looks at the worker of `slot`."""
    it = hand.sup.set_aside(slot, seconds)
    assert it is not None
    (start,) = hand.plan()
    assert isinstance(start, c.StartWorker) and start.slot == slot
    assert it.state is State.SERVING, "its replacement comes first"
    hand.obey(start)
    assert hand.plan() == [c.Aside(it.id)]
    return it


def test_who_is_set_aside_is_replaced_first_and_stays_for_its_time() -> None:
    """Then it drains as for a reload; nothing is asked of it in between."""
    hand = Hand(workers=2).up()
    it = aside(hand)
    assert hand.serving() == [(0, 1), (1, 1)]
    assert hand.sup.next_deadline() == hand.now + 60.0
    assert hand.later(59.9) == []
    assert hand.later(0.2) == [c.Drain(it.id, "reload", 5.0)]
    assert hand.later(5.9) == [c.Kill(it.id)]


def test_no_limit_ends_who_is_aside() -> None:
    """It grows old and large while somebody looks at it; `leeward kill` and its own end do."""
    hand = Hand(workers=2).up()
    it = aside(hand)
    hand.sup.limit_reached(it.id, "is 10 min old", hand.now)
    assert hand.plan() == []
    hand.sup.leaving(it.id)
    assert kinds(hand.plan()) == [c.Drain]


def test_who_waits_behind_others_for_its_fork_has_its_time_from_their_turn() -> None:
    """One zygote forks 20 workers one after the other: 0.4 s each is 8 s, and nobody is deaf."""
    hand = Hand(workers=20)
    hand.plan()
    hand.obey(hand.only(c.StartZygote))
    hand.plan()
    hand.obey(hand.only(c.StartWorker))  # the first of a generation comes alone
    hand.plan()
    for number in range(19):
        assert not any(isinstance(it, c.Kill) for it in hand.later(0.4))
        waiting = [it for it in hand.sup.roster.of("worker") if it.state is State.SPAWNING]
        assert len(waiting) == 19 - number
        hand.forked(waiting[0].id)
    assert hand.count(c.StartZygote) == 1


def test_a_fork_that_fails_is_an_answer_too() -> None:
    """Those behind it have their time from then on."""
    hand = Hand(workers=4)
    hand.plan()
    hand.obey(hand.only(c.StartZygote))
    hand.plan()
    hand.obey(hand.only(c.StartWorker))
    hand.plan()
    first, *others = [it for it in hand.sup.roster.of("worker") if it.state is State.SPAWNING]
    hand.now += 3.0
    hand.sup.died(first.id, UNBORN, hand.now)
    assert [it.deadline for it in others] == [hand.now + 5.0] * 2


def test_one_of_a_slot_is_aside_at_a_time() -> None:
    """From the request on, until it drains; a slot that is not there has none."""
    hand = Hand(workers=2).up()
    first = hand.sup.set_aside(0, 60.0)
    assert first is not None
    assert hand.sup.is_aside(0) is first and hand.sup.set_aside(0, 60.0) is None
    hand.obey(hand.plan()[0])  # type: ignore[arg-type]
    hand.plan()
    assert hand.sup.is_aside(0) is first and hand.sup.set_aside(0, 60.0) is None
    aside(hand, slot=1)
    assert hand.sup.set_aside(2, 60.0) is None
    hand.later(60.0)
    assert hand.sup.is_aside(0) is None and hand.sup.set_aside(0, 60.0) is not None


def test_who_starts_cannot_be_set_aside() -> None:
    """There is nothing to look at yet."""
    hand = Hand(workers=1)
    hand.plan()
    assert hand.sup.set_aside(0, 60.0) is None


def test_whoever_dies_aside_is_held_against_nobody() -> None:
    """Not even within a second of its READY, and its slot has somebody else."""
    hand = Hand(workers=1).up()
    it = aside(hand)
    it.ready_at = hand.now
    hand.sup.died(it.id, SEGV, hand.now)
    assert hand.plan() == [c.Forget(it.id)]


def test_term_lets_the_one_that_is_aside_go() -> None:
    """Somebody has seen enough."""
    hand = Hand(workers=1).up()
    it = aside(hand)
    hand.sup.leaving(it.id)
    assert hand.plan() == [c.Drain(it.id, "reload", 5.0)]


def test_reloads_and_scaling_leave_the_one_that_is_aside_alone() -> None:
    """Only its time, somebody's signal and a stop end it."""
    hand = Hand(workers=2).up()
    it = aside(hand, slot=1)
    hand.sup.reload()
    while hand.sup.serving != 2:
        hand.plan()
        if hand.sup.resolving is not None:
            hand.offer()
        for other in hand.sup.roster:
            if other is not it and other.state is not State.SERVING:
                hand.turn_out_well(other)
    hand.sup.scale(1)
    hand.plan()
    assert it.state is State.ASIDE
    hand.sup.stop(hand.now, 3.0)
    assert c.Drain(it.id, "stop", 3.0) in hand.plan()


def test_a_slot_that_is_taken_away_needs_no_replacement() -> None:
    """Who waited to be set aside is, at once."""
    hand = Hand(workers=2).up()
    it = hand.sup.set_aside(1, 60.0)
    assert it is not None
    hand.sup.scale(1)
    assert hand.plan() == [c.Aside(it.id)]
    assert hand.sup.set_aside(1, 60.0) is None


def test_a_stop_and_the_end_of_its_time_are_one_drain() -> None:
    """Both in one moment: the stop is told, once."""
    hand = Hand(workers=1).up()
    it = aside(hand)
    hand.now += 60.0
    hand.sup.stop(hand.now, 3.0)
    assert [out for out in hand.plan() if getattr(out, "process", 0) == it.id] == [
        c.Drain(it.id, "stop", 3.0)
    ]


def test_a_roll_out_sets_aside_whom_it_replaces() -> None:
    """The new code is the replacement."""
    hand = Hand(workers=1).up()
    hand.roll_begins()
    it = hand.sup.set_aside(0, 60.0)
    assert it is not None
    hand.obey(hand.only(c.StartWorker))
    out = hand.plan()
    assert c.Aside(it.id) in out and hand.serving() == [(0, 2)]


# --- lingering ------------------------------------------------------------------------------------


def reload_beside(hand: Hand) -> list[c.Command]:
    """A reload whose old workers do not end.  Returns what was asked for."""
    begin = len(hand.said)
    hand.sup.reload()
    before = hand.sup.serving
    while hand.sup.serving == before:
        hand.plan()
        if hand.sup.resolving is not None:
            hand.offer()
        for it in hand.sup.roster:
            if it.state in (State.SPAWNING, State.STARTING):
                hand.turn_out_well(it)
    hand.plan()
    return hand.said[begin:]


def test_old_generations_that_linger_are_few() -> None:
    """Two may drain for their whole time; with the third the oldest gets five seconds."""
    hand = Hand(workers=2)
    hand.limits = replace(hand.limits, graceful=1000.0, lingering=2)
    hand.sup.generations[1].limits = hand.limits
    hand.up()
    old = [it.id for it in hand.sup.roster.of("worker", 1)]
    for _ in range(2):
        assert not [it for it in reload_beside(hand) if isinstance(it, c.Hurried)]
        hand.now += 1.0
    out = reload_beside(hand)
    assert c.Hurried(1, 2, 5.0) in out
    stops = [it for it in out if isinstance(it, c.Drain) and it.reason == "stop"]
    assert stops == [c.Drain(id, "stop", 5.0) for id in old]
    assert not [it for it in hand.later(5.0) if getattr(it, "process", 0) in old]
    assert {c.Kill(id) for id in old} <= set(hand.later(1.0))


def test_who_has_less_time_left_is_given_no_more() -> None:
    """Five seconds at most."""
    hand = Hand(workers=1)
    hand.limits = replace(hand.limits, graceful=4.0, lingering=1)
    hand.sup.generations[1].limits = hand.limits
    hand.up()
    reload_beside(hand)
    hand.now += 3.0
    (stop,) = [it for it in reload_beside(hand) if isinstance(it, c.Drain) and it.reason == "stop"]
    assert stop.timeout == pytest.approx(1.0)


# --- strays ---------------------------------------------------------------------------------------


def test_a_stray_gets_term_and_then_kill() -> None:
    """What a dead worker's application left behind may finish for two seconds."""
    hand = Hand().up()
    dead = hand.worker(0)
    hand.sup.died(dead.id, SIGKILL, hand.now)
    stray = hand.sup.stray(4711, dead, hand.now)
    assert c.Drain(stray, "stop", 2.0) in hand.plan()
    assert c.Kill(stray) in hand.later(2.0)
    hand.sup.died(stray, SIGKILL, hand.now)
    assert c.Forget(stray) in hand.plan()


def test_a_stray_during_a_stop_has_no_more_time_than_the_stop() -> None:
    """Or none at all."""
    hand = Hand(workers=1).up()
    worker = hand.worker(0)
    hand.sup.stop(hand.now, 1.0)
    hand.plan()
    hand.sup.died(worker.id, EXIT_0, hand.now)
    assert c.Drain(hand.sup.stray(4711, worker, hand.now), "stop", 1.0) in hand.plan()
    hand.now += 1.5
    late = hand.sup.stray(4712, worker, hand.now)
    assert {c.Drain(late, "stop", 0.0), c.Kill(late)} <= set(hand.plan())


# --- stop -----------------------------------------------------------------------------------------


def test_a_stop_drains_everything_and_exits_once() -> None:
    """Workers have the whole time, the zygote needs none; nothing is started any more."""
    hand = Hand(workers=2).up()
    assert hand.sup.stop(hand.now, 25.0)
    out = hand.plan()
    assert kinds(out) == [c.Drain] * 3
    assert {it.timeout for it in out if isinstance(it, c.Drain)} == {2.0, 25.0}
    hand.sup.died(hand.sup.roster.of("worker")[0].id, SEGV, hand.now)
    assert kinds(hand.plan()) == [c.Forget]
    for it in hand.sup.roster:
        hand.sup.died(it.id, EXIT_0, hand.now)
    assert hand.plan()[-1] == c.Exit(0, "stopped")
    assert hand.later(100.0) == []


def test_a_stop_during_a_reload_ends_that_too() -> None:
    """The resolver is stopped, the candidate goes with the others."""
    hand = Hand().up()
    hand.sup.reload()
    hand.plan()
    hand.sup.stop(hand.now, 5.0)
    assert hand.plan()[0] == c.StopResolving()
    assert hand.sup.next_deadline() is not None
    hand.settle()
    assert hand.only(c.Exit) == c.Exit(0, "stopped")


def test_the_earlier_and_the_sharper_stop_win() -> None:
    """Drains are told again only when they become shorter; a kill ends all waiting."""
    hand = Hand(workers=1, start="spawn").up()
    worker = hand.worker(0).id
    assert hand.sup.stop(hand.now, 10.0)
    assert hand.plan() == [c.Drain(worker, "stop", 10.0)]
    assert not hand.sup.stop(hand.now, 20.0)
    assert hand.plan() == []
    assert hand.sup.stop(hand.now, 3.0)
    assert hand.plan() == [c.Drain(worker, "stop", 3.0)]
    assert hand.sup.stop(hand.now, 99.0, kill=True)
    assert hand.plan() == [c.Kill(worker)]
    assert not hand.sup.stop(hand.now, 0.0)
    assert not hand.sup.stop(hand.now, 0.0, kill=True)
    assert hand.plan() == []


def test_a_stop_kills_a_zygote_that_imports_and_asks_one_that_forks() -> None:
    """The first reads no channel until it is done, and has nothing to lose."""
    hand = Hand(workers=1).up()
    loaded = hand.zygote()
    hand.offer()
    hand.plan()
    (importing,) = (it for it in hand.sup.roster.of("zygote") if it is not loaded)
    hand.sup.stop(hand.now, 25.0)
    out = hand.plan()
    assert [it for it in out if isinstance(it, c.Kill)] == [c.Kill(importing.id)]
    assert c.Drain(loaded.id, "stop", 2.0) in out


def test_a_stop_does_not_lengthen_a_drain() -> None:
    """Who was told to leave within 5 s before is not given 25 s now."""
    hand = Hand(workers=2).up()
    leaver = hand.worker(1).id
    hand.sup.scale(1)
    hand.plan()
    hand.now += 2.0
    hand.sup.stop(hand.now, 25.0)
    assert c.Drain(leaver, "stop", 3.0) in hand.plan()


def test_a_stop_without_time_asks_workers_only() -> None:
    """They have a margin for their last breath; the zygote is simply killed."""
    hand = Hand(workers=1).up()
    worker, zygote = hand.worker(0).id, hand.zygote().id
    hand.sup.stop(hand.now, 0.0)
    assert hand.plan() == [c.Kill(zygote), c.Drain(worker, "stop", 0.0)]


def test_a_start_that_hangs_during_a_stop_fails_nothing() -> None:
    """It was to go anyway."""
    hand = Hand(workers=1, start="spawn")
    hand.plan()
    hand.forked(1)
    hand.sup.stop(hand.now, 25.0)
    hand.plan()
    assert hand.later(26.0) == [c.Kill(1)]
    hand.sup.died(1, SIGKILL, hand.now)
    assert hand.plan() == [c.Forget(1), c.Exit(0, "stopped")]


def test_who_was_sent_away_unborn_is_told_again_when_it_is_born() -> None:
    """No signal could reach it before it had a pid."""
    hand = Hand(workers=1)
    hand.obey(hand.plan()[-1])
    worker = hand.plan()[-1]
    assert isinstance(worker, c.StartWorker)
    hand.sup.stop(hand.now, 2.0)
    hand.plan()
    hand.now += 0.5
    hand.forked(worker.process)
    assert hand.plan() == [c.Drain(worker.process, "stop", 1.5)]
    hand.forked(worker.process)
    assert hand.plan() == [], "its birth is told twice, but it is only born once"


def test_who_was_killed_unborn_is_killed_when_it_is_born() -> None:
    """And a stop made sharper in the same moment says it once."""
    hand = Hand(workers=1)
    hand.obey(hand.plan()[-1])
    worker = hand.plan()[-1]
    assert isinstance(worker, c.StartWorker)
    hand.sup.stop(hand.now, 9.0)
    hand.plan()
    hand.sup.stop(hand.now, 8.0)
    hand.forked(worker.process)
    assert c.Drain(worker.process, "stop", 8.0) in hand.plan()
    hand = Hand(workers=1)
    hand.obey(hand.plan()[-1])
    hand.plan()
    hand.sup.stop(hand.now, 0.0, kill=True)
    assert c.Kill(worker.process) in hand.plan()
    hand.forked(worker.process)
    assert hand.plan() == [c.Kill(worker.process)]


# --- late and lost words -----------------------------------------------------------------------


def test_words_about_nobody_change_nothing() -> None:
    """A forgotten process, or one that just died: its last words are read and dropped."""
    hand = Hand().up()
    dead = hand.worker(0).id
    hand.sup.died(dead, SIGKILL, hand.now)
    for process in (dead, 9999):
        hand.sup.forked(process, 1, hand.now)
        hand.sup.loaded(process, (), hand.now)
        hand.sup.ready(process, hand.now)
        hand.sup.failed(process, "too late")
        hand.sup.leaving(process)
        hand.sup.died(process, SEGV, hand.now)
    assert kinds(hand.plan()) == [c.StartWorker, c.Forget]


def test_ready_after_drain_serves_nobody() -> None:
    """It was on its way when the drain was sent."""
    hand = Hand(workers=1)
    hand.obey(hand.plan()[-1])
    worker = hand.plan()[-1]
    assert isinstance(worker, c.StartWorker)
    hand.forked(worker.process)
    hand.sup.stop(hand.now, 5.0)
    hand.plan()
    hand.sup.ready(worker.process, hand.now)
    assert hand.plan() == []
    assert hand.serving() == [] and hand.count(c.Up) == 0


def test_a_clock_that_jumps_an_hour_kills_nobody_who_serves() -> None:
    """Only what has a deadline is late; serving has none."""
    hand = Hand().up()
    assert hand.later(3600.0) == []
    assert hand.serving() == [(0, 1), (1, 1)]


def test_a_worker_of_code_that_is_past_does_not_pause_it() -> None:
    """Failed code has failed already."""
    hand = Hand(workers=2).up()
    canary = hand.roll_begins()
    hand.obey(hand.only(c.StartWorker))
    hand.plan()
    hand.sup._fail_candidate("somehow")
    hand.plan()
    hand.sup.died(canary, SEGV, hand.now)
    hand.settle()
    assert hand.count(c.BackedOff) == 0
    assert hand.serving() == [(0, 1), (1, 1)]


def test_limits_are_those_of_the_generation() -> None:
    """A reload may change them for its own workers only."""
    hand = Hand(workers=1).up()
    hand.limits = Limits(start=1.0, graceful=77.0)
    hand.sup.reload()
    hand.settle()
    assert hand.worker(0).limits.graceful == 77.0
    drains = [it for it in hand.said if isinstance(it, c.Drain) and it.timeout == 5.0]
    assert len(drains) == 1, "the old worker had its own 5 s"
    assert hand.worker(0).state is State.SERVING


# --- limits and the condemned ----------------------------------------------------------------


def test_a_worker_that_reaches_a_limit_is_replaced_like_one_that_asks() -> None:
    """Of age: at once, the replacement before the drain, and nobody rests."""
    hand = Hand(workers=2).up()
    old = hand.worker(0)
    hand.sup.limit_reached(old.id, "answered 1000 requests", hand.now)
    (start,) = hand.plan()
    assert isinstance(start, c.StartWorker) and start.slot == 0
    assert not old.told
    hand.settle()
    assert hand.worker(0) is not old and hand.count(c.Rests) == 0


def test_limits_that_are_reached_at_once_do_not_spin() -> None:
    """--max-requests 1 under load: births become rare, nothing counts as crash, all serve on."""
    hand = Hand(workers=4).up()
    hand.settle()
    began = hand.now
    births = hand.count(c.StartWorker)
    asked: set[int] = set()
    while hand.now < began + 60.0:
        for it in hand.sup.roster.of("worker"):
            if it.state is State.SERVING and it.id not in asked:
                asked.add(it.id)
                hand.sup.limit_reached(it.id, "answered 1 request", hand.now)
        hand.settle()
        assert len(hand.serving()) == 4
        hand.now += 0.02
    # In one a second of 4 slots: 4 for each of the pauses 0.1, 0.2 … 25.6 s and the first.
    assert 20 <= hand.count(c.StartWorker) - births <= 48
    assert 8 <= hand.count(c.Rests) <= 10
    assert hand.count(c.BackedOff) == 0 and hand.sup.generations[1].pauses.strikes == 0


@pytest.mark.parametrize("what", ["a pause", "a rest"])
def test_what_ends_on_the_way_to_sleep_is_not_missed(what: str) -> None:
    """The machine is busy: it is over by the time that somebody asks until when to sleep."""
    hand = Hand(start="spawn")
    if what == "a pause":
        hand.plan()
        hand.sup.died(hand.only(c.StartWorker).process, SEGV, hand.now)
    else:
        hand.settle()
        hand.sup.limit_reached(hand.worker(0).id, "has 300 MiB of memory", hand.now)
    hand.plan()
    end = hand.now + 0.1
    hand.now += 5.0
    assert hand.sup.next_deadline() == pytest.approx(end)
    assert c.StartWorker in kinds(hand.plan())
    assert hand.sup.next_deadline() != pytest.approx(end), "seen, and over"


def test_a_rest_ends_by_itself() -> None:
    """`next_deadline` knows when; until then only those who died are replaced."""
    hand = Hand(workers=2)
    hand.settle()
    young = hand.worker(0)
    hand.sup.limit_reached(young.id, "has 300 MiB of memory", hand.now)
    (rests,) = hand.plan()
    assert rests == c.Rests(1, 0.1, "has 300 MiB of memory")
    assert hand.sup.next_deadline() == hand.now + 0.1
    other = hand.worker(1)
    hand.sup.died(other.id, SIGKILL, hand.now)
    assert {type(it) for it in hand.plan()} == {c.Forget, c.StartWorker}
    hand.settle()
    assert hand.worker(0) is young
    (start,) = hand.later(0.1)
    assert isinstance(start, c.StartWorker) and start.slot == 0


def test_who_is_gone_reaches_no_limit() -> None:
    """Its word was on its way; and during a stop nobody rests."""
    hand = Hand(workers=1).up()
    old = hand.worker(0)
    hand.sup.died(old.id, SIGKILL, hand.now)
    hand.sup.limit_reached(old.id, "late", hand.now)
    hand.plan()
    assert not hand.sup.retirees
    hand = Hand(workers=1)
    hand.settle()
    hand.sup.stop(hand.now, 5.0)
    hand.sup.limit_reached(hand.worker(0).id, "late", hand.now)
    hand.plan()
    assert hand.count(c.Rests) == 0


def test_a_condemned_worker_is_killed_and_its_slot_filled_at_once() -> None:
    """Of age: no strike; the reason is its failure."""
    hand = Hand(workers=2).up()
    stuck = hand.worker(0)
    hand.sup.condemn(stuck.id, "its loop has not turned for 300 s", hand.now)
    kill, start = hand.plan()
    assert kill == c.Kill(stuck.id)
    assert isinstance(start, c.StartWorker) and start.slot == 0
    assert stuck.failure == "its loop has not turned for 300 s"
    hand.sup.condemn(stuck.id, "again", hand.now)
    assert hand.plan() == []
    hand.sup.died(stuck.id, SIGKILL, hand.now)
    hand.settle()
    assert hand.serving() == [(0, 1), (1, 1)] and hand.count(c.BackedOff) == 0
    hand.sup.condemn(stuck.id, "long gone", hand.now)
    assert hand.plan() == []


def test_a_condemned_newborn_is_a_strike() -> None:
    """Code that blocks for ever as soon as it serves would be born for ever."""
    hand = Hand(workers=1)
    hand.settle()
    hand.sup.condemn(hand.worker(0).id, "its loop has not turned for 1 s", hand.now)
    hand.plan()
    assert hand.only(c.BackedOff).why == "its loop has not turned for 1 s"


def test_a_condemned_worker_of_a_candidate_speaks_against_it() -> None:
    """However old it is; the canary that was stopped before it was ready too."""
    hand = Hand(workers=1).up()
    canary = hand.roll_begins()
    hand.forked(canary)
    hand.sup.condemn(canary, "stopped by SIGSTOP for 30 s", hand.now)
    hand.plan()
    assert hand.only(c.RolledBack).why == "stopped by SIGSTOP for 30 s"
    assert hand.serving() == [(0, 1)]


def test_a_first_worker_that_was_stopped_is_tried_again() -> None:
    """Somebody's SIGSTOP is no reason to give up at once, as an import that raises is."""
    hand = Hand(workers=1)
    hand.plan()
    hand.obey(hand.only(c.StartZygote))
    hand.plan()
    first = hand.only(c.StartWorker)
    hand.forked(first.process)
    hand.sup.condemn(first.process, "stopped by SIGSTOP for 30 s", hand.now)
    hand.plan()
    assert hand.only(c.BackedOff).why == "stopped by SIGSTOP for 30 s"
    hand.sup.died(first.process, SIGKILL, hand.now)
    hand.now += 1.0
    hand.settle()
    assert hand.serving() == [(0, 1)]


# --- leeward set ----------------------------------------------------------------------------


def test_other_limits_hold_for_whoever_lives_already() -> None:
    """A worker that was born with 25 s to drain has 3 now, and the generation's next one too."""
    hand = Hand(workers=1).up()
    (worker,) = hand.sup.roster.of("worker")
    limits = replace(worker.limits, graceful=3.0)
    hand.sup.tune(1, limits)
    assert hand.sup.generations[1].limits == worker.limits == limits
    hand.sup.tune(1, replace(limits, graceful=4.0))
    assert worker.limits.graceful == 4.0


def test_other_limits_are_one_generations() -> None:
    hand = Hand(workers=1).up()
    before = hand.sup.generations[1].limits
    number = hand.sup.offer(limits=before, start="zygote", may_change_mode=False, workers=1)
    hand.sup.tune(number, replace(before, settle=1.0))
    assert hand.sup.generations[1].limits == before
    assert all(it.limits == before for it in hand.sup.roster.of("worker", 1))
