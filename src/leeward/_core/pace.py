"""How fast the other side must be: with a request's body, and with what it is sent.

A time is spent while nothing comes, and earned by bytes.  Both sides of that are meant:
whoever sends a little now and then holds a connection for ever against any limit on
silence alone, and whoever pauses in the middle of a fast upload has done no wrong.
"""

from __future__ import annotations

#: The last look may come a hair early by the clock that set it.
_HAIR = 0.01


class Pace:
    """A body that comes in: its sender has `patience` seconds, and earns more by bytes.

    now:       when the body began.
    patience:  seconds that it may be silent for; no more can be earned.
    rate:      bytes that earn a second; 0: any byte earns all of `patience`.

    Apache's mod_reqtimeout earns likewise (`body=20,MinRate=500`), Kestrel's
    MinRequestBodyDataRate has 240 bytes a second.  A mean over the whole body, as
    Kestrel takes, would let a fast upload of 10 MB stall for twelve hours.
    """

    __slots__ = ("_ends", "_left", "_patience", "_rate", "_seen")

    def __init__(self, now: float, patience: float, rate: float) -> None:
        self._patience = patience
        self._rate = rate
        self._ends = now + patience
        self._seen = 0
        self._left: float | None = None

    def deadline(self, now: float, came: int) -> float:
        """By when more must come, if `came` bytes have come so far."""
        if self._left is not None:
            self._ends, self._left = now + self._left, None
        new, self._seen = came - self._seen, came
        if new:
            earned = new / self._rate if self._rate else self._patience
            self._ends = min(max(self._ends, now) + earned, now + self._patience)
        return self._ends

    def pause(self, now: float) -> None:
        """It is the application that waits now; the next `deadline` goes on from here."""
        if self._left is None:
            self._left = max(self._ends - now, 0.0)


class Progress:
    """Is what was sent taken?  For one connection, looked at every `interval` seconds."""

    __slots__ = ("_ends", "_mark")

    def __init__(self) -> None:
        self._mark: object = None
        self._ends = 0.0

    def stalled(self, mark: object, now: float, timeout: float, interval: float) -> bool:
        """Has nothing been taken for `timeout` seconds?

        mark:  anything that changes when bytes are taken.

        The last byte may have been taken right after the look before, and looks may come
        late: so that silence ends within `timeout`, one interval is given for each.
        """
        if mark != self._mark:
            self._mark, self._ends = mark, now - 2 * interval + timeout - _HAIR
            return False
        return now >= self._ends
