"""The processes of an instance, and what can be read off them.

A `Process` walks the table of `leeward._core.worker`; the `Roster` only answers
questions about who is where.  It holds what *is*; what is *wanted* stands in
`leeward._core.supervisor`.
"""

from __future__ import annotations

from collections.abc import Iterator

from leeward._core.generation import Limits
from leeward._core.record import Record, Struct, field
from leeward._core.worker import ALIVE, Event, State, step


class Death(Record):
    """How a process ended: words for a person, facts for a decision."""

    why: str
    sigkill: bool = False
    served: bool = False  # it had accepted at least one connection
    unborn: bool = False  # it could not be made at all: nothing of it has run


class Process(Struct):
    """A worker, a zygote, or a stray (what a dead worker's application left behind)."""

    id: int
    role: str  # "worker" | "zygote" | "stray"
    generation: int
    limits: Limits
    state: State
    since: float
    deadline: float | None = None
    slot: int = -1
    row: int = -1
    pid: int = 0
    #: The zygote that was asked to fork it; None for a process that was spawned.
    zygote: int | None = None
    ready_at: float | None = None
    #: It is its turn to be replaced first and drained then.
    retiring: bool = False
    #: It is to be set aside when it has been replaced, for so many seconds.
    aside_for: float | None = None
    #: Why we sent it away: "aside", "reload" or "stop"; empty while it is to stay.
    told: str = ""
    #: What it said of itself, or what is held against it.
    failure: str = ""

    @property
    def alive(self) -> bool:
        return self.state in ALIVE

    @property
    def fills_its_slot(self) -> bool:
        return self.alive and not self.retiring

    def step(self, event: Event, now: float) -> None:
        """Follow the table; a new state starts its own deadline."""
        state = step(self.state, event)
        if state is not self.state:
            self.state, self.since = state, now
            self.deadline = self._deadline(now)

    def _deadline(self, now: float) -> float | None:
        lasts = {
            State.SPAWNING: self.limits.fork,
            State.STARTING: self.limits.start,
            State.ASIDE: self.aside_for or 0.0,
            State.DRAINING: self.limits.graceful + self.limits.margin,
            State.KILLING: self.limits.kill,
        }
        return now + lasts[self.state] if self.state in lasts else None


class Roster(Struct):
    processes: dict[int, Process] = field(default_factory=dict)
    rows: int = 1024
    _last: int = 0

    def __iter__(self) -> Iterator[Process]:
        # A copy: deciding about one process may add or remove another.
        return iter(list(self.processes.values()))

    def get(self, id: int) -> Process | None:
        """The process, unless it is gone: late words about the dead change nothing."""
        it = self.processes.get(id)
        return None if it is None or it.state is State.GONE else it

    def add(self, role: str, generation: int, limits: Limits, state: State, now: float) -> Process:
        self._last += 1
        it = Process(self._last, role, generation, limits, State.SPAWNING, now)
        it.deadline = now + limits.fork
        if state is not State.SPAWNING:
            it.step(Event.FORKED, now)
        self.processes[it.id] = it
        return it

    def remove_gone(self) -> list[Process]:
        gone = [it for it in self if it.state is State.GONE]
        for it in gone:
            del self.processes[it.id]
        return gone

    def of(self, role: str, generation: int | None = None) -> list[Process]:
        every = self.processes.values()
        if generation is None:
            return [it for it in every if it.role == role]
        return [it for it in every if it.role == role and it.generation == generation]

    def zygote(self, generation: int) -> Process | None:
        """The generation's zygote that has not been sent away."""
        return next((it for it in self.of("zygote", generation) if it.alive), None)

    def filled(self, slot: int, generation: int) -> bool:
        """Is there a worker of `generation` in `slot`, serving or about to?"""
        return any(it.slot == slot and it.fills_its_slot for it in self.of("worker", generation))

    def serves(self, slot: int, generation: int) -> bool:
        """Does a worker of `generation` accept in `slot`?"""
        return any(
            it.slot == slot and it.fills_its_slot and it.state is State.SERVING
            for it in self.of("worker", generation)
        )

    def coming(self, generation: int) -> bool:
        """Is any worker of `generation` on its way?"""
        return any(
            it.state in (State.SPAWNING, State.STARTING) for it in self.of("worker", generation)
        )

    def free_row(self) -> int | None:
        """The lowest row of the shared page that nobody writes."""
        taken = {it.row for it in self.of("worker")}
        return next((row for row in range(self.rows) if row not in taken), None)
