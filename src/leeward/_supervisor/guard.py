"""The last guard: what one event or one step raises ends that, and not the service.

Who ends takes all workers along (PDEATHSIG).  A bug here shall not, nor a file of leeward's own
that has gone or is another version's, because a deploy has replaced what we were started from.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import Any

from leeward._supervisor.say import Voice

#: Seconds between two that are told: the same thing may fail with each event.
_QUIET = 1.0
#: Seconds of rest after each.  What woke us may be there still, and would wake us at once:
#: measured 50,000 times in a second of processor time, 20 times in a second with it.
_REST = 0.05

#: What to do about a module that is missing, or is another version's.
RESTART = "leeward's own files were replaced since its start; restart: leeward stop, then serve"


def told(error: BaseException) -> str:
    """ "ValueError: no such thing (rings.py:12)": the last line of a traceback, and its place."""
    where, frame = "", error.__traceback__
    while frame is not None:
        code = frame.tb_frame.f_code
        if not code.co_filename.startswith("<"):  # the import machinery itself
            where = f" ({os.path.basename(code.co_filename)}:{frame.tb_lineno})"
        frame = frame.tb_next
    text = f"{type(error).__name__}: {error}{where}"
    return f"{text}\n{RESTART}" if isinstance(error, ImportError) else text


class Guard:
    """monotonic:  the clock, in seconds."""

    def __init__(self, voice: Voice, monotonic: Callable[[], float]) -> None:
        self._voice = voice
        self._monotonic = monotonic
        self._quiet_until = float("-inf")

    def run(self, action: Callable[..., object], *args: Any) -> None:
        """Call `action`, and tell what it raises."""
        try:
            action(*args)
        except Exception as error:
            self.tell(error)

    def tell(self, error: Exception) -> None:
        now = self._monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET
            with contextlib.suppress(Exception):  # saying things may be what has failed
                self._voice.say(f"something failed inside leeward: {told(error)}", "error")
        time.sleep(_REST)
