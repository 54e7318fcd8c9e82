"""What the supervisor's decisions ask its hands to do.

`Supervisor.plan` returns these; `leeward._supervisor` carries them out one by
one and decides nothing.  Each is final: carrying one out twice is never needed,
because `plan` asks for a thing only once per change of state.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StartZygote:
    process: int
    generation: int


@dataclass(frozen=True)
class StartWorker:
    """Fork it from `zygote`, or spawn a fresh interpreter when there is none.

    canary:  no worker of its generation was ever ready.
    """

    process: int
    generation: int
    slot: int
    row: int
    zygote: int | None
    canary: bool


@dataclass(frozen=True)
class Drain:
    """Tell a process to finish and leave.  `reason`: "reload" or "stop"."""

    process: int
    reason: str
    timeout: float


@dataclass(frozen=True)
class Aside:
    """Have a worker accept no more, keep what it has, and stay."""

    process: int


@dataclass(frozen=True)
class Hurried:
    """An old generation lingers that is one too many: its workers are told to stop."""

    generation: int
    workers: int
    timeout: float


@dataclass(frozen=True)
class Kill:
    process: int


@dataclass(frozen=True)
class Forget:
    """It is gone: close its channel, free its row."""

    process: int


@dataclass(frozen=True)
class Resolve:
    """Resolve the settings again, for a new generation."""


@dataclass(frozen=True)
class StopResolving:
    """The resolver did not answer in time, or nobody wants its answer any more."""

    why: str = "the settings could not be resolved in time"


@dataclass(frozen=True)
class Up:
    """The first worker of the first generation is ready: the service is up."""

    generation: int


@dataclass(frozen=True)
class Served:
    """A new generation has every slot; the one before is on its way out."""

    generation: int


@dataclass(frozen=True)
class RolledBack:
    """A new generation failed; the one before serves on."""

    generation: int
    why: str


@dataclass(frozen=True)
class GoesBack:
    """From `generation` to the one before it, `to`, which is still warm."""

    generation: int
    to: int
    why: str


@dataclass(frozen=True)
class BackedOff:
    """A generation's workers keep dying: nothing is started for `delay` seconds."""

    generation: int
    delay: float
    strikes: int
    why: str


@dataclass(frozen=True)
class Rests:
    """A generation's workers reach a limit when they are hardly ready: replaced with pauses."""

    generation: int
    delay: float
    why: str


@dataclass(frozen=True)
class ModeChosen:
    """How this generation's workers are made, and why."""

    generation: int
    mode: str  # "zygote" | "spawn"
    why: str


@dataclass(frozen=True)
class Exit:
    code: int
    why: str


Command = (
    StartZygote
    | StartWorker
    | Drain
    | Aside
    | Hurried
    | Kill
    | Forget
    | Resolve
    | StopResolving
    | Up
    | Served
    | RolledBack
    | GoesBack
    | BackedOff
    | Rests
    | ModeChosen
    | Exit
)
