"""What `ps` is told."""

from __future__ import annotations

import json
import os

from leeward._core.config import Config
from leeward._core.generation import Limits
from leeward._core.supervisor import Supervisor
from leeward._core.worker import Event, State
from leeward._supervisor.report import Facts, View
from leeward._sys.page import Page


def test_who_has_ended_is_not_shown() -> None:
    """They stay on the roster for as long as they are being mourned, in the same turn."""
    core = Supervisor(workers=2)
    core.offer(limits=Limits(), start="zygote", may_change_mode=False, workers=2)
    roles = ("zygote", "zygote", "worker", "worker")
    processes = [core.roster.add(it, 1, Limits(), State.STARTING, 0.0) for it in roles]
    for number, it in enumerate(processes):
        it.pid = 100 + number
        it.row = number
    page = Page.create()
    try:
        view = View(
            core, Config(target="chat:app"), (), "/c.sock", "0", 1, page, 0.0, {1: Facts()}, {}
        )
        for number in (0, 2):
            processes[number].step(Event.DIED, 1.0)
            assert processes[number].state is State.GONE
        told = json.loads(view.ps(1.0))
    finally:
        os.close(page.fd)
    assert [it["pid"] for it in told["zygotes"]] == [101]
    assert [it["pid"] for it in told["workers"]] == [103]
