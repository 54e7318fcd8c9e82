"""A world for the decisions: processes that only pretend, and weather.

`World` carries out what `Supervisor.plan` asks for, lets its pretended zygotes
and workers load, serve, hang, crash and answer late, and after every plan holds
what was asked for against what it knows itself.  It never believes the
supervisor's own books: who exists, who was told what and when is written down
here a second time (`Fake`), and every rule below is checked on these notes.

Everything comes from one seed; time is a number that jumps from event to event.
The rules, by the function that holds them:

    _turn             a second plan returns nothing; no deadline stays behind;
                      no plan takes a slot its last serving worker
    _on_start_*       only what is wanted, one canary, one at a time in a roll or a recycling,
                      nobody shares a row, one zygote per generation, no start
                      during a pause or a stop
    _on_drain, _kill  nobody who is wanted is sent away, nobody early
    _on_aside         who is looked at is replaced first, stays its time, and dies unjudged
    _too_many         old generations that drain are few, the others are hurried
    _on_backed_off …  a pause needs a guilty death and doubles; each reload has
                      exactly one answer; proven code goes back after 3 strikes,
                      never for a birth that the system refuses
    _check_processes  nobody outlives its deadline, the dead are forgotten
    _check_slots      what is missing and may be started has been started
    calm_down, end    after the weather n workers serve and nothing else is left;
                      a stop ends in one Exit, in time

One long class: each rule stands where the command that could break it is
carried out, and both need the same notes.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from types import ModuleType
from typing import Any, NamedTuple

from leeward._core import admission, generation, roster, supervisor, vitals, worker
from leeward._core import commands as c

#: Times are sums of floats.
EPSILON = 1e-6
YOUNG, NEWBORN = 1.0, 0.1
KILL, FORK, MARGIN, RETIRE, RESOLVE, HURRY = 5.0, 5.0, 0.9, 2.0, 30.0, 5.0
#: More turns than any world that comes to rest has needed.
MOST_TURNS = 1500


class Violation(AssertionError):
    """A rule was broken."""


class Core(NamedTuple):
    """The modules under test: the real ones, or a mutant's."""

    worker: ModuleType
    generation: ModuleType
    roster: ModuleType
    supervisor: ModuleType
    vitals: ModuleType
    admission: ModuleType


REAL = Core(worker, generation, roster, supervisor, vitals, admission)


@dataclass
class Code:
    """What a generation's code does; `fate` "good" or what is wrong with it."""

    fate: str = "good"
    load: float = 0.3
    boot: float = 0.05
    hazards: tuple[str, ...] = ()
    start: str = "auto"
    may_change_mode: bool = False
    workers: int = 1
    start_timeout: float = 5.0
    graceful: float = 3.0
    settle: float = 0.0
    lingering: int = 2


@dataclass
class Fake:
    """A pretended process, and what the supervisor has been told and has asked of it."""

    id: int
    role: str
    generation: int
    asked: float
    answered: float = 0.0  # its zygote has had its turn with another one
    slot: int = -1
    row: int = -1
    zygote: int | None = None
    book: Any = None  # the supervisor's own entry: only handed back, never read
    # What is true.
    pid: int = 0
    exists: bool = False
    hung: bool = False
    unkillable: bool = False
    pending: list[Fake] = field(default_factory=list)
    # What the supervisor was told.
    born: float | None = None
    ready: float | None = None
    asked_to_go: bool = False
    condemned: bool = False
    dead: bool = False
    unclaimed: Any = None
    aside_for: float | None = None  # somebody wants to look at it
    let_go: bool = False  # and has seen enough
    # What it asked for.
    aside_by: float | None = None
    left_at: float = 0.0
    leave_by: float | None = None
    reason: str = ""
    drained_unborn: bool = False
    killed: float | None = None
    killed_unborn: bool = False

    @property
    def waits_from(self) -> float:
        """For its fork."""
        return max(self.asked, self.answered)

    @property
    def stays(self) -> bool:
        """It has not been sent away, and as far as anybody has said it lives."""
        return self.unasked and self.aside_by is None

    @property
    def unasked(self) -> bool:
        """Nobody has told it to leave."""
        away = self.leave_by is not None or self.killed is not None or self.condemned
        return not away and not self.dead

    @property
    def serves(self) -> bool:
        return self.ready is not None and self.stays

    @property
    def coming(self) -> bool:
        return self.ready is None and self.stays


FATES = (
    "raises",  # the import says why and exits
    "exits",  # the import exits without a word
    "hangs",  # the import never returns
    "factory raises",
    "factory exits",
    "factory hangs",
    *["crashes young"] * 3,  # each worker, soon after READY
    *["crashes later"] * 3,  # each worker, 1.1 to 1.6 s after READY
    *["mixed"] * 3,  # some workers serve, some die before READY, slowly
    *["zygote dies"] * 2,  # soon after it has loaded
    *["zygote deaf"] * 2,  # loads, and never answers
)


class World:
    def __init__(
        self,
        seed: int,
        core: Core = REAL,
        *,
        code: Code | None = None,
        workers: int | None = None,
    ) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.core = core
        self.now = self.random.choice((0.0, 1000.0, 1e6))
        self.calm = False
        self.lateness = 0.0  # how far the clock may step between two plans
        self.late_since_stop = 0.0
        self.forks_fail_until = 0.0
        self.forks_fail_often = 1.0
        self.nasty = True  # strays, unkillables
        self.turns = 0
        self.said: list[Any] = []  # every command except Forget, for directed tests
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._seq = itertools.count()
        self._pids = itertools.count(100)
        self.fakes: dict[int, Fake] = {}
        self.ghosts: list[Fake] = []  # forgotten, and exist all the same
        self.codes: dict[int, Code] = {}
        # What should be so, by our own notes.
        self.serving: int | None = None
        self.candidate: int | None = None
        self.previous: int | None = None
        self.settled = 0.0
        self.asked_back = False  # by hand, and not begun yet
        self.moved = -1.0  # when a reload or a rollback was last moved from outside
        self.up = False
        self.mode = ""
        self.modes: dict[int, str] = {}
        self.ever_ready: set[int] = set()
        self.ever_loaded: set[int] = set()
        self.resolving: object | None = None
        self.unseen_reload = False
        self.stopping = ""
        self.stop_by = 0.0
        self.exit: Any = None
        self.words = False  # has any process said why it cannot go on?
        self.strikes: Counter[tuple[int, str]] = Counter()
        self.struck_at: dict[tuple[int, str], float] = {}
        self.paused: dict[tuple[int, str], float] = {}
        #: By generation: since when the system refuses it processes, and how often it had done
        #: so in a row before what the last plan has not seen.
        self.refused_since: dict[int, float] = {}
        self.refused_before: dict[int, int] = {}
        self.born_since: set[int] = set()
        #: Until when workers of a generation that reach a limit have to wait, and how long that is.
        self.rest_until: dict[int, float] = {}
        self.rests: dict[int, float] = {}
        self.hardly_ready: set[int] = set()
        #: Workers that each slot has had.
        self.births: Counter[int] = Counter()
        #: Guilty deaths since the last plan: generation → kind of process.
        self.guilty: dict[int, set[str]] = {}
        self._hands: dict[type, Callable[[Any], None]] = {
            c.StartZygote: self._on_start_zygote,
            c.StartWorker: self._on_start_worker,
            c.Drain: self._on_drain,
            c.Aside: self._on_aside,
            c.Hurried: self._on_hurried,
            c.Kill: self._on_kill,
            c.Forget: self._on_forget,
            c.Resolve: self._on_resolve,
            c.StopResolving: self._on_stop_resolving,
            c.Up: self._on_up,
            c.Served: self._on_served,
            c.RolledBack: self._on_rolled_back,
            c.GoesBack: self._on_goes_back,
            c.BackedOff: self._on_backed_off,
            c.Rests: self._on_rests,
            c.ModeChosen: self._on_mode_chosen,
            c.Exit: self._on_exit,
        }
        count = workers or self.random.randint(1, 4)
        self.sup = core.supervisor.Supervisor(workers=count)
        self.workers = count
        self.scaled = False  # by hand, since the roll-out began
        self.offer(code or self._random_code(0.12))

    # --- time ---------------------------------------------------------------------------

    def at(self, delay: float, call: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self._heap, (self.now + delay, next(self._seq), call, args))

    def run(self, seconds: float = float("inf")) -> None:
        """Lets `seconds` pass, or as many as it takes until nothing is due any more."""
        until = self.now + seconds
        if self.turns == 0:
            self._turn()
        while self.exit is None:
            deadline = self.sup.next_deadline()
            due = min(
                self._heap[0][0] if self._heap else float("inf"),
                deadline if deadline is not None else float("inf"),
            )
            if due == float("inf") or due > until:
                break
            if self.lateness and self.random.random() < 0.02:
                step = self.random.expovariate(1 / self.lateness)
                due += step
                if self.stopping:
                    self.late_since_stop += step
            self.now = max(self.now, due)
            # As the real loop does it: everything that has happened, then one plan.
            while self._heap and self._heap[0][0] <= self.now:
                _, _, call, args = heapq.heappop(self._heap)
                call(*args)
            self._turn()
        if until != float("inf"):
            self.now = max(self.now, until)

    def _turn(self) -> None:
        self.turns += 1
        self.require(self.turns < MOST_TURNS, "the world never comes to rest")
        for _ in range(100):
            covered = {it.slot for it in self.fakes.values() if it.role == "worker" and it.serves}
            out = self.sup.plan(self.now)
            if not out:
                break
            again = self.sup.plan(self.now)
            self.require(not again, f"a second plan returned {again}")
            out_types = {type(it) for it in out}
            self._check_guilt(out, out_types)
            self._must_go_back(out)
            for command in out:
                if type(command) is not c.Forget:
                    self.said.append(command)
                self._hands[type(command)](command)
            if not self.stopping and out_types & {c.Drain, c.Aside, c.Kill}:
                still = {it.slot for it in self.fakes.values() if it.role == "worker" and it.serves}
                dying = {it.slot for it in self.fakes.values() if it.condemned}
                lost = [slot for slot in covered - still - dying if slot < self.sup.workers]
                self.require(not lost, f"slots {lost} lost their last serving worker")
            if self.exit is not None:
                return
        else:
            self.require(False, "plans without end")
        self.guilty.clear()
        self.asked_back = False
        if self.previous is not None and not self._can_go_back():
            self.previous = None
            why = "settled" if self.now >= self.settled else "zygote"
            known = self.sup.lost == why or bool(self.sup.stopping)
            self.require(known, f"{why} is called {self.sup.lost!r}")
        self._check_processes()
        if not self.sup.stopping:
            self._check_slots()
        deadline = self.sup.next_deadline()
        self.require(
            deadline is None or deadline > self.now, f"deadline {deadline} stays behind {self.now}"
        )

    def require(self, true: bool, broken: str) -> None:
        if not true:
            raise Violation(f"seed {self.seed}, t={self.now:.3f}: {broken}")

    # --- rules about what stands after a plan ------------------------------------------

    def _check_guilt(self, out: list[Any], types: set[type]) -> None:
        """Every guilty death has a consequence."""
        for command in out:
            if type(command) is c.Kill:
                self._note_kill(self.fakes[command.process])
        for number, kinds in self.guilty.items():
            if self.stopping or number not in (self.serving, self.candidate):
                continue
            answered = c.Exit in types or self.sup.stopping == "kill"
            answered = answered or any(
                type(it) in (c.BackedOff, c.RolledBack) and it.generation == number for it in out
            )
            paused = any(self.now < self.paused.get((number, kind), -1.0) for kind in kinds)
            # A strike may fall into a pause that began with the same wave.
            self.require(answered or paused, f"generation {number} failed and nothing came of it")

    def _note_kill(self, it: Fake) -> None:
        """A kill for being late at its start, or deaf to forks, is a guilty end too."""
        if self.stopping or it.leave_by is not None or it.killed is not None:
            return
        if not it.condemned and (it.ready is None or it.role == "zygote"):
            self.words = True
            self._guilt(it)

    def _guilt(self, it: Fake) -> None:
        forking = it.role == "zygote" and it.generation in self.ever_loaded
        self.guilty.setdefault(it.generation, set()).add("zygote" if forking else "worker")

    def _refuse(self, it: Fake) -> None:
        """It could not be made: no fault of the code, and answered by a pause all the same."""
        kinds = self.guilty.setdefault(it.generation, set())
        if "birth" not in kinds:
            self.refused_before[it.generation] = self.strikes[it.generation, "birth"]
            self.born_since.discard(it.generation)
        kinds.add("birth")

    def _ends_refusals(self, it: Fake) -> None:
        """It was born: the row has ended, of those too that no plan has seen yet."""
        self.strikes[it.generation, "birth"] = 0
        self.born_since.add(it.generation)

    def _faults(self, number: int) -> set[str]:
        """What the code has done since the last plan."""
        return self.guilty.get(number, set()) - {"birth"}

    def _check_processes(self) -> None:
        now = self.now - EPSILON
        for it in self.fakes.values():
            limits = self.codes[it.generation]
            if it.dead:
                self.require(False, f"{it.role} {it.id} is dead and not forgotten")
            elif it.born is not None and (it.killed_unborn or it.drained_unborn):
                self.require(False, f"{it.id} was sent away before it was born, and not again")
            elif it.killed is not None:
                self.require(now < it.killed + KILL, f"{it.role} {it.id} outlives its kill")
            elif it.leave_by is not None:
                self.require(now < it.leave_by, f"{it.role} {it.id} outlives its drain")
                if self.stopping:
                    by = max(self.stop_by, it.asked) + MARGIN + EPSILON
                    self.require(it.leave_by <= by, f"{it.id} may outlive the stop")
            elif self.sup.stopping:
                self.require(False, f"{it.role} {it.id} was not told of the stop")
            elif it.aside_by is not None:
                self.require(now < it.aside_by, f"{it.id} is aside for ever")
                self.require(not it.let_go, f"{it.id} was seen enough of, and stays")
            elif it.ready is not None:
                pass
            elif it.born is not None:
                late = it.born + limits.start_timeout
                self.require(now < late, f"{it.role} {it.id} outlives its start")
            else:
                self.require(now < it.waits_from + FORK, f"{it.role} {it.id} outlives its fork")

    def _resting(self, number: int, *kinds: str) -> bool:
        return any(self.now < self.paused.get((number, kind), -1.0) for kind in kinds)

    def _check_slots(self) -> None:
        """What is missing and may be started has been started."""
        self.require(self.sup.serving == self.serving, "another generation serves")
        self.require(self.sup.candidate == self.candidate, "another generation is on trial")
        self.require(self.sup.previous == self.previous, "another generation is kept")
        for number, slow in self._too_many():
            told = all(it.reason == "stop" for it in slow)
            self.require(told, f"generation {number} lingers, and newer ones too")
        fakes = self.fakes.values()
        for number in {self.serving, self.candidate} - {None}:
            assert number is not None
            mode = self.modes.get(number, "")
            zygotes = [z for z in fakes if z.role == "zygote" and z.generation == number]
            zygote = next((z for z in zygotes if z.stays), None)
            if mode != "spawn" and zygote is None:
                rests = self._resting(number, "worker", "zygote", "birth")
                self.require(rests, f"no zygote for {number}")
            if mode == "spawn":
                self.require(zygote is None, f"a zygote that nobody needs for {number}")
            able = mode == "spawn" or (mode and zygote is not None and zygote.ready is not None)
            if not able or self._resting(number, "worker", "birth"):
                continue
            mine = [w for w in fakes if w.role == "worker" and w.generation == number and w.stays]
            filled = {w.slot for w in mine}
            if number == self.serving:
                rolled = {w.slot for w in fakes if w.generation == self.candidate and w.serves}
                missing = set(range(self.sup.workers)) - filled - rolled
                self.require(not missing, f"nobody comes for slots {missing} of {number}")
                waiting = {w.slot for w in mine if w.asked_to_go and w.serves}
                crowds = Counter(w.slot for w in mine)
                rests = self.now < self.rest_until.get(number, -1.0)
                turn = any(crowds[slot] > 1 for slot in waiting)
                # Or it is the turn of one of a roll-out that was given up meanwhile.
                turn = turn or any(
                    w.role == "worker" and w.generation != number and w.asked_to_go and w.serves
                    for w in fakes
                )
                if waiting and self.candidate is None and not turn:
                    self.require(rests, f"nobody in {waiting} has its turn to be replaced")
                    wakes = self.sup.next_deadline() or float("inf")
                    self.require(wakes <= self.rest_until[number], "a rest that wakes nobody")
            else:
                self.require(bool(filled), f"nothing of candidate {number} is started")
                done = {w.slot for w in mine if w.serves}
                coming = [w for w in mine if w.coming]
                left = set(range(self.sup.workers)) - done
                self.require(bool(coming or not left), f"the roll of {number} stands still")

    def _too_many(self) -> list[tuple[int, list[Fake]]]:
        """The old generations that drain and have no more time, with their workers."""
        if self.serving is None:
            return []
        drain: dict[int, list[Fake]] = {}
        for it in self.fakes.values():
            told = it.leave_by is not None and it.killed is None and not it.dead
            if it.role == "worker" and told and it.generation not in (self.serving, self.candidate):
                drain.setdefault(it.generation, []).append(it)
        order = sorted(drain, key=lambda n: (max(it.left_at for it in drain[n]), n))
        most = self.codes[self.serving].lingering
        return [(number, drain[number]) for number in order[: max(0, len(order) - most)]]

    def _warm(self, number: int | None) -> bool:
        return any(
            it.role == "zygote" and it.generation == number and it.serves
            for it in self.fakes.values()
        )

    def _can_go_back(self) -> bool:
        return self.previous is not None and self.now < self.settled and self._warm(self.previous)

    # --- carrying out: starts ------------------------------------------------------------

    def _started(self, command: Any, role: str) -> Fake:
        self.require(not self.stopping, "something is started during a stop")
        number = command.generation
        self.require(number in (self.serving, self.candidate), f"start of past {number}")
        it = Fake(command.process, role, number, self.now)
        self.require(it.id not in self.fakes, "a number is used twice")
        it.book = self.sup.roster.processes[it.id]
        self.fakes[it.id] = it
        return it

    def _on_start_zygote(self, command: Any) -> None:
        number = command.generation
        others = [z for z in self.fakes.values() if z.role == "zygote" and z.stays]
        self.require(all(z.generation != number for z in others), "two zygotes of one generation")
        self.require(self.modes.get(number) != "spawn", "a zygote in spawn mode")
        back = number == self.candidate and self.serving is not None and number < self.serving
        self.require(not back, "a generation that one goes back to is imported anew")
        rests = self._resting(number, "worker", "zygote", "birth")
        self.require(not rests, "a zygote during a pause")
        it = self._started(command, "zygote")
        self._exec(it)

    def _on_start_worker(self, command: Any) -> None:
        number, slot = command.generation, command.slot
        fakes = self.fakes.values()
        self.require(0 <= slot < self.sup.workers, f"slot {slot} is not wanted")
        self.require(not self._resting(number, "worker", "birth"), "a worker during a pause")
        mine = [w for w in fakes if w.role == "worker" and w.generation == number and w.stays]
        overdue = self.now - FORK + EPSILON
        there = [w for w in mine if w.born is not None or w.waits_from > overdue]
        fills = [w for w in there if w.slot == slot]
        replaces = number == self.serving and all(w.asked_to_go and w.serves for w in fills)
        self.require(replaces or not fills, f"slot {slot} gets a second worker of {number}")
        if fills:
            crowds = Counter(w.slot for w in mine)
            others = [s for s in crowds if s != slot and crowds[s] > 1]
            self.require(not others, f"slots {slot} and {others} are replaced at once")
        self.births[slot] += 1
        self.require(command.ordinal == self.births[slot], f"ordinal {command.ordinal} again")
        rows = {w.row for w in fakes if w.role == "worker"}
        self.require(command.row not in rows, f"row {command.row} is shared")
        if number == self.candidate:
            coming = [w for w in mine if w.coming]
            self.require(not coming, "two workers of a candidate come at once")
        first = number not in self.ever_ready
        self.require(command.canary is first, f"a canary of {number}? {command.canary}")
        mode = self.modes.get(number)
        self.require(mode == ("spawn" if command.zygote is None else "zygote"), f"not {mode}")
        it = self._started(command, "worker")
        it.slot, it.row, it.zygote = slot, command.row, command.zygote
        if command.zygote is None:
            self._exec(it)
            return
        zygote = self.fakes[command.zygote]
        self.require(zygote.role == "zygote" and zygote.generation == number, "foreign zygote")
        self.require(zygote.serves, "the zygote cannot fork")
        self.at(self.random.choice((0.001, 0.01, 0.3)), self._fork, zygote, it)

    def _forks_fail(self) -> bool:
        fail = self.now < self.forks_fail_until and not self.calm
        return fail and self.random.random() < self.forks_fail_often

    def _exec(self, it: Fake) -> None:
        """posix_spawn: it works at once or not at all."""
        if self._forks_fail():
            it.dead = True
            self._refuse(it)
            death = self.core.roster.Death(f"{it.role} could not be started", unborn=True)
            self.sup.died(it.id, death, self.now)
            return
        it.pid, it.exists, it.born = next(self._pids), True, self.now
        self._ends_refusals(it)
        self.sup.forked(it.id, it.pid, self.now)
        if it.role == "zygote":
            self._load(it)
        else:
            self.at(0.001, self._told_birth, it)
            self._begin(it, self._code(it).load)

    def _fork(self, zygote: Fake, it: Fake) -> None:
        if not zygote.exists:
            return  # lost with it
        if zygote.hung:
            zygote.pending.append(it)
            return
        if self._forks_fail():
            self.at(0.001, self._not_forked, it)
            return
        it.pid, it.exists = next(self._pids), True
        if it.id not in self.fakes:
            it.exists = False  # its channel is closed: it leaves at once
            self.at(0.002, self._told_birth, it)
            return
        # Told twice, in either order; one of them may be late or, if the zygote
        # dies meanwhile, never come.
        hello = self.random.uniform(0.0005, 0.01)
        late = 2.0 if self.random.random() < 0.1 else 0.01
        self.at(hello, self._told_birth, it)
        self.at(self.random.uniform(0.0005, late), self._told_birth, it)
        self._begin(it, hello)

    def _answers(self, it: Fake) -> None:
        """Whoever waits for the same zygote has his time from now on."""
        waits = it.born is None and it.killed is None and it.leave_by is None
        if it.id in self.fakes and waits and not it.dead:
            for other in self.fakes.values():
                if other.zygote == it.zygote and other.zygote is not None and other.born is None:
                    other.answered = self.now

    def _not_forked(self, it: Fake) -> None:
        self._answers(it)
        if it.id in self.fakes and not it.dead:
            it.dead = True
            if it.leave_by is None and it.killed is None:
                self._refuse(it)
        death = self.core.roster.Death("could not be forked", unborn=True)
        self.sup.died(it.id, death, self.now)

    def _told_birth(self, it: Fake) -> None:
        self._answers(it)
        if it.born is None and it.id in self.fakes and not it.dead:
            it.born = self.now
            self._ends_refusals(it)
        self.sup.forked(it.id, it.pid, self.now)
        if it.unclaimed is not None:
            death, it.unclaimed = it.unclaimed, None
            self._reaped(it, death)

    # --- what processes do of themselves --------------------------------------------------

    def _code(self, it: Fake) -> Code:
        return self.codes[it.generation]

    def _fate(self, it: Fake) -> str:
        """Code that serves is good once the weather is over."""
        number = it.generation
        return "good" if self.calm and number == self.serving else self.codes[number].fate

    def _load(self, it: Fake) -> None:
        code, fate = self._code(it), self._fate(it)
        if fate == "raises":
            self.at(code.load, self._says_failed, it)
        elif fate == "exits":
            self.at(code.load, self.die, it, "exited with code 0")
        elif fate == "hangs":
            it.hung = True
        else:
            self.at(code.load, self._told_loaded, it)

    def _told_loaded(self, it: Fake) -> None:
        if not it.exists or it.hung:
            return
        if it.id in self.fakes:
            if it.stays:
                it.ready = self.now
            self.ever_loaded.add(it.generation)
        self.sup.loaded(it.id, self._code(it).hazards, self.now)
        fate = self._fate(it)
        if fate == "zygote dies":
            self.at(self.random.uniform(0.001, 0.5), self.die, it, "killed by SIGSEGV")
        elif fate == "zygote deaf":
            it.hung = True

    def _begin(self, it: Fake, delay: float) -> None:
        """A worker starts; `delay` until it has the application."""
        code, fate, random = self._code(it), self._fate(it), self.random
        spawned = it.zygote is None
        delay += code.boot
        if fate == "mixed":
            fate = random.choice(("good", "good", "slow"))
        if fate == "slow":
            self.at(delay + random.choice((0.01, 11.0)), self.die, it, "killed by SIGABRT")
        elif fate == "factory raises" or (fate == "raises" and spawned):
            self.at(delay, self._says_failed, it)
        elif fate == "factory exits" or (fate == "exits" and spawned):
            self.at(delay, self.die, it, "exited with code 0")
        elif fate == "factory hangs" or (fate == "hangs" and spawned):
            it.hung = True
        else:
            if not self.calm and random.random() < 0.03:
                delay += 20.0
            self.at(delay, self._told_ready, it)

    def _told_ready(self, it: Fake) -> None:
        if not it.exists or it.hung:
            return
        if it.id in self.fakes and it.stays:
            self.require(it.born is not None, "READY before Hello: not a possible world")
            it.ready = self.now
            self.ever_ready.add(it.generation)
        self.sup.ready(it.id, self.now)
        fate = self._fate(it)
        if fate == "crashes young":
            self.at(self.random.uniform(0.0, 0.9), self.die, it, "killed by SIGSEGV")
        elif fate == "crashes later":
            self.at(self.random.uniform(1.1, 1.6), self.die, it, "killed by SIGSEGV")
        if it.leave_by is not None:
            self.at(self.random.uniform(0.0, 0.1), self.die, it, "exited with code 0")

    def _says_failed(self, it: Fake) -> None:
        if it.exists and not it.hung:
            self.words = True
            self.sup.failed(it.id, f"{it.role} could not be imported\nValueError: no")
            if self.random.random() < 0.05:
                it.hung = True  # an atexit function waits for a thread
            else:
                self.at(self.random.uniform(0.0, 0.01), self.die, it, "exited with code 3")

    def die(self, it: Fake, why: str, sigkill: bool = False, served: bool = False) -> None:
        if not it.exists:
            return
        it.exists = False
        death = self.core.roster.Death(f"{it.role} {why}", sigkill=sigkill, served=served)
        self.at(self.random.uniform(0.0, 0.002), self._reaped, it, death)

    def _reaped(self, it: Fake, death: Any) -> None:
        if it.id not in self.fakes:
            return
        if it.born is None:
            it.unclaimed = death  # nobody has told this pid yet
            return
        if not it.dead:
            it.dead = True
            if it.role == "zygote":
                for unborn in self.fakes.values():
                    unborn.dead = unborn.dead or (unborn.zygote == it.id and unborn.born is None)
            if it.leave_by is None and it.killed is None and it.aside_by is None:
                age = 0.0 if it.ready is None else self.now - it.ready
                young = it.ready is None or age < YOUNG
                excused = death.sigkill and (death.served or age >= NEWBORN)
                if (young or it.generation == self.candidate) and not excused:
                    self._guilt(it)
        self.sup.died(it.id, death, self.now)
        if it.zygote is not None and self.random.random() < 0.3:
            self.sup.forked(it.id, it.pid, self.now)  # the zygote's word, read too late
        if it.role == "worker" and self.nasty and self.random.random() < 0.1:
            self._leave_stray(it)

    def _leave_stray(self, dead: Fake) -> None:
        if self.exit is not None:
            return
        pid = next(self._pids)
        number = self.sup.stray(pid, dead.book, self.now)
        it = Fake(number, "stray", dead.generation, self.now, pid=pid, exists=True, born=self.now)
        it.ready = self.now
        it.hung = self.random.random() < 0.3  # ignores TERM
        self.fakes[number] = it

    # --- carrying out: ends ---------------------------------------------------------------

    def _on_drain(self, command: Any) -> None:
        it = self.fakes[command.process]
        self.require(it.killed is None, f"drain of the dead {it.role} {it.id}")
        limits = self.codes[it.generation]
        again = it.leave_by is not None
        if it.dead:
            # Born, told again and dead, all since the last plan.
            self.require(it.drained_unborn, f"drain of the dead {it.role} {it.id}")
            return
        if it.role == "stray":
            self.require(command.reason == "stop", "a stray is no reload")
            longest = min(RETIRE, command.timeout)  # may be from just before a stop
        elif self.stopping:
            self.require(command.reason == "stop", "a stop is no reload")
            longest = max(0.0, self.stop_by - self.now)
            longest = longest if it.role == "worker" else min(longest, RETIRE)
        elif command.reason == "stop":
            hurried = [slow for _, workers in self._too_many() for slow in workers]
            repeated = again and it.reason == "stop"  # to one that was not born yet
            self.require(it in hurried or repeated, "nobody asked for a stop")
            longest = HURRY
        else:
            self.require(command.reason == "reload", "what reason?")
            longest = limits.graceful if it.role == "worker" else RETIRE
            if it.aside_by is not None and not again:
                enough = it.let_go or self.now >= it.aside_by - EPSILON
                self.require(enough, f"{it.id} is aside and sent away early")
            elif it.role == "worker" and not again:
                self.require(it.aside_for is None, f"{it.id} is sent away and not set aside")
                self._check_unwanted(it)
            if it.role == "zygote":
                spawns = self.modes.get(it.generation) == "spawn"
                wanted = it.generation in (self.serving, self.candidate) and not spawns
                self.require(not wanted, "a wanted zygote leaves")
                kept = it.generation == self.previous and self._can_go_back()
                self.require(not kept, "the zygote to go back to leaves")
        margin = MARGIN if it.role == "worker" else 0.0
        by = self.now + longest + margin
        if again:
            assert it.leave_by is not None
            changed = by < it.leave_by - EPSILON or it.reason != command.reason
            # Asked again only for a reason: the stop is sharper, or it was not born.
            self.require(changed or it.drained_unborn or bool(self.stopping), "drained twice")
            by = min(by, it.leave_by)
        left = max(0.0, by - margin - self.now)
        if self.sup.stopping != "kill":  # its KILL stands right behind
            self.require(abs(command.timeout - left) < EPSILON, f"{command.timeout} s, not {left}")
        it.left_at = it.left_at if again else self.now
        it.leave_by, it.reason = by, command.reason
        it.drained_unborn = it.born is None
        if it.exists and not it.hung and it.born is not None:
            soon = 0.0 if it.role == "zygote" else self.random.uniform(0.0, 1.2) * command.timeout
            if it.ready is None:
                # SIGTERM ends it, unless it is just about to accept.
                soon = 0.001 if self.random.random() < 0.8 else 1e9
            if soon < 1e9:
                self.at(soon, self.die, it, "exited with code 0")

    def _on_aside(self, command: Any) -> None:
        it = self.fakes[command.process]
        self.require(it.role == "worker" and it.serves, f"{it.id} does not serve")
        self.require(it.aside_for is not None, f"nobody wants to look at {it.id}")
        self.require(not self.stopping, "set aside during a stop")
        self._check_unwanted(it)
        others = [w for w in self.fakes.values() if w.slot == it.slot and w.aside_by is not None]
        self.require(not any(w.unasked for w in others), f"two are aside in slot {it.slot}")
        assert it.aside_for is not None
        it.aside_by = self.now + it.aside_for

    def _on_hurried(self, command: Any) -> None:
        slow = dict(self._too_many()).get(command.generation, [])
        count = sum(it.reason != "stop" for it in slow)
        self.require(command.workers == count > 0, f"{count} are hurried, not {command.workers}")

    def _check_unwanted(self, it: Fake) -> None:
        """Nobody who is wanted is sent away."""
        if it.slot >= self.sup.workers:
            return
        if it.asked_to_go and it.generation == self.serving:
            return  # when somebody else serves there: see _turn
        self.require(it.generation != self.candidate, "a wanted worker of the candidate leaves")
        if it.generation == self.serving:
            others = (w for w in self.fakes.values() if w.role == "worker" and w.slot == it.slot)
            rolled = any(w.generation == self.candidate and w.serves for w in others)
            self.require(rolled, "a wanted worker leaves")

    def _on_kill(self, command: Any) -> None:
        it = self.fakes[command.process]
        limits = self.codes[it.generation]
        now = self.now + EPSILON
        if it.killed is not None:
            self.require(it.killed_unborn and it.born is not None, f"{it.id} is killed twice")
            it.killed_unborn = False
        else:
            no_time = self.stopping and it.role != "worker" and now >= self.stop_by
            deaf = self.stopping and it.role == "zygote" and it.ready is None
            if no_time or deaf or it.condemned or self.sup.stopping == "kill":
                due = True
            elif it.leave_by is not None:
                due = now >= it.leave_by
            elif it.ready is not None:
                due = it.role == "zygote" and any(
                    w.zygote == it.id and w.born is None and now >= w.waits_from + FORK
                    for w in itertools.chain(self.fakes.values(), self._unanswered)
                )
            else:
                due = it.born is not None and now >= it.born + limits.start_timeout
            self.require(due, f"{it.role} {it.id} is killed early")
            it.killed, it.killed_unborn, it.drained_unborn = self.now, it.born is None, False
        if it.exists and it.born is not None:
            if it.role == "worker" and it.ready is None and self.random.random() < 0.5:
                self.at(0.0, self._told_ready, it)  # was on its way
            if not it.unkillable:
                self.at(self.random.choice((0.003, 1.0)), self.die, it, "killed by SIGKILL", True)

    @property
    def _unanswered(self) -> list[Fake]:
        return [it for it in self.ghosts if it.role == "worker"]

    def _on_forget(self, command: Any) -> None:
        it = self.fakes.pop(command.process)
        now = self.now + EPSILON
        if not it.dead:
            if it.killed is not None:
                due = now >= it.killed + KILL
            else:
                due = it.born is None and now >= it.waits_from + FORK
            self.require(due, f"{it.role} {it.id} is forgotten while it lives")
        if it.exists or it.born is None:
            self.ghosts.append(it)
            if not it.unkillable:
                it.exists = False  # the end of its channel

    # --- what the supervisor says of the whole ----------------------------------------------

    def offer(self, code: Code) -> None:
        limits = self.core.generation.Limits(
            start=code.start_timeout,
            graceful=code.graceful,
            settle=code.settle,
            lingering=code.lingering,
        )
        number = self.sup.offer(
            limits=limits,
            start=code.start,
            may_change_mode=code.may_change_mode,
            workers=code.workers,
        )
        self.codes[number] = code
        self.candidate = number
        self.moved = self.now

    def _on_resolve(self, command: Any) -> None:
        self.require(self.up and not self.stopping, "a reload before its time")
        self.require(self.candidate is None and self.resolving is None, "two reloads at once")
        self.require(self.unseen_reload, "nobody asked for a reload")
        self.unseen_reload = self.scaled = False
        token = self.resolving = object()
        roll = self.random.random()
        if roll < 0.85 or self.calm:
            self.at(self.random.uniform(0.05, 1.0), self._resolved, token, True)
        elif roll < 0.95:
            self.at(self.random.uniform(0.05, 1.0), self._resolved, token, False)
        else:
            self.at(RESOLVE + 1.0, self._must_be_stopped, token)

    def _resolved(self, token: object, fine: bool) -> None:
        if token is not self.resolving or self.stopping:
            return
        self.resolving = None
        self.moved = self.now
        if fine:
            self.offer(self._random_code(0.5))
        else:
            self.sup.unresolved()

    def _must_be_stopped(self, token: object) -> None:
        if not self.lateness:
            self.require(token is not self.resolving, "resolves for ever")

    def _on_stop_resolving(self, command: Any) -> None:
        if "rollback" in command.why:
            self.require(self.asked_back, "nobody asked to go back")
            return
        self.require(self.resolving is not None, "nobody resolves")
        self.resolving = None

    def _on_up(self, command: Any) -> None:
        number = command.generation
        self.require(not self.up and number == self.candidate, "up twice")
        self.require(number in self.ever_ready, "up without a worker")
        self.up, self.serving, self.candidate = True, number, None
        self.mode = self.modes[number]

    def _on_served(self, command: Any) -> None:
        number = command.generation
        self.require(self.up and number == self.candidate, f"{number} is not on trial")
        old = self.serving
        assert old is not None
        have = {it.slot for it in self.fakes.values() if it.generation == number and it.serves}
        missing = set(range(self.sup.workers)) - have
        if self.codes[number].workers == self.codes[old].workers or self.scaled:
            self.require(not missing, f"served, but not in {missing}")
        else:
            self.require(self.sup.workers == self.codes[number].workers, "workers not as set")
            self.workers = self.sup.workers
        self.require(self.sup.workers == self.workers, "the number of workers moved by itself")
        keep = number > old and self._warm(old)
        self.previous, self.settled = old if keep else None, self.now + self.codes[number].settle
        self.serving, self.candidate, self.mode = number, None, self.modes[number]

    def _on_rolled_back(self, command: Any) -> None:
        number, why = command.generation, command.why
        self.require(self.up and number == self.candidate, f"{number} is not on trial")
        if "allow it" in why:
            code = self.codes[number]
            self.require(not code.may_change_mode, "a change of mode was allowed")
            needs = self._mode_of(code)
            self.require(needs != self.mode and f"needs {needs}" in why, "the mode does not change")
        elif "rollback" in why:
            self.require(self.asked_back, "nobody asked to give it up")
        elif "zygote has ended" in why:
            assert self.serving is not None
            gone = number < self.serving and not self._warm(number)
            self.require(gone, f"{number} could be had again")
        elif self._tells_a_refusal(why):
            self.require("birth" in self.guilty[number], f"{number} was refused nothing")
            tries = self.refused_before[number]
            pause, longest = min(30.0, 0.1 * 2.0**tries), self.codes[number].start_timeout
            lasts = self.now - self.refused_since[number] if tries else 0.0
            self.require(lasts + pause > longest - EPSILON, f"{number} may be tried again")
            assert self.serving is not None
            if number < self.serving:
                self.previous = number  # it has not failed
        else:
            faults = self._faults(number)
            self.require(bool(faults), f"{number} did nothing wrong")
            if number in self.ever_ready or faults == {"zygote"}:
                strikes = max(self.strikes[number, kind] for kind in faults)
                self.require(strikes == 2, f"rolled back after {strikes + 1} strikes")
        self.candidate = None
        for it in self.fakes.values():
            if it.role == "worker" and it.generation == number:
                self.at(self.random.uniform(0.001, 0.1), self.die, it, "killed by SIGSEGV")

    def _on_goes_back(self, command: Any) -> None:
        number, to = command.generation, command.to
        self.require(self.up and number == self.serving, f"{number} does not serve")
        self.require(self.candidate is None and self.resolving is None, "back from two")
        self.require(to == self.previous and self.now < self.settled, f"{to} is not kept")
        looped = max(self.strikes[number, "worker"], self.strikes[number, "zygote"]) >= 3
        looped = looped and bool(self._faults(number))
        self.require(self.asked_back or looped, "back for nothing")
        self.candidate, self.previous, self.scaled = to, None, False
        for kind in ("worker", "zygote", "birth"):
            self.strikes[to, kind] = 0
            self.paused.pop((to, kind), None)

    def _must_go_back(self, out: list[Any]) -> None:
        """Code that crash-loops while the one before is kept does not go on."""
        for command in out:
            if type(command) is not c.BackedOff or command.strikes < 3:
                continue
            if self._tells_a_refusal(command.why):
                continue  # the old code would be refused as well
            idle = self.candidate is None and self.resolving is None and self.moved != self.now
            if command.generation == self.serving and idle and self._can_go_back():
                self.require(any(type(it) is c.GoesBack for it in out), "it does not go back")

    @staticmethod
    def _tells_a_refusal(why: str) -> bool:
        return "could not be started" in why or "could not be forked" in why

    def _on_backed_off(self, command: Any) -> None:
        number, strikes = command.generation, command.strikes
        self.require(number in self.guilty, f"{number} pauses for nothing")
        self.require(number in (self.serving, self.candidate), f"{number} pauses and is past")
        kinds, why = self.guilty[number], command.why
        forking = why.startswith("zygote") or "fork request" in why or "imported within" in why
        kind = "zygote" if "zygote" in kinds and (forking or "worker" not in kinds) else "worker"
        if self._tells_a_refusal(why):
            kind = "birth"
        rightly = "birth" in kinds if kind == "birth" else bool(self._faults(number))
        self.require(rightly, f"{number} did nothing of the kind: {why}")
        key = (number, kind)
        trial = number == self.candidate
        quiet = self.now - self.struck_at.get(key, -1e9)
        fresh = strikes == 1 and not trial and quiet > 10.0
        before = self.refused_before[number] if kind == "birth" else self.strikes[key]
        self.require(strikes == before + 1 or fresh, f"strike {strikes} after {before}")
        pause = min(30.0, 0.1 * 2.0 ** (strikes - 1))
        self.require(abs(command.delay - pause) < EPSILON, f"{command.delay} s, not {pause}")
        self.require(not self._resting(number, kind), "a pause within a pause")
        if strikes == 1 and kind == "birth":
            self.refused_since[number] = self.now
        if trial and self.up and kind == "birth":
            lasts = self.now + pause - self.refused_since[number]
            longest = self.codes[number].start_timeout
            self.require(lasts < longest + EPSILON, f"{number} is refused for {lasts} s")
        elif trial:
            self.require(strikes < (3 if self.up else 5), f"{strikes} strikes on trial")
            if self.up and kind == "worker":
                self.require(number in self.ever_ready, "a second try for a canary")
        self.strikes[key], self.struck_at[key] = strikes, self.now
        if kind == "birth" and number in self.born_since:
            self.strikes[key] = 0
        self.paused[key] = self.now + pause

    def _on_rests(self, command: Any) -> None:
        number = command.generation
        self.require(number in self.hardly_ready, f"{number} rests for nothing")
        self.hardly_ready.discard(number)
        self.require(self.now >= self.rest_until.get(number, -1.0), "a rest within a rest")
        longer = abs(command.delay - min(30.0, 2 * self.rests.get(number, 0.05))) < EPSILON
        quiet = self.now - self.rest_until.get(number, -1e9) > 10.0 - self.rests.get(number, 0.0)
        first = abs(command.delay - 0.1) < EPSILON and quiet
        self.require(longer or first, f"a rest of {command.delay} s")
        self.rests[number], self.rest_until[number] = command.delay, self.now + command.delay

    @staticmethod
    def _needs(code: Code) -> str:
        return "spawn" if code.hazards else "zygote"

    def _mode_of(self, code: Code) -> str:
        if code.start != "auto":
            return code.start
        return "spawn" if self.mode == "spawn" else self._needs(code)

    def _on_mode_chosen(self, command: Any) -> None:
        number, mode = command.generation, command.mode
        code = self.codes[number]
        self.require(number not in self.modes, "a mode is chosen twice")
        self.require(mode == self._mode_of(code), f"{mode} is not what it needs")
        allowed = self.mode in ("", mode) or code.may_change_mode
        self.require(allowed, f"{mode} under a running instance in {self.mode}")
        self.modes[number] = mode

    def _on_exit(self, command: Any) -> None:
        self.require(not self.fakes, f"left behind: {[it.id for it in self.fakes.values()]}")
        self.exit = command
        if command.code:
            self.require(not self.up, "a service that was up gives up")
            self.require(bool(command.why), "gives up without a word")
            strikes = max(self.strikes[1, kind] for kind in ("worker", "zygote", "birth"))
            self.require(command.code == 3 or strikes == 4, f"gives up after {strikes + 1}")
            self.require(command.code == 5 or self.words, f"code 3 after {strikes + 1}")
        else:
            self.require(bool(self.stopping), "nobody asked it to stop")
            # Strays may come when the last worker is gone.
            bound = self.stop_by + MARGIN + 2 * KILL + RETIRE + self.late_since_stop
            self.require(self.now <= bound, f"the stop took {self.now - self.stop_by:.1f} s more")

    # --- weather ----------------------------------------------------------------------------

    def _random_code(self, bad: float) -> Code:
        random = self.random
        start = random.choice(("auto", "auto", "auto", "zygote", "spawn"))
        return Code(
            fate=random.choice(FATES) if random.random() < bad else "good",
            load=random.choice((0.05, 0.3, 2.0)),
            boot=random.choice((0.01, 0.2, 1.0)),
            hazards=("thread at chat.py:3",) if random.random() < 0.3 else (),
            start=start,
            may_change_mode=random.random() < 0.5,
            workers=random.randint(1, 4) if random.random() < 0.3 else self.sup.workers,
            start_timeout=random.choice((3.0, 8.0, 12.5)),
            graceful=random.choice((0.0, 1.0, 6.0, 30.0)),
            lingering=random.choice((1, 1, 2)),
            settle=random.choice((0.0, 3.0, 300.0, 300.0)),
        )

    def weather(self, seconds: float, events: int) -> None:
        """Schedules `events` mishaps and orders within `seconds`."""
        random = self.random
        self.lateness = random.choice((0.0, 0.5, 60.0))
        for _ in range(events):
            self.at(random.uniform(0.0, seconds), random.choice(_WEATHER), self)

    def _pick(self, *roles: str) -> Fake | None:
        there = [it for it in self.fakes.values() if it.role in roles and it.exists]
        return self.random.choice(there) if there else None

    def _sigkill(self) -> None:
        if (it := self._pick("worker")) is not None:
            self.die(it, "killed by SIGKILL", True, it.ready is not None)

    def _sigkill_unserved(self) -> None:
        if (it := self._pick("worker")) is not None:
            self.die(it, "killed by SIGKILL", True)

    def _crash(self) -> None:
        if (it := self._pick("worker")) is not None:
            self.die(it, "killed by SIGSEGV")

    def _massacre(self) -> None:
        for it in list(self.fakes.values()):
            if it.role == "worker":
                self.die(it, "killed by SIGKILL", True, it.ready is not None)

    def _kill_zygote(self) -> None:
        if (it := self._pick("zygote")) is not None:
            self.die(it, "killed by SIGKILL", True)

    def _stop_zygote(self) -> None:
        if (it := self._pick("zygote")) is not None:
            it.hung = True
            if self.random.random() < 0.5:
                self.at(self.random.uniform(0.1, 8.0), self._continue, it)

    def _continue(self, it: Fake) -> None:
        if it.exists:
            it.hung = False
            pending, it.pending = it.pending, []
            for worker in pending:
                self.at(0.001, self._fork, it, worker)

    def _hang_worker(self) -> None:
        if (it := self._pick("worker")) is not None:
            it.hung = True

    def _unkillable(self) -> None:
        if (it := self._pick("worker", "zygote")) is not None and self.nasty:
            it.unkillable = it.hung = True

    def _leaving(self) -> None:
        if (it := self._pick("worker")) is not None and it.born is not None:
            it.asked_to_go = True
            it.let_go = it.aside_by is not None
            self.sup.leaving(it.id)

    def _reaches_limit(self) -> None:
        """Some that have just become ready, and others of any age."""
        there = [
            it for it in self.fakes.values() if it.role == "worker" and it.exists and it.serves
        ]
        for it in self.random.sample(there, min(len(there), 2)):
            it.asked_to_go = True
            assert it.ready is not None
            resting = self.now < self.rest_until.get(it.generation, -1.0)
            if self.now - it.ready < YOUNG and not self.stopping and not resting:
                self.hardly_ready.add(it.generation)
            self.sup.limit_reached(it.id, "answered 1 request", self.now)
        if self.random.random() < 0.7:
            self.at(self.random.choice((0.05, 0.3, 1.0)), self._reaches_limit)

    def _condemn(self) -> None:
        it = self._pick("worker")
        if it is not None and it.id in self.fakes and it.born is not None and it.killed is None:
            young = it.ready is None or self.now - it.ready < YOUNG
            if not self.stopping and it.stays and (young or it.generation == self.candidate):
                self._guilt(it)
            it.condemned, it.hung = True, True
            self.sup.condemn(it.id, "worker does not turn", self.now)

    def _recycle(self) -> None:
        slot = self.random.choice((None, None, 0, 1))
        if self.stopping or self.serving != self.sup.serving:  # up, and not said yet
            return
        wanted = [
            it
            for it in self.fakes.values()
            if it.role == "worker" and it.serves and it.generation == self.serving
            if it.slot < self.sup.workers and slot in (None, it.slot)
        ]
        found = self.sup.recycle(slot)
        self.require(set(found) == {it.id for it in wanted}, f"recycles {found} in slot {slot}")
        for it in wanted:
            it.asked_to_go = True

    def _set_aside(self) -> None:
        """Somebody wants to look at a worker."""
        slot, seconds = self.random.randint(0, 2), self.random.choice((0.5, 3.0, 40.0))
        moved = (self.serving, self.candidate) != (self.sup.serving, self.sup.candidate)
        if self.stopping or moved:  # and not said yet
            return
        there = [it for it in self.fakes.values() if it.role == "worker" and it.slot == slot]
        taken = any(it.aside_for is not None and it.unasked for it in there)
        rolled = any(it.serves and it.generation == self.candidate for it in there)
        wanted = self.candidate if rolled else self.serving
        found = [it for it in there if it.serves and it.generation == wanted]
        expected = found[0] if found and not taken and slot < self.sup.workers else None
        got = self.sup.set_aside(slot, seconds)
        same = (got and got.id) == (expected and expected.id)
        self.require(same, f"slot {slot}: {got} is to be set aside, not {expected}")
        if expected is not None:
            expected.asked_to_go, expected.aside_for = True, seconds

    def reload(self) -> None:
        if not self.stopping:
            first = self.sup.reload()
            joins = self.unseen_reload or self.resolving or self.sup.candidate is not None
            self.require(first is not bool(joins), "merged or not?")
            self.unseen_reload = True

    def _rollback(self) -> None:
        if self.stopping or self.serving != self.sup.serving:
            return
        going = self.sup.candidate
        moving = going is not None or self.resolving is not None or self.unseen_reload
        if self.serving is None or (going is not None and going < self.serving):
            self.require(self.sup.rollback(self.now) in (going, None), "back from nowhere")
            if self.serving is not None:
                self.unseen_reload = False  # the last word counts
            return
        expected = self.serving if moving else self.previous if self._can_go_back() else None
        if expected is not None:
            self.asked_back, self.unseen_reload = True, False
            self.resolving, self.moved = None, self.now
        found = self.sup.rollback(self.now)
        self.require(found == expected, f"goes back to {found}, not {expected}")
        if self.random.random() < 0.4:
            self.at(self.random.choice((0.0, 0.002, 0.1)), self._kill_zygote_of, found)

        if self.random.random() < 0.4:
            self.at(self.random.choice((0.0, 0.01, 0.1)), self._rollback)

    def _deploy_and_return(self) -> None:
        """Somebody deploys, looks, and wants the old code back."""
        self.reload()
        for _ in range(2):
            self.at(self.random.uniform(1.0, 8.0), self._rollback)
            if self.random.random() < 0.3:
                self.at(self.random.uniform(1.0, 8.0), self._no_forks)

    def _kill_zygote_of(self, number: int | None) -> None:
        for it in list(self.fakes.values()):
            if it.role == "zygote" and it.generation == number:
                self.die(it, "killed by SIGKILL", True)

    def _turns_bad(self) -> None:
        """Code that was fine crash-loops for a while: a database is gone."""
        if self.serving is not None:
            code = self.codes[self.serving]
            self.at(8.0, setattr, code, "fate", code.fate)
            code.fate = "crashes young"
            self._massacre()
            if self.random.random() < 0.5:  # somebody has a remedy
                self.at(self.random.uniform(0.0, 2.0), self.reload)

    def _storm(self) -> None:
        for _ in range(5):
            self.at(self.random.uniform(0.0, 0.5), self.reload)

    def _scale(self) -> None:
        wanted = self.random.randint(0, 5)
        self.workers = max(1, wanted)
        self.scaled = True
        self.sup.scale(wanted)

    def _no_forks(self) -> None:
        self.forks_fail_until = self.now + self.random.choice((0.1, 1.0, 3.0, 15.0))
        self.forks_fail_often = self.random.choice((1.0, 0.6))

    def stop(self, timeout: float, kill: bool = False) -> None:
        by = self.now + timeout
        if kill:
            self.stopping, self.stop_by = "kill", self.now
        elif not self.stopping or (self.stopping == "drain" and by < self.stop_by):
            self.stopping, self.stop_by = "drain", by
        self.sup.stop(self.now, timeout, kill)

    def _stop_now(self) -> None:
        """An order to stop, and perhaps a sharper one, or a milder one, behind it."""
        for _ in range(self.random.choice((1, 1, 2, 3))):
            timeout, kill = self.random.choice((0.0, 1.0, 3.0, 25.0)), self.random.random() < 0.2
            self.at(self.random.choice((0.0, 0.5, 2.0)), self.stop, timeout, kill)

    def _stop_perhaps(self) -> None:
        if self.random.random() < 0.15:
            self._stop_now()

    # --- the ends ------------------------------------------------------------------------------

    def calm_down(self) -> None:
        """The weather stops.  What is there when nothing moves any more?"""
        self._heap = [it for it in self._heap if it[2] not in _WEATHER]
        heapq.heapify(self._heap)
        self.calm, self.lateness = True, 0.0
        # A worker that hangs in its service is not this machine's business.
        self.run()
        if self.exit is not None:
            return
        self.require(not self.stopping, "a stop that never ends")
        self.require(self.up, "never up, and never gave up")
        self.require(self.candidate is None, "a candidate that is never judged")
        self.require(self.resolving is None and not self.unseen_reload, "a reload without answer")
        workers = sorted(it.slot for it in self.fakes.values() if it.role == "worker")
        self.require(workers == list(range(self.workers)), f"slots {workers}, not {self.workers}")
        zygotes = [it for it in self.fakes.values() if it.role == "zygote"]
        self.require(len(zygotes) == (self.mode == "zygote"), f"{len(zygotes)} zygotes")
        self.require(len(self.fakes) == len(workers) + len(zygotes), "something else exists")
        for it in self.fakes.values():
            self.require(it.generation == self.serving and it.serves, f"{it.id} does not serve")
            self.require(it.exists, f"{it.id} does not exist")
            self.require(not it.asked_to_go, f"{it.id} was never replaced")
        for it in self.ghosts:
            self.require(not it.exists or it.unkillable, f"{it.id} is forgotten and exists")
        self.require(set(self.sup.roster.processes) == set(self.fakes), "books and world differ")
        self.require(set(self.sup.generations) == {self.serving}, "old generations are kept")

    def end(self) -> None:
        """A stop, which must end; with everything that is there."""
        if self.exit is None:
            self._stop_now()
            self.run()
        self.require(self.exit is not None, "a stop that never ends")


_WEATHER: tuple[Callable[[World], None], ...] = (
    *[World._sigkill] * 3,
    World._sigkill_unserved,
    *[World._crash] * 3,
    World._massacre,
    World._kill_zygote,
    World._kill_zygote,
    World._stop_zygote,
    World._hang_worker,
    World._unkillable,
    *[World._leaving] * 2,
    *[World._recycle] * 2,
    *[World._set_aside] * 5,
    World._reaches_limit,
    World._condemn,
    *[World.reload] * 4,
    *[World._rollback] * 2,
    *[World._deploy_and_return] * 3,
    *[World._turns_bad] * 2,
    World._storm,
    *[World._scale] * 2,
    *[World._no_forks] * 2,
    World._stop_perhaps,
)


def live(seed: int, core: Core = REAL) -> World:
    """One whole life: boot, weather, calm, end."""
    world = World(seed, core)
    world.weather(world.random.choice((3.0, 20.0)), world.random.randint(3, 20))
    if world.random.random() < 0.15:
        world.at(world.random.uniform(0.0, 1.0), world._stop_now)
    world.run(30.0)
    world.calm_down()
    world.end()
    return world
