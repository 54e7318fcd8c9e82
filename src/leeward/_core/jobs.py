"""When a periodic job is due, and which worker runs it.

A job runs every so many seconds on one worker of the instance: the one in the lowest slot
that serves.  Nobody is elected.  Each worker computes its *rank* from the shared page, and
looks after a due run the later the higher its rank: what the first does at once, the second
would do `PATIENCE` seconds later if nobody had.  So a worker that has died, drains or stands
aside is replaced at the next due time, and one that hangs without a sign after `PATIENCE`.

That two never run at once is not the matter of ranks, but of a lock of the kernel's
(`leeward._worker.jobs`), under which it is looked once more whether the run is still due.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from leeward._core.record import Record

#: Seconds after a due time in which the worker of the next lower rank is waited for.
PATIENCE = 1.0
#: Seconds in one turn of its loop after which a worker is passed over.
STUCK = 1.0


class Candidate(Record):
    """A worker that accepts.

    busy_since:  seconds, when the turn began that its loop is in; 0.0: it sleeps, or does
                 not tell.
    """

    slot: int
    generation: int
    row: int
    busy_since: float


def rank(own: Candidate, others: Iterable[Candidate], now: float) -> int:
    """How many come before `own`: in lower slots, or newer in the same one, and not stuck."""
    mine = (own.slot, -own.generation, own.row)
    return sum(
        (it.slot, -it.generation, it.row) < mine
        and not (it.busy_since and now - it.busy_since > STUCK)
        for it in others
    )


def due(last: float, every: float, first: float) -> float:
    """When the next run is to begin.

    last:   when the last one was due, on any worker; before it, when the first of them began to
            look, which the first run follows by `every`; 0.0 if that is not noted yet.
    first:  when this worker began to look, which stands for it then.
    """
    return (last or first) + every


def caught_up(was_due: float, every: float, now: float) -> float:
    """The last due time that a run beginning `now` answers: missed runs are one run.

    Due times keep their distance to the first, so that a run that begins a little late
    does not make all later ones late.
    """
    return was_due + every * max(0, math.floor((now - was_due) / every))
