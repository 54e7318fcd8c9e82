"""Is a peer gone that is sent a little now and then, and acknowledges nothing of it?

The kernel counts TCP_USER_TIMEOUT from the first segment that is not acknowledged, and looks
at it only when it repeats one, each time after twice as long; and while something is under
way its keep-alive probes rest.  So a black hole into which an event falls every 20 s lasts
for 80 to 115 s where 60 were asked for.  But the kernel also knows since when it has
heard nothing at all:

    not acknowledged at a look ─ nor at any until a third of the timeout later
    ─ and nothing heard for all of the timeout ──► gone

A peer that lives is heard at each keep-alive probe, after half a timeout at the latest.  One
whose window is closed acknowledges all that was sent, and is not meant.
"""

from __future__ import annotations

#: Looks within a timeout.
LOOKS = 20
#: Part of the timeout for which something must be under way: six repetitions, with 60 s.
PART = 3


class Doubt:
    """One peer to which something is under way.  now:  seconds, when that was seen first."""

    __slots__ = ("_since",)

    def __init__(self, now: float) -> None:
        self._since = now

    def gone(self, now: float, silent: float, timeout: float) -> bool:
        """Still under way.  silent:  seconds since the peer was heard last."""
        return silent >= timeout and now - self._since >= timeout / PART
