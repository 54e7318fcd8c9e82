"""What the supervisor and the log collector say to each other.

Apart from the other messages, because a supervisor whose workers log to stderr only needs none
of them: they cost it 0.1 MiB of its 8.
"""

from __future__ import annotations

from leeward._core.messages import Descriptor, Message


class Collect(Message):
    """First message to a collector: what it works with, and how many `Ring`s there are already.

    It writes nothing before it has these; other messages may come in between.
    """

    config: str  # Config.to_json()
    bell: Descriptor
    rings: int


class Ring(Message):
    """Empty this ring into the sinks that it names.  Its writer may have ended already."""

    worker: int  # as in `Fork`; 0: the supervisor's own
    slot: int
    generation: int
    ring: Descriptor
    ended: bool = False


class RingEnds(Message):
    """Its writer is dead."""

    worker: int


class GiveUp(Message):
    """Too much waits in the rings of the dead: forget this one, or do not wait for it to come."""

    worker: int


class RingDrained(Message):
    """All that was in it is written; it can be forgotten."""

    worker: int


class Output(Message):
    """Empty this pipe, which a worker prints into."""

    worker: int
    slot: int
    generation: int
    stream: int  # 1, 2; of both it is 2
    form: str  # as in `leeward._core.capturing`
    mark: str  # the same; "": leeward's own lines do not come this way
    pipe: Descriptor


class OutputEnded(Message):
    """All of it was written, or given up, and nobody can write into it any more."""

    worker: int
    stream: int


class LineBegun(Message):
    """From the collector: a line stands on the terminal that has no end yet; or none does."""

    begun: bool


class LineEnded(Message):
    """From the supervisor: it has ended that line, to write one of its own."""


class Reopen(Message):
    """Somebody has moved the files: open them anew."""


class Tail(Message):
    """Tell whoever is at the other end of `asker` these lines, by `Piece`s: a `LogsRequest`."""

    lines: int
    follow: bool
    slot: int  # -1: of any
    level: int  # as `logging` numbers it
    asker: Descriptor
    after: str = ""


class Finish(Message):
    """All writers are dead: write what is left within so many seconds, and leave."""

    timeout: float


class Complaint(Message):
    """What the operator must know of the sinks."""

    level: str
    text: str
