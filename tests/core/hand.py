"""A steady hand for directed tests: obeys `plan` in a world where all goes well."""

from __future__ import annotations

from typing import TypeVar

from leeward._core import commands as c
from leeward._core.generation import Limits
from leeward._core.roster import Death, Process
from leeward._core.supervisor import Supervisor
from leeward._core.worker import State

C = TypeVar("C", bound=c.Command)

EXIT_0 = Death("exited with code 0")
SEGV = Death("killed by SIGSEGV")
SIGKILL = Death("killed by SIGKILL", sigkill=True, served=True)


class Hand:
    """`start`, `hazards` and `limits` are those of the next code that is offered.

    said: every command so far.
    """

    def __init__(
        self,
        workers: int = 2,
        *,
        start: str = "zygote",
        hazards: tuple[str, ...] = (),
        may_change_mode: bool = False,
    ) -> None:
        self.now = 0.0
        self.sup = Supervisor(workers=workers)
        self.start, self.hazards, self.may_change_mode = start, hazards, may_change_mode
        self.workers = workers
        self.limits = Limits(start=10.0, graceful=5.0, settle=0.0)
        self.said: list[c.Command] = []
        self._pid = 100
        self.offer()

    def offer(self) -> int:
        return self.sup.offer(
            limits=self.limits,
            start=self.start,
            may_change_mode=self.may_change_mode,
            workers=self.workers,
        )

    def plan(self) -> list[c.Command]:
        """One plan, asked for twice."""
        out = self.sup.plan(self.now)
        assert self.sup.plan(self.now) == []
        self.said += out
        return out

    def later(self, seconds: float) -> list[c.Command]:
        self.now += seconds
        return self.plan()

    def settle(self) -> list[c.Command]:
        """All that is under way turns out well.  Returns what was asked for meanwhile."""
        begin = len(self.said)
        while True:
            self.plan()
            moving = [it for it in self.sup.roster if it.state is not State.SERVING]
            for it in moving:
                self.turn_out_well(it)
            if self.sup.resolving is not None:
                self.offer()
            elif not moving:
                return self.said[begin:]

    def turn_out_well(self, it: Process) -> None:
        if it.state is State.SPAWNING or not it.pid:
            self.forked(it.id)
        if it.state is not State.STARTING:
            self.sup.died(it.id, EXIT_0, self.now)
        elif it.role == "zygote":
            self.sup.loaded(it.id, self.hazards, self.now)
        else:
            self.sup.ready(it.id, self.now)

    def obey(self, command: c.StartZygote | c.StartWorker | c.Drain) -> None:
        it = self.sup.roster.get(command.process)
        assert it is not None
        self.turn_out_well(it)

    def forked(self, process: int) -> None:
        self._pid += 1
        self.sup.forked(process, self._pid, self.now)

    def up(self) -> Hand:
        """All workers serve, and nobody is young any more."""
        self.settle()
        self.now += 100.0
        return self

    def roll_begins(self) -> int:
        """A reload up to its canary, which is started.  Returns the canary's number."""
        self.sup.reload()
        (resolve,) = self.plan()
        assert isinstance(resolve, c.Resolve)
        self.offer()
        zygote = self.plan()[-1]
        assert isinstance(zygote, c.StartZygote)
        self.obey(zygote)
        canary = self.plan()[-1]
        assert isinstance(canary, c.StartWorker)
        return canary.process

    def only(self, kind: type[C]) -> C:
        """The last command of this kind."""
        return [it for it in self.said if isinstance(it, kind)][-1]

    def count(self, kind: type[c.Command]) -> int:
        return sum(isinstance(it, kind) for it in self.said)

    def worker(self, slot: int, generation: int | None = None) -> Process:
        """Who serves in `slot`."""
        return next(
            it
            for it in self.sup.roster.of("worker", generation)
            if it.slot == slot and it.state is State.SERVING
        )

    def zygote(self) -> Process:
        return next(it for it in self.sup.roster.of("zygote") if it.alive)

    def serving(self) -> list[tuple[int, int]]:
        """(slot, generation) of everybody who accepts."""
        workers = self.sup.roster.of("worker")
        return sorted((it.slot, it.generation) for it in workers if it.state is State.SERVING)
