"""How a duration is written, in settings and in code."""

from __future__ import annotations

import re

_DURATION = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(ms|s|m|h)?\Z", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}

#: Seconds, 31 years: timers of the kernel and of Python end at 292, uvloop's at 100.
LONGEST = 1e9

EXPECTED = "a duration such as 30s, 250ms, 2m or plain seconds, 0 or 0.000001 to 1000000000"


def duration(raw: object) -> float | None:
    """Seconds: 30, 1.5, "250ms", "30s", "2m", "1h"; None for what is no duration.

    Or is longer than `LONGEST`, or so short that it would be rounded to 0, which may mean for ever.
    """
    seconds = -1.0
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        seconds = raw
    elif isinstance(raw, str) and (match := _DURATION.match(raw.strip())):
        seconds = round(float(match[1]) * _UNITS[match[2]], 6)
        if not seconds and match[1].strip("0."):
            return None
    return float(seconds) if 0 <= seconds <= LONGEST else None


def positive(raw: object) -> float:
    """The same, of something that cannot be 0.  Raises ValueError."""
    found = duration(raw)
    if not found:
        raise ValueError(f"expected {EXPECTED}, above 0, found {raw!r}")
    return found
