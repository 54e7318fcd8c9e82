"""The decisions of the supervisor: events and the time in, commands out.

There is no machine for the pool, only for each process (`leeward._core.worker`).
`plan(now)` compares the workers that are wanted with those that exist and
returns what to do about the difference.  It is called after every event and
whenever `next_deadline` has come; calling it once more returns nothing.

Four kinds of generation matter:

    serving    has proven itself; what every slot gets
    candidate  a new one, rolled out slot by slot; the first of its workers is
               the canary: until it is ready, nothing else of it is started
    previous   served before; its zygote stays warm until the new one has settled
    others     on their way out; never get new workers

A rolling reload is `_wanted`: a slot wants the candidate as soon as the
candidate's worker serves there, and only then is the old one drained, so there
are never fewer than n that accept.  A rollback is `candidate = None`: the slots
want `serving` again, by the same rule.  Nobody keeps a list of what has been
rolled; it is read off the workers.

Going back to `previous` makes it the candidate again, with a lower number than
what serves: nothing is imported for it, and without its zygote it is no candidate.

Fresh workers of the same generation come one slot after the other too: whoever is
to be replaced waits in `retirees`, and the next is `retiring` when nobody is.  Who is
to be set aside (`Process.aside_for`) is replaced in the same way, and then stays.

More than 400 lines, because it is one decision: the events write what the steps
of `plan` read, and a wall between them would only be a list of imports.
"""

from __future__ import annotations

from leeward._core import commands as c
from leeward._core.generation import NEWBORN, YOUNG, Generation, Limits, Pauses
from leeward._core.record import Struct, field
from leeward._core.roster import Death, Process, Roster
from leeward._core.worker import Event, State

#: Strikes before a generation that never served gives up, and before one that
#: is being rolled out goes back.  Births that the system refuses count for the first alone.
BOOT_TRIES = 5
ROLL_TRIES = 3
#: The settings' resolver is a fresh interpreter that reads a few files.
RESOLVE_TIMEOUT = 30.0
#: A retired zygote only has to notice the end of its channel; what the
#: application exec'ed gets this long between TERM and KILL.
RETIRE_TIMEOUT = 2.0
#: Old generations that are too many have this long to finish.
HURRY = 5.0
#: Why a roll-out ended that nothing was wrong with.
GIVEN_UP = "given up: leeward rollback"
#: Exit codes (docs/reference/exit-codes.md).
LOAD_FAILED, CRASH_LOOP = 3, 5


class Supervisor(Struct):
    """The state of an instance.  `workers`: how many are wanted."""

    workers: int
    roster: Roster = field(default_factory=Roster)
    generations: dict[int, Generation] = field(default_factory=dict)
    serving: int | None = None
    candidate: int | None = None
    previous: int | None = None
    #: Until when `previous` is kept.
    settled: float = 0.0
    #: Why there is no `previous`: "settled", "spawn" (nothing is kept), "zygote" (it has
    #: ended), "failed" (it was gone back to in vain); "" otherwise.
    lost: str = ""
    #: "zygote" or "spawn", fixed when the first worker is ready.
    mode: str = ""
    #: Deadline of the settings' resolver while one runs.
    resolving: float | None = None
    #: Reloads asked for while one was under way: they become one more.
    queued: int = 0
    #: `workers` was said by hand since the settings of the roll-out that is under way were read.
    scaled: bool = False
    #: Workers to be replaced, first come, first served.
    retirees: list[int] = field(default_factory=list)
    stopping: str = ""  # "" | "drain" | "kill"
    stop_by: float = 0.0
    _exit: c.Exit = c.Exit(0, "stopped")
    _finished: bool = False
    _planned: float = float("-inf")
    _last_generation: int = 0
    #: How many workers each slot has had.  Kept when a slot goes: it may come back, and what
    #: somebody has read of its connections shall not name others then.
    _ordinals: dict[int, int] = field(default_factory=dict)
    _out: list[c.Command] = field(default_factory=list)

    # --- what happens -----------------------------------------------------------------

    def tune(self, number: int, limits: Limits) -> None:
        """Other limits from now on; deadlines that run already stay as they are."""
        self.generations[number].limits = limits
        for it in self.roster:
            if it.generation == number:
                it.limits = limits

    def offer(self, *, limits: Limits, start: str, may_change_mode: bool, workers: int) -> int:
        """New settings are here.  Returns the number of the candidate made of them."""
        self.resolving = None
        self._last_generation += 1
        number = self._last_generation
        # Spawn is always right, so an `auto` instance that had to spawn once goes
        # on spawning and is never refused a reload; a restart asks the audit again.
        mode = start if start != "auto" else ("spawn" if self.mode == "spawn" else "")
        self.generations[number] = Generation(number, limits, mode, may_change_mode, workers)
        self.candidate = number
        if mode and self._mode_allowed(mode, "--start asks for it"):
            why = "--start asks for it" if start != "auto" else "as at the first start"
            self._out.append(c.ModeChosen(number, mode, why))
        return number

    def reload(self) -> bool:
        """Asks for a new generation.  False if it joins one that is asked for already."""
        first = self.queued == 0 and self.resolving is None and self.candidate is None
        self.queued += 1
        return first

    def unresolved(self) -> None:
        """The settings could not be resolved: what serves, serves on."""
        self.resolving = None

    def rollback(self, now: float) -> int | None:
        """Go back.  Returns the generation that is to serve, None if there is none.

        What is being rolled out, or asked for, is given up: then that is the one
        that serves already.
        """
        if self.serving is None:
            return None
        given_up = self.resolving is not None or self.candidate is not None or self.queued > 0
        self.queued = 0
        if self._on_its_way_back:
            return self.candidate
        if self.resolving is not None:
            self.resolving = None
            self._out.append(c.StopResolving(GIVEN_UP))
        if self.candidate is not None:
            self._fail_candidate(f"was {GIVEN_UP}")
        if given_up:
            return self.serving
        self._lose_previous(now)
        if self.can_go_back(now):
            self._go_back("leeward rollback")
        return self.candidate

    def can_go_back(self, now: float) -> bool:
        """Is the generation before this one still warm?"""
        return self.previous is not None and now < self.settled and self._warm(self.previous)

    def scale(self, workers: int) -> None:
        self.workers = max(1, workers)
        self.scaled = True

    def stop(self, now: float, timeout: float, kill: bool = False) -> bool:
        """End: drain everything within `timeout` seconds, or kill it now.

        May be called again; the sharper and the earlier wins.  False if that
        changes nothing.
        """
        before = (self.stopping, self.stop_by)
        if self.resolving is not None:
            self.resolving = None
            self._out.append(c.StopResolving())
        if kill:
            self.stopping = "kill"
        elif not self.stopping or (self.stopping == "drain" and now + timeout < self.stop_by):
            self.stopping = "drain"
            self.stop_by = now + timeout
            for it in self.roster:
                it.told = ""
        return (self.stopping, self.stop_by) != before

    def forked(self, process: int, pid: int, now: float) -> None:
        """A process exists: its pid."""
        if (it := self.roster.get(process)) is not None:
            unborn = it.pid == 0
            if unborn:
                it.pid = pid  # once: we signal by it
                # The row ends, its pause does not: of a wave some may be refused, some not.
                self.generations[it.generation].birth_pauses.strikes = 0
            self._answers(it, now)
            it.step(Event.FORKED, now)
            # Sent away before it had a pid: no signal could reach it then.
            if unborn and it.state is State.KILLING:
                self._out.append(c.Kill(it.id))
            elif unborn and it.state is State.DRAINING and it.told:
                self._send_away(it, it.told, float("inf"), now)  # by the time set then

    def _answers(self, worker: Process, now: float) -> None:
        """Its zygote has forked it, or could not: those that wait behind it have their time anew.

        It forks one after the other, 45 ms for each GiB: of 64 workers asked for at once the
        last would be late, and the zygote be taken for deaf.
        """
        if worker.state is State.SPAWNING and worker.zygote is not None:
            for it in self.roster.of("worker", worker.generation):
                if it.zygote == worker.zygote and it.state is State.SPAWNING:
                    it.deadline = now + it.limits.fork

    def loaded(
        self, process: int, hazards: tuple[str, ...], now: float, why: str = "safe to fork"
    ) -> None:
        """A zygote has imported the application and audited itself.

        hazards:  those that call for spawn.  why:  it may be forked, if there are none.
        """
        if (it := self.roster.get(process)) is None:
            return
        it.step(Event.READY, now)
        it.ready_at = now
        generation = self.generations[it.generation]
        generation.ever_loaded = True
        if generation.mode or generation.number != self.candidate:
            return
        mode, why = ("spawn", hazards[0]) if hazards else ("zygote", why)
        if self._mode_allowed(mode, why):
            generation.mode = mode
            self._out.append(c.ModeChosen(generation.number, mode, why))

    def ready(self, process: int, now: float) -> None:
        """A worker says that it accepts."""
        if (it := self.roster.get(process)) is None:
            return
        it.step(Event.READY, now)
        if it.state is not State.SERVING:
            return
        it.ready_at = now
        generation = self.generations[it.generation]
        generation.ever_ready = True
        if self.serving is None and it.generation == self.candidate:
            self.mode = generation.mode
            self.serving, self.candidate = self.candidate, None
            self._out.append(c.Up(it.generation))

    def failed(self, process: int, why: str) -> None:
        """A process says why it cannot go on; its death follows."""
        if (it := self.roster.get(process)) is not None:
            it.failure = why

    def leaving(self, process: int) -> None:
        """A worker asks to be replaced; its turn comes."""
        it = self.roster.get(process)
        if it is None:
            return
        if it.state is State.ASIDE:
            it.deadline = it.since  # somebody has seen enough
        elif not it.retiring and process not in self.retirees:
            self.retirees.append(process)

    def limit_reached(self, process: int, why: str, now: float) -> None:
        """A worker asks to be replaced because of a limit that it has reached, or the like.

        Who does so as soon as it is ready is replaced with pauses, as if it had died:
        `--max-requests 1` under load would be nothing but births.  It serves on meanwhile,
        and nobody holds it against the code.
        """
        it = self.roster.get(process)
        if it is None or it.ready_at is None or it.state is State.ASIDE:  # somebody looks at it
            return
        self.leaving(process)
        generation = self.generations[it.generation]
        if now - it.ready_at < YOUNG and not self.stopping:
            pause = generation.rests.strike(now, why)
            if pause is not None:
                self._out.append(c.Rests(it.generation, pause, why))

    def condemn(self, process: int, why: str, now: float) -> None:
        """A worker does not come to life again by itself: kill it, its slot is free now."""
        it = self.roster.get(process)
        if it is None or it.state is State.KILLING:
            return
        it.step(Event.KILL, now)
        self._out.append(c.Kill(it.id))
        if it.ready_at is None or now - it.ready_at < YOUNG or it.generation == self.candidate:
            self._judge(it, why, now)
        it.failure = why  # behind the judgement: it has not said itself that it cannot start

    def recycle(self, slot: int | None = None) -> list[int]:
        """Asks for a fresh worker in `slot`, or in every slot.  Returns who is to go."""
        workers = self.roster.of("worker", self.serving)
        serving = [it for it in workers if it.state is State.SERVING and it.slot < self.workers]
        found = [it.id for it in serving if slot in (None, it.slot)]
        for process in found:
            self.leaving(process)
        return found

    def set_aside(self, slot: int, seconds: float) -> Process | None:
        """Asks for the worker in `slot` to be set aside for so long, once it is replaced.

        None if no worker serves there, or if one is aside already: somebody looks at one
        at a time, and each is a process more than the memory was planned for.
        """
        workers = [it for it in self.roster.of("worker") if it.slot == slot]
        if self.is_aside(slot) is not None or slot >= self.workers:
            return None
        wanted = self._wanted(slot)
        serving = (it for it in workers if it.state is State.SERVING and it.generation == wanted)
        it = next(serving, None)
        if it is not None:
            self.leaving(it.id)
            it.aside_for = seconds
        return it

    def is_aside(self, slot: int) -> Process | None:
        """The worker of `slot` that is aside, or will be when it is replaced."""
        there = (it for it in self.roster.of("worker") if it.slot == slot)
        staying = (it for it in there if it.alive or it.state is State.ASIDE)
        return next((it for it in staying if it.aside_for is not None), None)

    def stray(self, pid: int, dead: Process, now: float) -> int:
        """A child of the `dead` worker came to us: it gets TERM, later KILL."""
        it = self.roster.add("stray", dead.generation, dead.limits, State.STARTING, now)
        it.pid = pid
        timeout = RETIRE_TIMEOUT
        if self.stopping == "drain":
            timeout = min(timeout, max(0.0, self.stop_by - now))
        self._send_away(it, "stop", timeout, now)
        return it.id

    def died(self, process: int, death: Death, now: float) -> None:
        """The kernel says that a process ended, or it could not be made at all."""
        if (it := self.roster.get(process)) is None:
            return
        killed_by_us = it.state is State.KILLING  # what led to it has been judged
        self._answers(it, now)
        it.step(Event.DIED, now)
        if it.role == "zygote":
            self._lose_unborn(it, now)
        if killed_by_us:
            return
        age = 0.0 if it.ready_at is None else now - it.ready_at
        young = it.ready_at is None or age < YOUNG
        somebody_elses_kill = death.sigkill and (death.served or age >= NEWBORN)
        if (young or it.generation == self.candidate) and not somebody_elses_kill:
            self._judge(it, it.failure or death.why, now, death.unborn)

    # --- what is to be done -----------------------------------------------------------

    def plan(self, now: float) -> list[c.Command]:
        """Everything that is to be done now.  A second call returns nothing."""
        self._planned = now
        self._expire(now)
        if self.stopping:
            self._wind_down(now)
        else:
            self._settle(now)
            self._zygotes(now)
            self._trim(now)  # before _fill: a slot that nobody comes for any more is free now
            self._hurry(now)
            self._retire(now)  # behind _trim: who was replaced just now makes room for the next
            self._fill(now)
        self._out.extend(c.Forget(it.id) for it in self.roster.remove_gone())
        if self.stopping and not self.roster.processes and not self._finished:
            self._finished = True
            self._out.append(self._exit)
        out, self._out = self._out, []
        return out

    def next_deadline(self) -> float | None:
        """When `plan` must be called even if nothing happens, or None to sleep.

        A time that has passed counts unless `plan` has seen it: by the clock of whoever goes
        to sleep, a pause that ended on the way there was over, and nobody came back for it.
        """
        seen = self._planned
        times = [it.deadline for it in self.roster if it.deadline is not None]
        if self.resolving is not None:
            times.append(self.resolving)
        for number in (self.serving, self.candidate):
            if number is not None and not self.stopping:
                pauses = self.generations[number].start_pauses
                times += [it.not_before for it in pauses if it.not_before > seen]
        if self.previous is not None and not self.stopping:
            times.append(self.settled)
        if self.retirees and not self.stopping:
            rests = (it.rests.not_before for it in self.generations.values())
            times += [it for it in rests if it > seen]
        return min(times, default=None)

    # --- reading what is wanted ---------------------------------------------------------

    def _wanted(self, slot: int) -> int | None:
        """The generation that `slot` belongs to."""
        if self.serving is None:
            return self.candidate
        if self.candidate is not None and self.roster.serves(slot, self.candidate):
            return self.candidate
        return self.serving

    def _next_to_roll(self) -> int | None:
        """The slot that gets the candidate's next worker."""
        if self.candidate is None or self.serving is None:
            return None
        slots = range(self.workers)
        return next((s for s in slots if not self.roster.serves(s, self.candidate)), None)

    @property
    def _on_its_way_back(self) -> bool:
        """Is the candidate a generation that served before?"""
        known = self.candidate is not None and self.serving is not None
        return known and (self.candidate or 0) < (self.serving or 0)

    def _warm(self, number: int) -> bool:
        """Can workers of this generation be had at once, from a zygote that has its code?"""
        zygote = self.roster.zygote(number)
        return zygote is not None and zygote.state is State.SERVING

    def _lose_previous(self, now: float) -> None:
        """Keep it in mind no longer than it is kept."""
        if self.previous is not None and not self.can_go_back(now):
            why = "spawn" if self.generations[self.previous].mode == "spawn" else "zygote"
            self.lost = "settled" if now >= self.settled else why
            self.previous = None

    # --- the steps of plan -------------------------------------------------------------

    def _expire(self, now: float) -> None:
        """Every deadline that has passed has its consequence."""
        if self.resolving is not None and now >= self.resolving:
            self._out.append(c.StopResolving())
            self.resolving = None
        for it in self.roster:
            if it.deadline is None or now < it.deadline:
                continue
            was = it.state
            if was is State.ASIDE and self.stopping:
                continue  # the stop is told to everybody
            it.step(Event.DEADLINE, now)
            if it.state is State.KILLING:
                self._out.append(c.Kill(it.id))
            if was is State.STARTING:
                # Judged now and not at its death: its slot is free from now on.
                does = "imported" if it.role == "zygote" else "ready"
                late = f"was not {does} within {it.limits.start:g} s (--start-timeout)"
                it.failure = it.failure or late
                self._judge(it, it.failure, now)
            elif was is State.SPAWNING:
                self._zygote_hangs(it, now)
            elif was is State.ASIDE:
                self._send_away(it, "reload", it.limits.graceful, now)

    def _wind_down(self, now: float) -> None:
        """Stopping: everybody is told once, or killed."""
        left = max(0.0, self.stop_by - now)
        for it in self.roster:
            if it.state in (State.KILLING, State.GONE):
                continue
            # Without time left only a worker, which has a margin, can be asked; a zygote
            # that imports hears nothing, and Ctrl-C should not wait for its time-out.
            deaf = it.role == "zygote" and it.state is State.STARTING
            if self.stopping == "kill" or deaf or (left == 0.0 and it.role != "worker"):
                it.told = "stop"
                it.step(Event.KILL, now)
                self._out.append(c.Kill(it.id))
            elif it.told != "stop":
                timeout = left if it.role == "worker" else min(left, RETIRE_TIMEOUT)
                self._send_away(it, "stop", timeout, now)

    def _settle(self, now: float) -> None:
        """Is the candidate everywhere?  Then it is what serves.  Is a reload waiting?"""
        if self._on_its_way_back and self.roster.zygote(self.candidate or 0) is None:
            # Another one would import whatever stands on the disk now.
            self._fail_candidate("cannot be had again: its zygote has ended")
            self.lost = "zygote"
        if self.candidate is not None and self.serving is not None and self._next_to_roll() is None:
            old, new = self.generations[self.serving], self.generations[self.candidate]
            if new.workers != old.workers and not self.scaled:
                # A number scaled by hand outlives reloads until the settings
                # themselves say another one.
                self.workers = new.workers
            self.mode = new.mode
            # What one has just gone back from is nothing to go back to.
            forth = new.number > old.number
            self.previous, self.settled = old.number if forth else None, now + new.limits.settle
            self.serving, self.candidate = self.candidate, None
            self._out.append(c.Served(self.serving))
            self.lost = ""
        self._lose_previous(now)
        idle = self.candidate is None and self.resolving is None
        if self.queued and idle and self.serving is not None:
            self.queued = 0
            self.scaled = False
            self.resolving = now + RESOLVE_TIMEOUT
            self._out.append(c.Resolve())

    def _zygotes(self, now: float) -> None:
        """Each generation that may need new workers has its zygote; no other has."""
        current = [n for n in (self.serving, self.candidate) if n is not None]
        for number in current:
            generation = self.generations[number]
            resting = not all(it.over(now) for it in generation.start_pauses)
            if generation.mode == "spawn" or resting or self.roster.zygote(number):
                continue
            it = self.roster.add("zygote", number, generation.limits, State.STARTING, now)
            self._out.append(c.StartZygote(it.id, number))
        for it in self.roster.of("zygote"):
            kept = (*current, self.previous)
            needed = it.generation in kept and self.generations[it.generation].mode != "spawn"
            if it.alive and not needed:
                self._send_away(it, "reload", RETIRE_TIMEOUT, now)
        peopled = {it.generation for it in self.roster}
        for number in [n for n in self.generations if n not in current and n not in peopled]:
            del self.generations[number]

    def _fill(self, now: float) -> None:
        """Every slot has a worker of the generation it belongs to; one slot rolls."""
        for slot in range(self.workers):
            wanted = self._wanted(slot)
            if wanted is None:
                return
            if not self.roster.filled(slot, wanted):
                self._start(slot, wanted, now)
            if not self.generations[wanted].ever_ready:
                return  # the canary first
        rolling = self._next_to_roll()
        if rolling is None or self.candidate is None:
            return
        if not self.roster.coming(self.candidate):
            self._start(rolling, self.candidate, now)

    def _trim(self, now: float) -> None:
        """Whoever is not wanted leaves, but not before somebody serves in its place."""
        for it in self.roster.of("worker"):
            if not it.alive:
                continue
            wanted = self._wanted(it.slot)
            belongs = it.fills_its_slot and it.generation in (wanted, self.candidate)
            if it.slot < self.workers and wanted is not None:
                replaced = self.roster.serves(it.slot, wanted)
                if belongs or (it.state is State.SERVING and not replaced):
                    continue
            if it.aside_for is None or it.state is not State.SERVING:
                self._send_away(it, "reload", it.limits.graceful, now)
            else:
                it.step(Event.ASIDE, now)
                it.told = "aside"
                self._out.append(c.Aside(it.id))

    def _hurry(self, now: float) -> None:
        """The old generations that drain are few: those that began first have no more time."""
        if self.serving is None:
            return
        draining: dict[int, list[Process]] = {}
        for it in self.roster.of("worker"):
            old = it.generation not in (self.serving, self.candidate)
            if it.state is State.DRAINING and old:
                draining.setdefault(it.generation, []).append(it)
        # By the last that was told, as a generation's workers are told one after the other.
        order = sorted(draining, key=lambda n: (max(it.since for it in draining[n]), n))
        most = self.generations[self.serving].limits.lingering
        for number in order[: max(0, len(order) - most)]:
            slow = [it for it in draining[number] if it.told != "stop"]
            if slow:
                self._out.append(c.Hurried(number, len(slow), HURRY))
            for it in slow:
                self._send_away(it, "stop", HURRY, now)

    def _retire(self, now: float) -> None:
        """Whose turn is it to be replaced?  One at a time: each costs a start and memory.

        A roll-out replaces everybody; who waits for his turn meanwhile waits no longer.
        """
        found = [it for id in self.retirees if (it := self.roster.get(id)) is not None]
        self.retirees = [it.id for it in found if it.alive]
        busy = any(it.retiring and it.alive for it in self.roster.of("worker"))
        if busy or self.candidate is not None:
            return
        first = next((it for it in found if self._may_go(it, now)), None)
        if first is not None:
            self.retirees.remove(first.id)
            first.retiring = True

    def _may_go(self, it: Process, now: float) -> bool:
        rests = self.generations[it.generation].rests
        return it.state is State.SERVING and rests.over(now)

    # --- smaller pieces ----------------------------------------------------------------

    def _start(self, slot: int, number: int, now: float) -> None:
        generation = self.generations[number]
        resting = not (generation.pauses.over(now) and generation.birth_pauses.over(now))
        if not generation.mode or resting:
            return
        zygote = self.roster.zygote(number) if generation.mode == "zygote" else None
        if generation.mode == "zygote" and (zygote is None or zygote.state is not State.SERVING):
            return
        row = self.roster.free_row()
        if row is None:
            return  # a thousand processes are leaving; each death frees a row
        it = self.roster.add("worker", number, generation.limits, State.SPAWNING, now)
        it.slot, it.row = slot, row
        it.zygote = zygote.id if zygote is not None else None
        ordinal = self._ordinals[slot] = self._ordinals.get(slot, 0) + 1
        canary = not generation.ever_ready
        self._out.append(c.StartWorker(it.id, number, slot, ordinal, row, it.zygote, canary))

    def _send_away(self, it: Process, reason: str, timeout: float, now: float) -> None:
        """Within `timeout` seconds, or in what is left of a time that was set before."""
        margin = it.limits.margin if it.role == "worker" else 0.0
        by = now + timeout + margin
        if it.state is State.DRAINING and it.deadline is not None:
            by = min(by, it.deadline)
        it.step(Event.DRAIN, now)
        it.told, it.deadline = reason, by
        self._out.append(c.Drain(it.id, reason, max(0.0, by - margin - now)))

    def _judge(self, it: Process, why: str, now: float, unborn: bool = False) -> None:
        """It failed.  Does that speak against code which is to run?"""
        current = it.generation in (self.serving, self.candidate)
        if current and not it.told and not self.stopping:
            (self._refused if unborn else self._strike)(it, why, now)

    def _strike(self, it: Process, why: str, now: float) -> None:
        """A failure that speaks against the code."""
        generation = self.generations[it.generation]
        on_trial = it.generation == self.candidate
        # What a zygote does once it has loaded the code is forking; it gets more tries.
        forking = it.role == "zygote" and generation.ever_loaded
        if on_trial and not generation.ever_ready and not forking:
            if self.serving is not None:
                self._fail_candidate(why)  # the canary died: one try is enough
                return
            if it.failure:
                self._give_up(LOAD_FAILED, why)  # it said why; trying again changes nothing
                return
        pauses = generation.zygote_pauses if forking else generation.pauses
        pause = pauses.strike(now, why, on_trial)
        strikes = pauses.strikes
        if on_trial and self.serving is None and strikes >= BOOT_TRIES:
            self._give_up(CRASH_LOOP, f"{why}, {strikes} times before it was ever ready")
        elif on_trial and self.serving is not None and strikes >= ROLL_TRIES:
            self._fail_candidate(why)
        elif pause is not None:
            self._out.append(c.BackedOff(it.generation, pause, strikes, why))
            alone = self.candidate is None and self.resolving is None
            if alone and strikes >= ROLL_TRIES and self.can_go_back(now):
                self._go_back(why)

    def _refused(self, it: Process, why: str, now: float) -> None:
        """The system lets no process be made, which speaks against no code.

        Nothing goes back for it: the code before would be refused its processes too.  A first
        start gives up after its tries.  A roll-out goes on for as long as one of its starts
        may last, since there is room again when those that drain have gone.
        """
        generation = self.generations[it.generation]
        on_trial = it.generation == self.candidate
        pauses = generation.birth_pauses
        pause = pauses.strike(now, why, on_trial)
        if pause is None:
            return
        strikes, longest = pauses.strikes, generation.limits.start
        if strikes >= BOOT_TRIES and self.serving is None:
            self._give_up(CRASH_LOOP, f"{why}, {strikes} times before it was ever ready")
        elif on_trial and self.serving is not None and now + pause > pauses.first + longest:
            back = self.candidate if self._on_its_way_back else None
            tries = f"{strikes} times within {longest:g} s (--start-timeout)"
            self._fail_candidate(f"{why}, {tries}")
            if back is not None:
                self.previous, self.lost = back, ""  # as good as before: it may be asked for again
        else:
            self._out.append(c.BackedOff(it.generation, pause, strikes, why))

    def _lose_unborn(self, zygote: Process, now: float) -> None:
        """What a zygote was about to fork is lost with it.

        A worker that came to be all the same finds its channel closed and ends.
        """
        for worker in self.roster.of("worker", zygote.generation):
            if worker.zygote == zygote.id and not worker.pid and worker.state is not State.GONE:
                worker.step(Event.DIED, now)

    def _zygote_hangs(self, worker: Process, now: float) -> None:
        """A fork request was not answered: end the zygote, another one takes its place."""
        zygote = None if worker.zygote is None else self.roster.get(worker.zygote)
        if zygote is not None and zygote.state is State.SERVING:
            zygote.failure = f"did not answer a fork request within {zygote.limits.fork:g} s"
            zygote.step(Event.KILL, now)
            self._out.append(c.Kill(zygote.id))
            self._judge(zygote, zygote.failure, now)

    def _mode_allowed(self, mode: str, why: str) -> bool:
        """False, and the candidate fails, if `mode` would change under a running instance."""
        generation = self.generations[self.candidate or 0]
        if self.mode in ("", mode) or generation.may_change_mode:
            return True
        self._fail_candidate(
            f"needs {mode} mode, and this instance runs in {self.mode} mode: {why}\n"
            f"Remove the cause, restart, or allow it: --start-fallback allow"
        )
        return False

    def _fail_candidate(self, why: str) -> None:
        assert self.candidate is not None and self.serving is not None
        if self._on_its_way_back:
            self.lost = "failed"
        self._out.append(c.RolledBack(self.candidate, why))
        self.candidate = None

    def _go_back(self, why: str) -> None:
        """Roll the generation before out again, as it was: nothing is resolved or imported."""
        assert self.previous is not None and self.serving is not None
        self.candidate, self.previous = self.previous, None
        self.scaled = False
        generation = self.generations[self.candidate]
        generation.pauses, generation.zygote_pauses = Pauses(), Pauses()
        generation.birth_pauses = Pauses()
        self._out.append(c.GoesBack(self.serving, self.candidate, why))

    def _give_up(self, code: int, why: str) -> None:
        self._exit = c.Exit(code, why)
        self.stopping = "kill"
