"""`leeward set`: other settings at once, in every process, for as long as the instance runs.

    ask ─ Tune to each zygote and worker ─ Tuned from each worker that serves ─ answer

The supervisor keeps what was set and lays it over the settings of every generation, those
of later reloads too.  Whoever asks meanwhile is told at once and waits for the same workers.
"""

from __future__ import annotations

import json

from leeward._core import tuning
from leeward._core.config import Config
from leeward._core.generation import Limits
from leeward._core.messages import Answer
from leeward._supervisor import reloads
from leeward._supervisor.control import Client
from leeward._supervisor.parts import Parts
from leeward._supervisor.report import plural

#: Seconds for a worker to say that it works by them: one turn of its loop.
_TOLD_TIMEOUT = 5.0


class Tuning:
    """The askers of `leeward set`, and the workers whose word they wait for."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._clients: list[Client] = []
        self._open: set[int] = set()
        self._told = 0
        self._deadline: float | None = None
        parts.processes.on_tuned = self._tuned

    def ask(self, client: Client, text: str) -> None:
        configs, core = self._parts.processes.configs, self._parts.core
        try:
            changes = tuning.parse(text)
        except tuning.Refused as error:
            self._parts.control.answer(client, Answer(reloads.REFUSED, str(error)))
            return
        if not changes:
            data = json.dumps(configs.overrides)
            self._parts.control.answer(client, Answer(0, "", data))
            return
        if core.stopping:
            self._parts.control.answer(client, Answer(reloads.STOPPING, "it is stopping"))
            return
        configs.change(changes)
        for number in set(configs) & core.generations.keys():
            core.tune(number, limits(configs[number]))
        self._parts.voice.say(f"{told(changes)}, asked for by leeward set")
        if "log_level" in changes:
            number = max(configs) if core.serving is None else core.serving
            self._parts.voice.tune(configs[number].log_level)
        self._open |= self._parts.processes.tune()
        self._told = len(self._open)
        self._clients.append(client)
        self._deadline = self._parts.monotonic() + _TOLD_TIMEOUT
        self.tick(self._parts.monotonic())

    def next_deadline(self) -> float | None:
        return self._deadline

    def tick(self, now: float) -> None:
        """After each turn: has somebody died whose word was awaited, or has it taken too long?"""
        if self._deadline is None:
            return
        processes = self._parts.processes
        self._open = {it for it in self._open if processes.may_answer(it)}
        if self._open and now < self._deadline:
            return
        late = [
            f"{processes.called(it)} has not answered within {_TOLD_TIMEOUT:g} s; "
            "it obeys when its loop turns again"
            for it in sorted(self._open)
        ]
        # One that is late may still be asked for by the next `set`; nobody waits for it again.
        self._open.clear()
        self._deadline = None
        text = "\n".join([f"set in {plural(self._told - len(late), 'worker')}", *late[:5]])
        self.all_end(reloads.STOPPING if late else reloads.SERVES, text)

    def all_end(self, code: int, text: str) -> None:
        clients, self._clients = self._clients, []
        data = json.dumps(self._parts.processes.configs.overrides)
        for client in clients:
            self._parts.control.answer(client, Answer(code, text, data))

    def _tuned(self, process: int) -> None:
        self._open.discard(process)


def limits(config: Config) -> Limits:
    """What the decisions need to know of a generation's settings."""
    return Limits(
        start=config.start_timeout,
        graceful=config.graceful_timeout,
        settle=config.settle,
        lingering=config.max_lingering,
    )


def told(changes: tuning.Overrides) -> str:
    """ "log-level = debug, settle as before"."""
    return ", ".join(
        f"{key.replace('_', '-')} " + ("as before" if value is None else f"= {value}")
        for key, value in changes.items()
    )
