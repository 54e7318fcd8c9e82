"""What the supervisor's decisions ask its hands to do.

`Supervisor.plan` returns these; `leeward._supervisor` carries them out one by
one and decides nothing.  Each is final: carrying one out twice is never needed,
because `plan` asks for a thing only once per change of state.
"""

from __future__ import annotations

from leeward._core.record import Record


class StartZygote(Record):
    process: int
    generation: int


class StartWorker(Record):
    """Fork it from `zygote`, or spawn a fresh interpreter when there is none.

    ordinal: 1 for the first worker that the slot has had, 2 for the next.
    canary:  no worker of its generation was ever ready.
    """

    process: int
    generation: int
    slot: int
    ordinal: int
    row: int
    zygote: int | None
    canary: bool


class Drain(Record):
    """Tell a process to finish and leave.  `reason`: "reload" or "stop"."""

    process: int
    reason: str
    timeout: float


class Aside(Record):
    """Have a worker accept no more, keep what it has, and stay."""

    process: int


class Hurried(Record):
    """An old generation lingers that is one too many: its workers are told to stop."""

    generation: int
    workers: int
    timeout: float


class Kill(Record):
    process: int


class Forget(Record):
    """It is gone: close its channel, free its row."""

    process: int


class Resolve(Record):
    """Resolve the settings again, for a new generation."""


class StopResolving(Record):
    """The resolver did not answer in time, or nobody wants its answer any more."""

    why: str = "the settings could not be resolved in time"


class Up(Record):
    """The first worker of the first generation is ready: the service is up."""

    generation: int


class Served(Record):
    """A new generation has every slot; the one before is on its way out."""

    generation: int


class RolledBack(Record):
    """A new generation failed; the one before serves on."""

    generation: int
    why: str


class GoesBack(Record):
    """From `generation` to the one before it, `to`, which is still warm."""

    generation: int
    to: int
    why: str


class BackedOff(Record):
    """A generation's workers keep dying: nothing is started for `delay` seconds."""

    generation: int
    delay: float
    strikes: int
    why: str


class Rests(Record):
    """A generation's workers reach a limit when they are hardly ready: replaced with pauses."""

    generation: int
    delay: float
    why: str


class ModeChosen(Record):
    """How this generation's workers are made, and why."""

    generation: int
    mode: str  # "zygote" | "spawn"
    why: str


class Exit(Record):
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
