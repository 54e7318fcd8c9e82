"""Does a worker make connections and never close them?  Counts by peer in, findings out.

A pool fills and stays full, a gateway has a connection for each client that it serves: both
grow, and neither leaks.  Told is what grows on and on, and by more than the work does:

    at least `FLOOR` ─ twice as many as when it began ─ more in each of `LOOKS` looks
    ─ not because the work doubled

The pools that most programs have are smaller than the floor by themselves: aiohttp and
httpx stop at 100, boto and urllib3 at 10, SQLAlchemy at 15.  After each finding it must double
again, so that a leak is told a dozen times before it has eaten a million descriptors.
"""

from __future__ import annotations

from collections.abc import Mapping

from leeward._core.record import Record, Struct

#: Seconds between two looks, at least and at most: twice as many after each in which nothing
#: has changed.
SOONEST, LATEST = 10.0, 80.0
#: Connections to one peer that are worth a line, and what counts as none of them.
FLOOR = 128
NONE = 64
#: Looks in which it has grown.
LOOKS = 3
#: What shrinks to this part of what it was has been closed by somebody: no leak.
GIVEN_BACK = 0.75
#: Requests and WebSockets in hand that say nothing about whether the work doubles.
FEW = 16


class Grown(Record):
    """Connections to `peer` grew from so many to so many."""

    peer: str
    before: int
    count: int


class _Run(Struct):
    """Growth without an end, so far.

    began, work:  connections, and work in hand, when it began.
    most, hardest:  since then.
    """

    began: int
    work: int
    most: int
    hardest: int
    looks: int = 0


class Growth:
    """One worker's memory of the peers that it is connected to."""

    def __init__(self) -> None:
        self._runs: dict[str, _Run] = {}
        self._last: object = None
        self.wait = SOONEST

    def look(self, counts: Mapping[str, int], work: int) -> list[Grown]:
        """What is to be told.

        counts:  connections by peer; peers with fewer than `NONE` may be left out.
        work:    requests and upgraded connections in hand.
        """
        found = []
        counts = {peer: count for peer, count in counts.items() if count >= NONE}
        self._runs = {peer: run for peer, run in self._runs.items() if peer in counts}
        for peer, count in counts.items():
            run = self._runs.get(peer)
            if run is None:
                run = self._runs[peer] = _Run(NONE, work, NONE, work)
            elif count < run.most * GIVEN_BACK:
                self._runs[peer] = _Run(count, work, count, work)
                continue
            run.hardest = max(run.hardest, work)
            if count > run.most:
                run.most, run.looks = count, run.looks + 1
            harder = (run.hardest + FEW) / (run.work + FEW)
            wanted = max(FLOOR, 2 * run.began * harder)
            if run.looks >= LOOKS and count >= wanted:
                found.append(Grown(peer, run.began, count))
                self._runs[peer] = _Run(count, work, count, work)
        return sorted(found, key=lambda it: -it.count)

    def rest(self, seen: object) -> float:
        """Seconds until the next look.  seen:  anything that changes where something happens."""
        self.wait = min(2 * self.wait, LATEST) if seen == self._last else SOONEST
        self._last = seen
        return self.wait
