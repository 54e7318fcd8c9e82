"""`leeward drain SLOT`: who waits for a worker to be set aside.

    ask ─ (its replacement starts) ─ Aside ─ the answer

`leeward._core.supervisor` decides when; here stands who has asked for which worker.
"""

from __future__ import annotations

from leeward._core.messages import Answer
from leeward._core.roster import Process
from leeward._core.worker import State
from leeward._supervisor import reloads
from leeward._supervisor.control import Client
from leeward._supervisor.parts import Parts
from leeward._supervisor.report import plural


class SettingAside:
    """The clients of `leeward drain`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._askers: list[tuple[Client, Process]] = []

    def ask(self, client: Client, slot: int, seconds: float) -> None:
        core, control = self._parts.core, self._parts.control
        if self._parts.stops:
            control.answer(client, Answer(reloads.STOPPING, "it is stopping"))
            return
        before = core.is_aside(slot)
        found = core.set_aside(slot, seconds)
        if found is None:
            text = f"{self._why_not(slot, before)}\nleeward ps shows the slots"
            control.answer(client, Answer(reloads.REFUSED, text))
            return
        self._askers.append((client, found))
        self._parts.voice.say(f"{_called(found)} is to be set aside, asked for by leeward drain")
        control.progress(client, f"{_called(found)} serves until its replacement is ready")

    def look(self) -> None:
        """Tells who is aside by now, or will not be."""
        for client, it in list(self._askers):
            if it.alive:
                continue
            self._askers.remove((client, it))
            if it.state is State.ASIDE:
                text = (
                    f"{_called(it)} is aside for {it.aside_for:.10g} s, and accepts no more\n"
                    f"kill {it.pid}  lets it finish sooner"
                )
                self._parts.control.answer(client, Answer(reloads.SERVES, text))
            else:
                text = f"{_called(it)} has ended before it was replaced: nobody is aside"
                self._parts.control.answer(client, Answer(reloads.FAILED, text))

    def stop(self) -> None:
        askers, self._askers = self._askers, []
        for client, _ in askers:
            self._parts.control.answer(client, Answer(reloads.STOPPING, "it is stopping"))

    def _why_not(self, slot: int, before: Process | None) -> str:
        core = self._parts.core
        if before is not None:
            return (
                f"slot {slot} has one aside already: {_called(before)}; kill {before.pid} ends it"
            )
        if slot >= core.workers:
            return f"there is no slot {slot}: {plural(core.workers, 'worker')}, slots from 0 on"
        return f"no worker serves in slot {slot}: it starts, or is being replaced"


def _called(it: Process) -> str:
    return f"worker {it.slot} (pid {it.pid})"
