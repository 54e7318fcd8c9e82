"""Connections that could not be served by no fault of theirs: a line for the first of a swarm."""

from __future__ import annotations

import logging
import os
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds between two lines: what fails for one connection fails for the next one too.
_PAUSE = 1.0

#: Tornado's name, as its users have filters and alerts on it.
_general = logging.getLogger("tornado.general")


class Unserved:
    """Told what was raised when one began: by the application's task factory, as a rule.

    count:  of all.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.count = 0
        self._clock = clock
        self._said = float("-inf")
        self._unsaid = 0

    def __call__(self, error: BaseException) -> None:
        self.count += 1
        now = self._clock()
        if now < self._said + _PAUSE:
            self._unsaid += 1
            return
        more = f" (and {self._unsaid} more since the last such line)" if self._unsaid else ""
        self._said, self._unsaid = now, 0
        words = traceback.format_exception_only(error)[-1].strip()
        _general.error("closed a connection that cannot be served%s: %s%s", more, words, _at(error))


def _at(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    last = frames[-1]
    return f" ({os.path.basename(last.filename)}:{last.lineno} in {last.name})"
