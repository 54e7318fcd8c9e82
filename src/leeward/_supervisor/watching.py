"""Looks after the workers' loops: reads the page, tells of stalls, of stopped processes.

`leeward._core.vitals` decides; here the rows are read, stacks asked for and lines written.
A stack is written by the worker itself, whatever holds its loop, when a signal tells it to
(`leeward._worker.turns`); we read it at the next look.
"""

from __future__ import annotations

import os

from leeward._core import vitals as v
from leeward._core.roster import Process
from leeward._core.supervisor import Supervisor
from leeward._core.worker import State
from leeward._supervisor import stacks
from leeward._supervisor.children import Children, Reaped
from leeward._supervisor.loop import Loop
from leeward._supervisor.processes import Processes
from leeward._supervisor.report import plural
from leeward._supervisor.say import Voice
from leeward._sys import procfs
from leeward._sys.bell import Bell
from leeward._sys.page import Page
from leeward._sys.posix import Posix
from leeward._sys.signals import STACK, STACK_IN_C, signal_name

#: A killed one may stay for a while; it is looked at no more.
_WATCHED = (State.STARTING, State.SERVING, State.DRAINING)

_STATES = {
    "D": "it waits in the kernel and cannot be interrupted (state D: a disk, a dead NFS server?)",
    "T": "it is stopped",
    "t": "a debugger holds it",
}


class Watching:
    """The loops of one instance's workers.  Raises OSError when there is no descriptor."""

    def __init__(
        self,
        core: Supervisor,
        posix: Posix,
        loop: Loop,
        children: Children,
        page: Page,
        processes: Processes,
        voice: Voice,
    ) -> None:
        self._core = core
        self._posix = posix
        self._children = children
        self._page = page
        self._processes = processes
        self._voice = voice
        self._vitals = v.Vitals()
        self._bell = Bell()
        loop.watch(self._bell.fd, lambda events: self._rung())
        processes.bell = self._bell.fd

    def next_deadline(self) -> float | None:
        return self._vitals.next_look()

    def close(self) -> None:
        self._bell.close()

    def tick(self) -> None:
        """Looks, if it is time to."""
        now = self._posix.monotonic()
        due = self._vitals.next_look()
        if due is None or now < due:
            return
        workers = {it.id: it for it in self._core.roster.of("worker") if it.state in _WATCHED}
        # The clock is read before the rows: nobody's turn is older than it really is.
        pulses = {it.id: self._pulse(it) for it in workers.values()}
        details = {it: self._details(workers[it]) for it in self._vitals.suspects(now, pulses)}
        for finding in self._vitals.look(now, pulses, details):
            self._act(finding, workers, now)
        if self._page.awake != self._vitals.awake:
            self._page.awake = int(self._vitals.awake)

    def stopped_or_continued(self, reaped: Reaped) -> bool:
        """Is that what the kernel tells of a child?  Then it has not ended."""
        stops, goes_on = os.WIFSTOPPED(reaped.status), os.WIFCONTINUED(reaped.status)
        it = next((it for it in self._core.roster.of("worker") if it.pid == reaped.pid), None)
        now = self._posix.monotonic()
        if it is not None and it.state in _WATCHED and stops:
            name, bounds = signal_name(os.WSTOPSIG(reaped.status)), self._bounds(it)
            self._vitals.stopped(it.id, name, bounds, now)
            end = f"; killed in {bounds.stopped:g} s unless continued" if bounds.stopped else ""
            self._say(it, f"stopped by {name}{end} (kill -CONT {it.pid})", "warning")
        elif it is not None and it.state in _WATCHED and goes_on:
            seconds = self._vitals.continued(it.id, now)
            if seconds is not None:
                self._say(it, f"continued after {seconds:.1f} s")
        return stops or goes_on

    # --- reading -----------------------------------------------------------------------

    def _rung(self) -> None:
        self._bell.silence()
        self._vitals.rung(self._posix.monotonic())
        self._page.awake = 1  # at once: nobody else needs to ring

    def _bounds(self, it: Process) -> v.Bounds:
        config = self._processes.configs[it.generation]
        return v.Bounds(
            config.stall_warn, config.stall_kill, config.stall_kill_busy, config.stopped_kill
        )

    def _pulse(self, it: Process) -> v.Pulse:
        row = self._page.row(it.row)
        since = 0.0 if it.ready_at is None else row.busy_since / 1e9
        return v.Pulse(it.slot, since, row.turns, bool(row.beats), self._bounds(it))

    def _details(self, it: Process) -> v.Details:
        stack = self._processes.stack(it.id)
        return v.Details(
            cpu=procfs.cpu_seconds(it.pid),
            traced=procfs.tracer_of(it.pid) != 0,
            waits=procfs.waits_for_events(it.pid) if self._page.row(it.row).beats else False,
            written=stack is not None and stacks.written(stack),
            main=procfs.main_thread_seconds(it.pid),
            asleep=procfs.state_of(it.pid) == "S",
        )

    # --- acting ------------------------------------------------------------------------

    def _act(self, finding: v.Finding, workers: dict[int, Process], now: float) -> None:
        match finding:
            case v.Ask(worker, in_c):
                self._ask(workers[worker], STACK_IN_C if in_c else STACK)
            case v.Blocked():
                self._tell(workers[finding.worker], finding)
            case v.TurnsAgain(worker, seconds):
                self._say(workers[worker], f"its loop turns again, after {seconds:.2f} s")
            case v.More(slot, count):
                more = f"{plural(count, 'more stall')} of its loop within a second"
                self._voice.say(more, "warning", worker=slot)
            case v.Condemn(worker, why):
                self._core.condemn(worker, why, now)

    def _ask(self, it: Process, signum: int) -> None:
        stack = self._processes.stack(it.id)
        if stack is None:
            return
        stacks.wipe(stack)
        # Its default action would end the process: an application may have reset all signals.
        if procfs.catches(it.pid, signum):
            self._children.signal(it.pid, signum)

    def _tell(self, it: Process, finding: v.Blocked) -> None:
        config = self._processes.configs[it.generation]
        stack = self._processes.stack(it.id)
        place = ""
        if stack is not None and stacks.written(stack):
            place = stacks.innermost(stack, config.chdir or config.cwd)
            stacks.wipe(stack)
        text = f"loop {'was ' if finding.over else ''}blocked for {finding.seconds:.2f} s"
        if place:
            text += f" at {place}"
        elif not finding.over:
            state = procfs.state_of(it.pid) or "?"
            text += f"; no stack: {_STATES.get(state, f'its state is {state}')}"
        if finding.more:
            text += f" ({plural(finding.more, 'stall')} before it not told)"
        self._say(it, text, "warning")

    def _say(self, it: Process, text: str, level: str = "info") -> None:
        self._voice.say(text, level, worker=it.slot, gen=it.generation, pid=it.pid)
