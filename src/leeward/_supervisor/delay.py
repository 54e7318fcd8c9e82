"""--drain-delay: between the order to stop and the drain.

A load balancer learns late that we go (Kubernetes tells its proxies and us at the
same time, and they need seconds): until it knows, it sends new connections.  So for
this long nobody is ready any more (503 on the health path, STOPPING=1 to systemd),
and everybody accepts and serves as before.
"""

from __future__ import annotations

from leeward._core.record import Struct


class Delay(Struct):
    """A stop that is to begin at `due` (monotonic), None if there is none."""

    due: float | None = None
    asked_by: str = ""
    timeout: float = 0.0

    def begins(self, now: float, delay: float, asked_by: str, timeout: float) -> bool:
        """False if there is nothing to wait for, or who asks once more does not want to."""
        if not delay or self.due is not None:
            return False
        self.due, self.asked_by, self.timeout = now + delay, asked_by, timeout
        return True

    def is_over(self, now: float) -> bool:
        return self.due is not None and now >= self.due
