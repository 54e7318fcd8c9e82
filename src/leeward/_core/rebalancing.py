"""Which workers have clearly more connections than the others, and how many may go.

A worker that has just started has none, and its siblings keep theirs: keep-alive connections
live for as long as their clients use them.  Whoever asks for it (`--rebalance`) has the
fuller workers close idle ones, at a bounded rate; their clients connect again, and
`leeward._core.admission` hands them to who has fewer.  So it ends by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from leeward._core.admission import PART, Standing, turns
from leeward._core.record import Struct, field

#: Seconds between two looks.
LOOK = 1.0
#: Connections above the mean that are no unevenness: the least that polite accept leaves.
SLACK = 2.0


def may_go(own: int, others: Sequence[int], rate: int) -> int:
    """How many connections this worker is to close now, at most.

    own, others:  open connections of the workers that accept.
    rate:         a second, of one worker.
    """
    if not others:
        return 0
    mean = (own + sum(others)) / (1 + len(others))
    excess = own - mean
    if excess <= max(SLACK, PART * mean):
        return 0
    # Half of it: those that were closed a moment ago may be on their way to anybody.
    return min(max(1, int(excess / 2)), max(1, int(rate * LOOK)))


class Takers(Struct):
    """Whose places count: those who would take a connection that comes.

    A worker that is stopped or blocked keeps its few.  Counted with the others it would have
    them close idle ones for ever, whose clients come back to the same workers.
    """

    _accepted: int = 0
    _woken: dict[int, int] = field(default_factory=dict)
    #: They did not wake when we accepted, nor since.
    _silent: set[int] = field(default_factory=set)

    def look(self, own: Standing, others: Sequence[Standing], now: float) -> list[Standing]:
        accepted = own.accepted != self._accepted
        still = {it.pid for it in others if self._woken.get(it.pid) == it.woken}
        self._silent = still if accepted else still & self._silent
        self._accepted = own.accepted
        self._woken = {it.pid: it.woken for it in others}
        return [it for it in others if it.pid not in self._silent and turns(it, now)]
