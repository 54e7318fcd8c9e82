"""Is there a load balancer in front that keeps idle connections longer than we do?

If we close one at the moment at which it sends a request on it, its client gets a 502.
It cannot be asked, but some put their name on each request.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple

#: A balancer is in front of the first requests or of none.
_LOOKS = 1000

_log = logging.getLogger("leeward.engine")


class Balancer(NamedTuple):
    """name:  for the line.  header, word:  what it puts on requests.  idle:  seconds."""

    name: str
    header: str
    word: str
    idle: float


#: Google's cannot be told another time, Amazon's has this one unless it is.
_KNOWN = (
    Balancer("Google Cloud's load balancer", "Via", "google", 600.0),
    Balancer("an AWS Application Load Balancer", "X-Amzn-Trace-Id", "Root=", 60.0),
)


class Notice:
    """One line about it, once.  `left`: requests that are still looked at."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = _LOOKS

    def look(self, headers: Mapping[str, str], idle: float) -> None:
        """idle:  seconds after which we close an idle connection, 0.0 for never."""
        self.left -= 1
        for it in _KNOWN:
            if it.word in headers.get(it.header, "") and 0.0 < idle <= it.idle:
                self.left = 0
                _log.warning(
                    "%s is in front, and keeps idle connections for %g s; we close them after"
                    " %g s, and some of its clients get a 502: --idle-timeout %gs",
                    *(it.name, it.idle, idle, it.idle + 20),
                )
