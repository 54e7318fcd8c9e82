"""Connections that we ended: how many by which setting, and a line for those that matter."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds between two lines about the same setting: slow clients come in swarms.
_PAUSE = 1.0

#: Tornado's name, as its users have filters and alerts on it.
_general = logging.getLogger("tornado.general")


class Whom(Protocol):
    """A connection that is ended."""

    @property
    def context(self) -> object:
        """Tornado's request context: the address in the log."""

    def what(self) -> str:
        """The request that it serves: " behind GET /feed (app.Feed)", or ""."""


class Ends:
    """counts:  by setting: silent, header, body, handler, poll, write, idle, write-budget."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._said: dict[str, float] = {}
        self._unsaid: Counter[str] = Counter()

    def __call__(self, whom: Whom, cause: str, text: str = "", level: int = logging.INFO) -> None:
        """`whom` has run into the setting `cause`.  Without a `text` nobody need know."""
        self.counts[cause] += 1
        if not text:
            return
        now = self._clock()
        if now < self._said.get(cause, float("-inf")) + _PAUSE:
            self._unsaid[cause] += 1
            return
        self._said[cause] = now
        unsaid = self._unsaid.pop(cause, 0)
        more = f" (and {unsaid} more since the last such line)" if unsaid else ""
        _general.log(level, "%s from %s%s%s", text, whom.context, whom.what(), more)
