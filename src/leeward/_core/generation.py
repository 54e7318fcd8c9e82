"""One load of the code: its limits, how its workers are made, how often they died.

A *strike* is a death that speaks against the code: before READY, or within
`YOUNG` seconds of it.  A worker that got somebody's SIGKILL after it had served
(or lived for `NEWBORN` seconds) is no strike: it is replaced at once, and two
hundred such kills in a row never cause a pause.  Strikes pause the generation for 0.1 s, 0.2 s,
0.4 s … 30 s, in waves: four workers that die together are one strike.
(Without a pause the usual process managers fork 82-96 times in ten seconds for
a worker that dies at once; this makes it 7.)

What the system refuses (no process, no descriptor) is no death: nothing ran that could be
to blame.  It pauses in the same way, by a row of its own that a birth ends.
"""

from __future__ import annotations

from leeward._core.record import Record, Struct, field

YOUNG = 1.0
NEWBORN = 0.1
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 30.0
#: Strikes are forgotten after this long without one (and twice the last pause).
FORGIVEN = 10.0


class Limits(Record):
    """What a generation's settings decide; durations in seconds."""

    start: float = 60.0
    graceful: float = 25.0
    fork: float = 5.0
    kill: float = 5.0
    #: Between a process's own deadline for leaving and our SIGKILL.  With the
    #: worker's 0.8 s for its last breath it keeps "graceful time + 1 s".
    margin: float = 0.9
    #: A generation that serves keeps the one before it warm for so long.
    settle: float = 300.0
    #: Old generations that may drain at a time while this one serves.
    lingering: int = 10


class Pauses(Struct):
    """Exponential backoff over strikes."""

    strikes: int = 0
    #: When this row of strikes began.
    first: float = 0.0
    not_before: float = 0.0
    last: float = float("-inf")
    why: str = ""

    def strike(self, now: float, why: str, on_trial: bool = False) -> float | None:
        """Count a strike; the new pause in seconds, or None if it belongs to the last wave.

        Code on trial is forgiven nothing: workers that each take a minute to
        fail would else never add up.
        """
        self.why = why
        if now < self.not_before:
            return None
        quiet = max(FORGIVEN, 2 * (self.not_before - self.last))
        if not on_trial and now - self.last > quiet:
            self.strikes = 0
        if not self.strikes:
            self.first = now
        self.strikes += 1
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self.strikes - 1, 16))
        self.last = now
        self.not_before = now + pause
        return pause

    def over(self, now: float) -> bool:
        return now >= self.not_before


class Generation(Struct):
    number: int
    limits: Limits
    #: "zygote", "spawn", or "" until the audit of an `auto` start has decided.
    mode: str
    #: May this generation's mode differ from the instance's?
    may_change_mode: bool
    #: How many workers its settings ask for.
    workers: int
    #: Was one of its workers ever ready?  Was its zygote ever loaded?
    ever_ready: bool = False
    ever_loaded: bool = False
    pauses: Pauses = field(default_factory=Pauses)
    zygote_pauses: Pauses = field(default_factory=Pauses)
    #: Between tries to make a process that the system refuses.
    birth_pauses: Pauses = field(default_factory=Pauses)
    #: Between replacements of workers that reach a limit as soon as they are ready.
    rests: Pauses = field(default_factory=Pauses)

    @property
    def start_pauses(self) -> tuple[Pauses, ...]:
        """All that its next process may have to wait for."""
        return (self.pauses, self.zygote_pauses, self.birth_pauses)
