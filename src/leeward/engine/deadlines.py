"""Deadlines of all connections of a worker: a stamp each, and one sweep for all.

A connection has one `deadline`, the time by which its state must have ended; when it
has passed, `expire` decides by that state what is to be done.  Stamps cost 39 ns, a
`call_later` and its cancel 2079 ns: so there is one timer, due with the earliest stamp.
As states follow each other faster than their deadlines come, it hardly ever rings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    import contextvars
    from collections.abc import Collection

#: Seconds between two sweeps, at least and at most.
_SOONEST, _COARSE = 0.05, 1.0
#: A sweep is followed by so many times its own length without one: 1 % of a core is
#: the most that sweeps take, be there ten connections (2 µs) or 10,000 (0.5 ms).
_REST = 100.0

_NEVER = float("inf")


class Timed(Protocol):
    """What has a deadline."""

    #: On the loop's clock; 0.0 for never.
    deadline: float

    def expire(self) -> None:
        """The deadline has come, and was taken off; another may be set."""


class Sweep:
    """The deadlines of `members`, whoever they are at the time.

    loop:     the running one, whose clock and timer are used.
    context:  what `expire` runs in, so that it sees no handler's variables.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context,
        members: Collection[Timed],
    ) -> None:
        self._loop = loop
        self._context = context
        self._members = members
        self._at = _NEVER
        self._timer: asyncio.TimerHandle | None = None

    def deadline(self, seconds: float | None) -> float:
        """`seconds` from now, on the loop's clock; 0.0 for never.  May be a second late."""
        if not seconds:
            return 0.0
        at = self._loop.time() + seconds
        if at < self._at:
            self._schedule(at)
        return at

    def _schedule(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._at = at
        self._timer = self._loop.call_at(at, self._sweep, context=self._context)

    def _sweep(self) -> None:
        """End what has had its time; come back for the next."""
        self._timer, self._at = None, _NEVER
        now = self._loop.time()
        earliest = _NEVER
        for member in tuple(self._members):
            at = member.deadline
            if at:
                if at <= now:
                    member.deadline = 0.0
                    member.expire()
                    at = member.deadline or _NEVER
                if at < earliest:
                    earliest = at
        earliest = min(earliest, self._at)  # one that was set meanwhile
        if earliest < _NEVER:
            after = self._loop.time()
            rest = min(_COARSE, max(_SOONEST, (after - now) * _REST))
            self._schedule(max(earliest, after + rest))
