"""Do the workers' loops turn?  Readings and the time in, findings out.

A worker's row of the shared page says since when its loop has been in one turn
(`busy_since`, 0 while it sleeps).  Who is in one turn for longer than `warn` is
*stalled*.  A sleeping loop is never stalled, and is never woken to prove it.

    busy for `warn` ─ Ask ─ its stack, or the time for it ─ Blocked ─┬─ it turns: TurnsAgain
                                                                     └─ `kill`: Ask ─ Condemn

Whom it is asked first is the interpreter, between two of its steps.  A worker that takes none,
because it stands in a C call, is asked once more, in a way that waits for nobody (`in_c`).  Not
before: what that way reads may be half made while steps are taken, and the worker crash.

How often one must look (`next_look`): every `TICK` while somebody was busy at the last
look, else not at all.  Then the workers ring when they wake (`awake` tells them whether
that is wanted), and no wake-up is lost between the two: who was idle at one look is
looked at once more a tick later, `awake` cleared before, and only then may one sleep.  A
worker writes that it is busy and reads the flag; we clear the flag and read that it is
busy.  At once after another both could read the old value (a store may wait in the
processor's buffer); a tick is a million times longer than it waits there.

A worker that is *stopped* (SIGSTOP) is not stalled; it has a deadline of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from leeward._core.record import Record, Struct, field

#: Seconds between two looks while anybody is busy.
TICK = 0.1
#: Seconds after which a stack that was asked for is looked for: it takes a millisecond ...
SOON = 0.02
#: ... or does not come, when the kernel does not let the process go.
PATIENCE = 0.3
#: So many seconds its main thread has worked since it was asked, and has not answered: a step
#: of Python takes microseconds, so it takes none.
UNMOVED = 0.05
#: Seconds between two stalls of one slot that are told.
QUIET = 1.0
#: Processor time is compared over this many seconds (the kernel counts it in 10 ms), and
#: more than this part of them is work.
WINDOW = 0.5
WORKS = 0.05
#: Seconds between two beats of a loop that does not tell its turns (`_worker/turns.py`):
#: `busy_since` may be so much too old.
BEAT = 0.1


class Bounds(Record):
    """What a generation's settings say, in seconds; 0: never."""

    warn: float = 0.25
    kill: float = 0.0
    #: Kill it although it burns CPU.
    kill_working: bool = False
    stopped: float = 30.0


class Pulse(Record):
    """A worker's row, and where it belongs.

    since:  monotonic seconds, 0 while its loop sleeps.
    beats:  `since` is written by a timer.
    """

    slot: int
    since: float
    turns: int
    beats: bool
    bounds: Bounds


class Details(Record):
    """What costs system calls to know, of those whom `suspects` has named.

    cpu:      processor seconds of all its threads; None if they cannot be told.
    traced:   a debugger is attached.
    waits:    it stands in epoll_wait; None if that cannot be told.
    written:  the stack that was asked for is there.
    main:     processor seconds of its main thread; None if they cannot be told.
    asleep:   its main thread sleeps in the kernel.
    """

    cpu: float | None
    traced: bool = False
    waits: bool | None = False
    written: bool = False
    main: float | None = None
    asleep: bool = False


class Ask(Record):
    """Have it write its stack.  in_c: it takes no step of Python."""

    worker: int
    in_c: bool = False


class Blocked(Record):
    """Tell that its loop does not turn, and where it is by the stack that was asked for.

    over:  it turned in the meantime.  more: stalls of its slot that were not told.
    """

    worker: int
    seconds: float
    over: bool
    more: int


class TurnsAgain(Record):
    worker: int
    seconds: float


class More(Record):
    """So many more stalls of a slot that were not told one by one."""

    slot: int
    count: int


class Condemn(Record):
    """Kill it."""

    worker: int
    why: str


Finding = Ask | Blocked | TurnsAgain | More | Condemn


class _Stall(Struct):
    """One turn that lasts too long.

    stage:  asked (for the stack) → told → sentenced (asked once more) → condemned;
            unsaid: one too many of its slot in this second, or nobody wants to be told.
    """

    began: float
    stage: str
    since: float  # when the stage began
    cpu: float | None
    cpu_at: float
    working: bool = True  # until a whole window says otherwise
    #: Its main thread's processor time when it was asked, and whether it was asked twice.
    main: float | None = None
    twice: bool = False

    def compare(self, cpu: float | None, now: float) -> None:
        """Was the last window spent working?"""
        spent = now - self.cpu_at
        if spent < WINDOW:
            return
        known = cpu is not None and self.cpu is not None
        self.working = not known or (cpu or 0.0) - (self.cpu or 0.0) > WORKS * spent
        self.cpu, self.cpu_at = cpu, now

    def enter(self, stage: str, now: float, main: float | None = None) -> None:
        self.stage, self.since, self.main, self.twice = stage, now, main, False

    def stands_in_c(self, seen: Details, now: float) -> bool:
        """It was asked, and takes no step in which it could answer."""
        if seen.asleep:
            return now - self.since >= SOON
        known = seen.main is not None and self.main is not None
        return known and (seen.main or 0.0) - (self.main or 0.0) >= UNMOVED

    def answered(self, details: Details, now: float) -> bool:
        """Is the stack there, or is it waited for no more?"""
        return details.written or now - self.since >= PATIENCE


class _Life(Struct):
    turns: int = 0
    stall: _Stall | None = None
    stopped: str = ""  # by which signal
    stopped_at: float = 0.0
    condemned_by: float | None = None
    #: A turn does not grow older while its process is stopped.
    continued_at: float = 0.0


class _Slot(Struct):
    told_at: float = float("-inf")
    more: int = 0  # stalls that were not told
    asked: bool = False  # for the stack of one that will be


class Vitals(Struct):
    """awake: do we look by ourselves?  For the head of the shared page."""

    awake: bool = True
    _next: float | None = 0.0
    _lives: dict[int, _Life] = field(default_factory=dict)
    _slots: dict[int, _Slot] = field(default_factory=dict)

    # --- what happens -----------------------------------------------------------------

    def rung(self, now: float) -> None:
        """A worker has woken while we slept."""
        self.awake, self._next = True, now

    def stopped(self, worker: int, signal: str, bounds: Bounds, now: float) -> None:
        """Its process was stopped."""
        life = self._life(worker)
        life.stopped, life.stopped_at, life.stall = signal, now, None
        life.condemned_by = now + bounds.stopped if bounds.stopped else None

    def continued(self, worker: int, now: float) -> float | None:
        """It goes on.  For how long it was stopped, None if it was not."""
        life = self._life(worker)
        if not life.stopped:
            return None
        life.stopped, life.condemned_by, life.continued_at = "", None, now
        self.rung(now)  # it may be in the middle of a turn, and rings at the next only
        return now - life.stopped_at

    def next_look(self) -> float | None:
        """When `look` must be called, None to sleep until somebody rings."""
        told = (it for it in self._slots.values() if it.more and not it.asked)
        times = [it.told_at + QUIET for it in told]
        times += [it.condemned_by for it in self._lives.values() if it.condemned_by is not None]
        times += [] if self._next is None else [self._next]
        return min(times, default=None)

    # --- looking ------------------------------------------------------------------------

    def suspects(self, now: float, pulses: Mapping[int, Pulse]) -> list[int]:
        """Whose details `look` wants to see."""
        return [worker for worker, it in pulses.items() if self._suspect(worker, it, now)]

    def look(
        self, now: float, pulses: Mapping[int, Pulse], details: Mapping[int, Details]
    ) -> list[Finding]:
        """What is to be done or told.  pulses: of all workers that live."""
        self._lives = {it: life for it, life in self._lives.items() if it in pulses}
        slots = {it.slot for it in pulses.values()}
        self._slots = {it: slot for it, slot in self._slots.items() if it in slots}
        found: list[Finding] = []
        for worker, pulse in pulses.items():
            life = self._life(worker)
            found += self._turned(worker, life, pulse, now)
            if worker in details:
                seen = details[worker]
                if life.stopped:
                    found += self._stays_stopped(worker, life, pulse, seen, now)
                elif not pulse.beats or seen.waits is False:
                    found += self._stalled(worker, life, pulse, seen, now)
        for number, slot in self._slots.items():
            # Whoever is about to be told of says it too.
            stalls = (life.stall for it, life in self._lives.items() if pulses[it].slot == number)
            slot.asked = any(it is not None and it.stage == "asked" for it in stalls)
            if slot.more and not slot.asked and now >= slot.told_at + QUIET:
                found.append(More(number, slot.more))
                slot.more, slot.told_at = 0, now
        self._plan_next(now, pulses)
        return found

    def _plan_next(self, now: float, pulses: Mapping[int, Pulse]) -> None:
        busy = any(it.since and not self._life(w).stopped for w, it in pulses.items())
        if busy:
            stages = {it.stall.stage for it in self._lives.values() if it.stall}
            waits = stages & {"asked", "sentenced"}
            self.awake, self._next = True, now + (SOON if waits else TICK)
        elif self.awake:
            self.awake, self._next = False, now + TICK  # once more, see above
        else:
            self._next = None

    def _life(self, worker: int) -> _Life:
        return self._lives.setdefault(worker, _Life())

    def _suspect(self, worker: int, it: Pulse, now: float) -> bool:
        life = self._life(worker)
        if life.stopped:
            return life.condemned_by is not None and now >= life.condemned_by
        bounds = [bound for bound in (it.bounds.warn, it.bounds.kill) if bound]
        if not it.since or not bounds:
            return False
        grace = BEAT if it.beats else 0.0
        return now - max(it.since, life.continued_at) >= min(bounds) + grace

    def _turned(self, worker: int, life: _Life, pulse: Pulse, now: float) -> Iterator[Finding]:
        """Is the turn over that was stalled?"""
        turned, life.turns = pulse.turns != life.turns or not pulse.since, pulse.turns
        stall = life.stall
        if stall is None or not turned:
            return
        life.stall = None
        slot, seconds = self._slots[pulse.slot], now - stall.began
        if not pulse.bounds.warn:
            return
        if stall.stage == "unsaid":
            slot.more += seconds >= pulse.bounds.warn
            return
        if stall.stage == "asked":
            yield Blocked(worker, seconds, True, slot.more)
            slot.more = 0
        else:
            yield TurnsAgain(worker, seconds)
        slot.told_at = now

    def _stalled(
        self, worker: int, life: _Life, pulse: Pulse, seen: Details, now: float
    ) -> Iterator[Finding]:
        slot = self._slots.setdefault(pulse.slot, _Slot())
        stall = life.stall
        if stall is None:
            began = max(pulse.since, life.continued_at)
            stall = life.stall = _Stall(began, "unsaid", now, seen.cpu, now)
        stall.compare(seen.cpu, now)
        seconds = now - stall.began
        late = bool(pulse.bounds.warn) and seconds >= pulse.bounds.warn
        if stall.stage == "unsaid" and late and now >= slot.told_at + QUIET:
            slot.told_at = now
            stall.enter("asked", now, seen.main)
            if not seen.traced:  # a debugger would stop it at our signal
                yield Ask(worker)
                return
        if stall.stage in ("asked", "sentenced") and self._must_ask_twice(stall, seen, now):
            stall.twice, stall.since = True, now
            yield Ask(worker, in_c=True)
        elif stall.stage == "asked" and (seen.traced or stall.answered(seen, now)):
            yield Blocked(worker, seconds, False, slot.more)
            stall.enter("told", now)
            slot.told_at, slot.more = now, 0
        elif stall.stage == "sentenced" and stall.answered(seen, now):
            yield Condemn(worker, f"its loop has not turned for {seconds:.0f} s (--stall-kill)")
            stall.enter("condemned", now)
        elif stall.stage in ("told", "unsaid") and self._must_end(stall, pulse, seen, now):
            yield Ask(worker)
            stall.enter("sentenced", now, seen.main)

    @staticmethod
    def _must_ask_twice(stall: _Stall, seen: Details, now: float) -> bool:
        answered = seen.written or seen.traced or stall.twice
        return not answered and stall.stands_in_c(seen, now)

    @staticmethod
    def _must_end(stall: _Stall, pulse: Pulse, seen: Details, now: float) -> bool:
        kill = pulse.bounds.kill
        if not kill or now - stall.began < kill or seen.traced:
            return False
        return pulse.bounds.kill_working or not stall.working

    def _stays_stopped(
        self, worker: int, life: _Life, pulse: Pulse, seen: Details, now: float
    ) -> Iterator[Finding]:
        bound = pulse.bounds.stopped  # it may have been set to another one meanwhile
        if not bound:
            life.condemned_by = None
            return
        if seen.traced:
            life.condemned_by = now + bound  # somebody looks into it
            return
        if now < life.stopped_at + bound:
            life.condemned_by = life.stopped_at + bound
            return
        life.condemned_by = None
        seconds = now - life.stopped_at
        yield Condemn(worker, f"stopped by {life.stopped} for {seconds:.0f} s (--stopped-kill)")
