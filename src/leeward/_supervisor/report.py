"""What there is to tell about an instance: the answer to `ps`, the banner, the status line.

Reads, never writes.  Nothing here is slow: memory in use (10 ms per GiB to
count) is read by whoever asks, in a process of its own.
"""

from __future__ import annotations

import json

from leeward._core.config import Config, Listener
from leeward._core.record import Struct, field
from leeward._core.roster import Process
from leeward._core.supervisor import Supervisor
from leeward._core.worker import State
from leeward._sys.page import FULL, Page


class Facts(Struct):
    """What a generation's processes have said about the application."""

    kind: str = ""
    found: str = ""
    load_ms: int = 0
    why_mode: str = ""
    findings: tuple[str, ...] = ()  # of the audit, as in `Loaded`
    #: memfd of the module files' fingerprints as its first process saw them.
    baseline: int | None = None
    #: Module files that later processes found changed.
    changed: set[str] = field(default_factory=set)


class End(Struct):
    """The last end of a slot's worker that nobody had asked for."""

    generation: int
    pid: int
    why: str
    at: float
    count: int


class WentBack(Struct):
    """What serves was gone back to."""

    generation: int  # from this one
    to: int
    why: str
    at: float


class View(Struct):
    """Everything that a report reads."""

    core: Supervisor
    config: Config
    listeners: tuple[Listener, ...]
    control_path: str
    version: str
    pid: int
    page: Page
    started: float
    facts: dict[int, Facts]
    ends: dict[int, End]
    ailing: dict[int, dict[str, str]] = field(default_factory=dict)
    went_back: WentBack | None = None
    withdrawn: bool = False  # a stop has been asked for

    def state(self, now: float) -> str:
        core = self.core
        if core.stopping or self.withdrawn:
            return "stopping"
        if core.serving is None:
            return "booting"
        if core.candidate is not None or core.resolving is not None:
            return "rolling"
        return "backing off" if self._backoff(now) else "serving"

    def ready_workers(self) -> int:
        return sum(it.state is State.SERVING for it in self.core.roster.of("worker"))

    def ps(self, now: float) -> str:
        core = self.core
        number = core.serving if core.serving is not None else core.candidate
        facts = self.facts.get(number or 0, Facts())
        # Who has just ended is on the roster until the supervisor's turn is over.
        living = [it for it in core.roster if it.state is not State.GONE]
        workers = [self._worker(it, now) for it in living if it.role == "worker"]
        return json.dumps(
            {
                "name": self.config.name,
                "pid": self.pid,
                "version": self.version,
                "target": self.config.target,
                "kind": facts.kind,
                "found": facts.found,
                "mode": core.mode,
                "mode_why": facts.why_mode,
                "hazards": [json.loads(it) for it in facts.findings],
                "listeners": [it.url for it in self.listeners],
                "control": self.control_path,
                "workers_wanted": core.workers,
                "generation": number,
                "state": self.state(now),
                "uptime": now - self.started,
                "backoff": self._backoff(now),
                "mixed": sorted(facts.changed),
                "previous": self._previous(now),
                "went_back": self._went_back(now),
                "zygotes": [
                    {"generation": it.generation, "pid": it.pid or None, "state": it.state.value}
                    for it in living
                    if it.role == "zygote"
                ],
                "workers": sorted(workers, key=lambda it: (it["slot"], it["generation"])),
                "ends": [
                    {
                        "slot": slot,
                        "generation": end.generation,
                        "pid": end.pid,
                        "why": end.why,
                        "ago": now - end.at,
                        "count": end.count,
                    }
                    for slot, end in sorted(self.ends.items())
                ],
            }
        )

    def status(self) -> str:
        """One line for the service manager."""
        serving = self.core.serving
        return f"{self.ready_workers()} of {self.core.workers} workers ready, generation {serving}"

    def banner(self, now: float) -> list[str]:
        """What `serve` says once it serves: at most 10 lines, the last names the next command."""
        core, config = self.core, self.config
        facts = self.facts.get(core.serving or 0, Facts())
        ms = int((now - self.started) * 1000)
        ready, wanted = self.ready_workers(), core.workers
        count = plural(wanted, "worker")
        how = f"{core.mode} mode" + (f" ({facts.why_mode})" if core.mode == "spawn" else "")
        so_far = "ready" if ready >= wanted else f"{ready} of them ready"
        urls = [it.url for it in self.listeners]
        more = f" and {len(urls) - 3} more" if len(urls) > 3 else ""
        lines = [
            f"leeward {self.version} serves {config.target}",
            f"  at       {'  '.join(urls[:3])}{more}",
            f"  found    {facts.kind}: {facts.found}",
            f"  with     {count}, {so_far} after {ms} ms, {how}",
        ]
        room = 10 - len(lines) - 1
        lines += [f"  note     {note}" for note in config.notes[:room]]
        name = "" if config.name == "leeward" else f" {config.name}"
        lines.append(f"  next     leeward ps{name} | leeward reload{name} | Ctrl-C ends it")
        return lines

    def _previous(self, now: float) -> dict[str, object] | None:
        if not self.core.can_go_back(now):
            return None
        return {"generation": self.core.previous, "for": self.core.settled - now}

    def _went_back(self, now: float) -> dict[str, object] | None:
        it = self.went_back
        if it is None:
            return None
        return {"generation": it.generation, "to": it.to, "why": it.why, "ago": now - it.at}

    def _backoff(self, now: float) -> dict[str, object] | None:
        for number in (self.core.serving, self.core.candidate):
            if number is None:
                continue
            for pauses in self.core.generations[number].start_pauses:
                if pauses.not_before > now:
                    return {"until": pauses.not_before - now, "why": pauses.why}
        return None

    def _worker(self, it: Process, now: float) -> dict[str, object]:
        row = self.page.row(it.row)
        return {
            "worker": it.id,
            "slot": it.slot,
            "generation": it.generation,
            "pid": it.pid or None,  # 0 would be a whole process group to kill(2)
            "state": it.state.value,
            "aside_left": it.deadline - now if it.state is State.ASIDE and it.deadline else None,
            "uptime": now - (it.ready_at if it.ready_at is not None else it.since),
            "connections": row.open,
            "accepted": row.accepted,
            "requests": row.requests,
            "in_flight": row.in_flight,
            "new": row.new,
            "idle": row.idle,
            "upgraded": row.upgraded,
            "closing": row.closing,
            "full": row.accepts == FULL,
            "evicted": row.evicted,
            "shed": row.shed,
            "refused": row.refused,
            "ping_failures": {
                "no_answer": row.ping_no_answer,
                "reset": row.ping_reset,
                "deaf": row.ping_deaf,
            },
            "orphans": {"stubborn": row.stubborn, "in_threads": row.in_threads},
            "ailing": self.ailing.get(it.id, {}),
        }


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
