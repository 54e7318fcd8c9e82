"""Notices that this worker's own connections grow and grow: `leeward._core.outbound` decides.

A timer that runs while there are connections, or anything has changed since the last look; a
worker to which nothing happens sleeps, and the next connection that it accepts wakes this.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from leeward._core import outbound as decisions
from leeward._sys import descriptors
from leeward._sys.outbound import own

if TYPE_CHECKING:
    from leeward._worker.logs import Log
    from leeward.engine.server import Server

#: Descriptors that are looked at: 2048 take 6 ms.  A worker that has more than so many besides
#: its clients' has been told of long before.
MOST = 2048


class Outward:
    """row:  of the shared page: what happens is read there."""

    def __init__(self, server: Server, row: Any, descriptor: int, log: Log) -> None:
        self._server = server
        self._row = row
        self._descriptor = descriptor
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._growth = decisions.Growth()
        self._timer: asyncio.TimerHandle | None = None
        self._seen: object = None

    def begin(self) -> None:
        """Something happens here: look, in a while."""
        if self._timer is None:
            self._timer = self._loop.call_later(decisions.SOONEST, self._look)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        row = self._row
        counts = self._counts()
        work = row.in_flight + row.upgraded
        grown = self._growth.look(counts, work)
        if grown:
            first, more = grown[0], len(grown) - 1
            others = f", and to {more} more" if more else ""
            self._log.say(
                "warning",
                f"outbound connections to {first.peer} grew from {first.before} to "
                f"{first.count}{others}: are they ever closed? (leeward conns --out)",
            )
        seen = (row.accepted, row.requests, sum(counts.values()))
        wait = self._growth.rest(seen)
        if row.open or seen != self._seen:
            self._timer = self._loop.call_later(wait, self._look)
        self._seen = seen

    def _counts(self) -> dict[str, int]:
        """Connections by peer; none while there are too few descriptors to be worth it."""
        try:
            below = descriptors.lowest_free(self._descriptor)
        except OSError:
            return {}  # none is free: told by who accepts
        if below - self._server.open() < decisions.NONE:
            return {}
        known = self._server.descriptors()
        return own(min(below, len(known) + MOST), known)
