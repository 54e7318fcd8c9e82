"""Lines that a file does not take which only its handler can write: a full disk.

They are counted in the worker's ring, where the counts outlive it, and the collector says how
many.  Why is said here.  Nobody waits: a file that has refused a line is tried again after
`RETRY`, and whatever comes meanwhile is counted.  So a full disk costs a line 1 µs, and it is ten
times a second that a part of one has to be taken back, not with each.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from leeward._sys import funnel

if TYPE_CHECKING:
    from leeward.adapters.logfiles.place import Place

#: Seconds.
RETRY = 0.1
#: Seconds until a rotation is tried again that has failed: each try of a RotatingFileHandler's
#: moves its old files by one, and removes the oldest.
ROTATE_AGAIN = 60.0


class Refused:
    """Of one handler."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._held_until = 0.0
        self._rotate_at = 0.0
        self._why = ""

    def held(self) -> bool:
        """Is it no use to try?  The line is counted then."""
        return time.monotonic() < self._held_until and self._count()

    def refuse(self, path: str, error: OSError) -> bool:
        """The file has not taken a line.  False: there is no ring that could count it."""
        if not self._count(told=True):
            return False
        self._held_until = time.monotonic() + RETRY
        self._why = error.strerror or str(error)
        self._place.tell_trouble(path, f"{self._why}; lines are refused")
        return True

    def taken(self, path: str) -> None:
        """It has taken one."""
        if self._why:
            self._why = ""
            if (way := funnel.current()) is not None:
                way.ring_bell()  # the last of them, too
            self._place.tell_trouble(path, "")

    def _count(self, told: bool = False) -> bool:
        way = funnel.current()
        if way is not None:
            way.unwritten()
            if told:
                way.ring_bell()
        return way is not None

    def may_rotate(self) -> bool:
        return time.monotonic() >= self._rotate_at

    def not_rotated(self, path: str, error: OSError) -> None:
        """It goes on in the file that it has."""
        self._rotate_at = time.monotonic() + ROTATE_AGAIN
        why = error.strerror or str(error)
        text = f"log file {path}: cannot be rotated, and is not for {ROTATE_AGAIN:g} s: {why}"
        self._place.complain("error", text)
