"""A world for `leeward._core.vitals`: loops that turn, block, work, are stopped and traced.

Each worker has a plan, drawn from one seed: when it sleeps, for how long each of its turns
lasts, whether that turn burns CPU, when it is stopped and for how long.  What is found by
looking at it is held against this plan; how often one looks, against what is busy.

The page is not read at once: a look sees what stood there half a millisecond before, and a
worker sees the flag as it was half a millisecond before (a store that waits in a processor).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from types import ModuleType

from leeward._core import vitals as real

STALE = 0.0005
EPSILON = 1e-6
#: Two ticks; and with the patience with a stack.
SEEN, LATE = 0.25, 0.55
#: From a SIGKILL to its end.
DYING = 0.25


@dataclass
class Turn:
    begins: float
    ends: float
    works: bool
    #: What was found of it.
    asked: int = 0
    told: int = 0
    again: int = 0
    condemned: float | None = None


@dataclass
class Worker:
    id: int
    turns: list[Turn] = field(default_factory=list)
    beats: bool = False
    traced: bool = False
    #: Its stack, when it is asked: between "steps", in "c" only, or "never", though it seems to
    #: stand in C ("deaf") or does not (it gets no processor).
    writes: str = "steps"
    asked_at: float = -1.0
    asked_in_c: bool = False
    stopped_at: float | None = None
    dies_at: float = float("inf")

    @property
    def gone(self) -> bool:
        return self.dies_at != float("inf")

    def at(self, now: float) -> tuple[Turn | None, int]:
        """The turn that it is in, and how many have begun."""
        begun = [it for it in self.turns if it.begins <= now]
        last = begun[-1] if begun else None
        return (last if last and now < last.ends else None), len(begun)

    def cpu(self, now: float) -> float:
        spans = (min(now, it.ends) - it.begins for it in self.turns if it.works)
        return sum(max(0.0, span) for span in spans)


class Loops:
    def __init__(self, seed: int, vitals: ModuleType = real) -> None:
        random = self.random = Random(seed)
        self.seed, self.v, self.now = seed, vitals, 100.0
        self.sup = vitals.Vitals()
        self.bounds = vitals.Bounds(
            warn=random.choice((0.25, 0.25, 0.25, 1.0, 5.0, 0.0)),
            kill=random.choice((0.0, 3.0, 6.0)),
            kill_working=random.random() < 0.3,
            stopped=random.choice((0.0, 2.0)),
        )
        self.flag = [(0.0, True)]
        self.looks: list[float] = []
        self.lines: dict[int, list[float]] = {}
        self.counted = 0
        self.workers = [self._worker(number) for number in range(random.randint(1, 3))]

    def _worker(self, number: int) -> Worker:
        random, now = self.random, self.now + 0.5
        writes = random.choice(("steps",) * 6 + ("c", "c", "deaf", "never"))
        worker = Worker(number, traced=random.random() < 0.1, writes=writes)
        for _ in range(random.randint(1, 25)):
            if random.random() < 0.5:
                now += random.choice((0.0003, 0.05, 0.1, 1.0, 5.0))
            lasts = random.choice((0.001, 0.05, 0.1, 0.3, 0.6, 0.6, 2.0, 9.0))
            worker.turns.append(Turn(now, now + lasts, random.random() < 0.4))
            now += lasts + 1e-5
        return worker

    def require(self, true: bool, broken: str) -> None:
        if not true:
            raise AssertionError(f"seed {self.seed}, t={self.now:.4f}: {broken}")

    # --- time ---------------------------------------------------------------------------

    def live(self) -> None:
        wakes = [(t.begins, it) for it in self.workers for t in it.turns]
        wakes.sort(key=lambda wake: wake[0])
        end = max(t.ends for it in self.workers for t in it.turns) + 30.0
        if self.random.random() < 0.5:
            self._plan_stop()
        while True:
            due = self.sup.next_look()
            wake = wakes[0][0] if wakes else float("inf")
            self.now = max(self.now, min(wake, float("inf") if due is None else due))
            if min(wake, float("inf") if due is None else due) > end:
                break
            if due is not None and due <= wake:
                self._look()
                continue
            _, worker = wakes.pop(0)
            if not worker.gone and worker.stopped_at is None and not self._sees_flag():
                self.sup.rung(self.now)
        self._judge()

    def _sees_flag(self) -> bool:
        return [on for at, on in self.flag if at <= self.now - STALE or at == 0.0][-1]

    def _plan_stop(self) -> None:
        """A worker of its own that does nothing but be stopped."""
        it = Worker(len(self.workers))
        it.turns = [Turn(self.now + 0.1, self.now + 0.101, False)]
        self.workers.append(it)
        it.stopped_at = self.now
        self.sup.stopped(it.id, "SIGSTOP", self.bounds, self.now)

    # --- a look --------------------------------------------------------------------------

    def _look(self) -> None:
        self.looks.append(self.now)
        self.require(len(self.looks) < 5000, "looks without end")
        seen, details = self.now - STALE, {}
        pulses = {}
        for it in self.workers:
            if self.now >= it.dies_at:
                continue
            turn, begun = it.at(seen)
            since = turn.begins if turn is not None and it.stopped_at is None else 0.0
            pulses[it.id] = self.v.Pulse(it.id, since, begun, it.beats, self.bounds)
        for id in self.sup.suspects(self.now, pulses):
            it = self.workers[id]
            written = it.asked_at >= 0 and it.writes in ("steps", "c" if it.asked_in_c else "")
            cpu = it.cpu(self.now)
            works = turn.works if (turn := it.at(self.now)[0]) else False
            asleep = it.writes != "never" and not works
            main = cpu if it.writes != "never" else 0.0
            details[id] = self.v.Details(cpu, it.traced, False, written, main, asleep)
        for finding in self.sup.look(self.now, pulses, details):
            kind = type(finding).__name__.lower()
            getattr(self, f"_{kind}")(finding, seen)
        if self.sup.awake != self.flag[-1][1]:
            self.flag.append((self.now, self.sup.awake))
        due = self.sup.next_look()
        self.require(due is None or due > self.now, "a look that asks for another at once")
        busy = any(it.since for it in pulses.values())
        self.require((due is not None and due <= self.now + 0.1 + EPSILON) or not busy, "no tick")

    def _turn(self, id: int, seen: float) -> Turn:
        turn, _ = self.workers[id].at(seen)
        self.require(turn is not None, f"{id} sleeps")
        assert turn is not None
        return turn

    def _line(self, id: int) -> None:
        times = self.lines.setdefault(id, [])
        self.require(not times or self.now - times[-1] >= 1.0 - EPSILON, "two lines in a second")
        times.append(self.now)

    def _ask(self, finding: real.Ask, seen: float) -> None:
        it, turn = self.workers[finding.worker], self._turn(finding.worker, seen)
        self.require(not it.traced, "a signal to a process in a debugger")
        if finding.in_c:
            self.require(it.writes in ("c", "deaf"), "asked as if it stood in C")
            self.require(it.asked_at >= 0 and not it.asked_in_c, "asked so at once, or twice")
            self.require(self.now - it.asked_at >= self.v.SOON - EPSILON, "no time to answer")
            it.asked_in_c = True
            return
        bound = min(b for b in (self.bounds.warn, self.bounds.kill) if b)
        self.require(self.now - turn.begins >= bound - EPSILON, "asked early")
        turn.asked += 1
        self.require(turn.asked <= 2, "asked again and again")
        it.asked_at, it.asked_in_c = self.now, False

    def _blocked(self, finding: real.Blocked, seen: float) -> None:
        it = self.workers[finding.worker]
        self.require(self.bounds.warn > 0, "nobody wants to be told")
        turn = self._of(it, finding.seconds)
        over = it.at(seen)[0] is not turn
        self.require(finding.over == over, "over or not?")
        self.require(turn.told == 0, "told twice")
        turn.told += 1
        self.counted += finding.more
        began = [] if over else [self.now]
        self.require(not began or finding.seconds >= self.bounds.warn, "told early")
        if it.writes in ("steps", "c") and not it.traced:
            late = self.now - it.asked_at
            most = 0.1 if it.writes == "steps" else 0.2
            self.require(it.asked_at > 0 and late <= most + EPSILON, f"told {late} s late")
            self.require(it.writes == "steps" or it.asked_in_c or over, "not asked as it stands")
        elif not it.traced and not over:
            late = self.now - it.asked_at
            self.require(self.v.PATIENCE - EPSILON <= late <= 0.5, f"told after {late} s")
        it.asked_at = -1.0
        self._line(it.id)

    def _turnsagain(self, finding: real.TurnsAgain, seen: float) -> None:
        it = self.workers[finding.worker]
        turn = self._of(it, finding.seconds)
        self.require(turn.told == 1 and it.at(seen)[0] is not turn, "it does not turn")
        turn.again += 1
        self.require(turn.again == 1, "said twice")
        self.lines[it.id][-1] = self.now

    def _of(self, it: Worker, seconds: float) -> Turn:
        """The turn that began so long ago."""
        found = [t for t in it.turns if abs(self.now - seconds - t.begins) < 1e-4]
        self.require(len(found) == 1, f"no turn began {seconds} s ago")
        return found[0]

    def _more(self, finding: real.More, seen: float) -> None:
        self.require(finding.count > 0, "none to be told of")
        self.counted += finding.count
        self._line(finding.slot)

    def _condemn(self, finding: real.Condemn, seen: float) -> None:
        it = self.workers[finding.worker]
        self.require(not it.traced and not it.gone, "condemned in a debugger, or twice")
        if it.stopped_at is not None:
            bound = self.bounds.stopped
            self.require(bound > 0 and self.now >= it.stopped_at + bound - EPSILON, "too early")
            self.require(self.now <= it.stopped_at + bound + 0.1, "too late")
        else:
            turn, kill = self._turn(it.id, seen), self.bounds.kill
            self.require(kill > 0 and self.now - turn.begins >= kill, "killed early")
            self.require(self.bounds.kill_working or not turn.works, "killed at work")
            self.require(turn.asked > 0, "killed before its stack was asked for")
            turn.condemned = self.now
        it.dies_at = self.now + DYING

    # --- the end --------------------------------------------------------------------------

    def _judge(self) -> None:
        """Nothing was overlooked, and it sleeps."""
        self.require(self.sup.next_look() is None, "it never sleeps")
        self.require(not self.sup.awake, "it says that it looks, and sleeps")
        must = may = told = 0
        for it in self.workers:
            dies = min((t.condemned for t in it.turns if t.condemned), default=float("inf"))
            for turn in it.turns:
                ends = min(turn.ends, dies)
                lasted = ends - turn.begins
                if self.bounds.warn and turn.begins < dies and it.stopped_at is None:
                    may += lasted >= self.bounds.warn
                    must += lasted >= self.bounds.warn + SEEN
                told += turn.told
                done = turn.told == 0 or turn.again == 1 or lasted < self.bounds.warn + LATE + 0.2
                self.require(done or ends == dies, "nobody said that it turns again")
                slow = 2 * self.v.WINDOW + LATE + 0.2
                able = self.bounds.kill_working or not turn.works
                if self.bounds.kill and able and not it.traced and turn.begins < dies:
                    self.require(lasted <= self.bounds.kill + slow, f"{it.id} was never killed")
            if it.stopped_at is not None:
                self.require(it.gone == (self.bounds.stopped > 0), "stopped for ever")
        # A worker that dies takes what was not told of it along.
        lost = sum(it.gone for it in self.workers) * 25
        self.require(must - lost <= told + self.counted <= may, f"{told}+{self.counted} of {must}")


def live(seed: int, vitals: ModuleType = real) -> None:
    Loops(seed, vitals).live()
