"""What the others are told of a worker that is killed."""

from __future__ import annotations

import os
from types import SimpleNamespace

from leeward._core import commands as c
from leeward._core.generation import Limits
from leeward._core.roster import Roster
from leeward._core.worker import Event, State
from leeward._supervisor.processes import Processes
from leeward._sys.page import OUT, TAKES, Page


class Kernel:
    """Takes every SIGKILL, and holds who got one for ever."""

    def __init__(self) -> None:
        self.killed: list[int] = []

    def kill_group(self, pid: int) -> None:
        self.killed.append(pid)


def test_its_siblings_wait_for_it_no_more() -> None:
    """From its SIGKILL on, and not from its death: that may never be heard of."""
    page, roster, kernel = Page.create(), Roster(), Kernel()
    try:
        core = SimpleNamespace(roster=roster)
        none = SimpleNamespace(time=lambda: 0.0)
        made = Processes(core, none, none, kernel, page, (), none, none)  # type: ignore[arg-type]
        it = roster.add("worker", 1, Limits(), State.STARTING, 0.0)
        it.pid, it.row = os.getpid(), 3
        it.step(Event.READY, 0.0)
        row = page.row(it.row)
        row.accepts = TAKES
        it.step(Event.KILL, 1.0)
        made.kill(c.Kill(it.id))
        assert (kernel.killed, row.accepts) == ([it.pid], OUT)
    finally:
        page.close()
