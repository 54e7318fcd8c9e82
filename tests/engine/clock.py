"""The time of a running asyncio loop, moved by the test."""

from __future__ import annotations

import asyncio


class Clock:
    """Made while the loop runs, before anything asks it for the time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._ahead = 0.0
        self._loop.time = self.now  # type: ignore[method-assign]

    def now(self) -> float:
        return self._time() + self._ahead

    async def advance(self, seconds: float, step: float = 1.0) -> None:
        """What is due in the next `seconds` happens, in order."""
        while seconds > 0:
            self._ahead += min(step, seconds)
            seconds -= step
            for _ in range(3):
                await asyncio.sleep(0)
