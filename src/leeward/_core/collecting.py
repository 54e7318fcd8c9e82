"""When a collector that died is replaced."""

from __future__ import annotations

#: One that lived for so many seconds did its work.
HEALTHY = 0.25
#: So many quick deaths in a row cost nothing: lines are waiting.
_FREE = 5
_FIRST, _MOST = 0.1, 5.0


class Replacement:
    """The pauses before the next try.  The rings hold the lines meanwhile."""

    def __init__(self) -> None:
        self._deaths = 0

    def died(self, lived: float) -> float:
        """Seconds to wait, after one that lived for `lived` seconds."""
        self._deaths = 0 if lived >= HEALTHY else self._deaths + 1
        if self._deaths <= _FREE:
            return 0.0
        return float(min(_MOST, _FIRST * 2.0 ** min(self._deaths - _FREE - 1, 10)))
