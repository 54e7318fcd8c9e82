"""--max-requests, --max-age, --max-pss: when a worker asks to be replaced by itself.

Each worker draws its own limits, so that those that were born together do not leave
together: up to --max-requests-jitter more requests (a tenth, unless it says otherwise; as in
gunicorn the number is the least, not the most), and up to a tenth less age.  Memory needs
no chance, it grows differently everywhere.
"""

from __future__ import annotations

import asyncio
import os
import random
from typing import TYPE_CHECKING

from leeward._core.messages import Leaving
from leeward._sys import procfs

if TYPE_CHECKING:
    from collections.abc import Callable

    from leeward._core.config import Config
    from leeward._core.messages import Message

#: Seconds between two looks at the memory: each takes 10 ms per GiB, on the loop.
EVERY = 30.0
#: A worker may leave earlier than --max-age by up to this part of it.
SPREAD = 0.1


class Limits:
    """Says once that a limit is reached.

    most:  requests; 0 for no limit.  Whoever counts them calls `answered` at that number.
    """

    def __init__(self, config: Config, say: Callable[[Message], None]) -> None:
        self._say = say
        self._loop = asyncio.get_running_loop()
        self._born = self._loop.time()
        self._said = False
        self._age: asyncio.TimerHandle | None = None
        self._memory: asyncio.TimerHandle | None = None
        self._config: Config | None = None
        self.most = 0
        self.tune(config)

    def tune(self, config: Config) -> None:
        """From now on these limits; what they do not change goes on."""
        before, self._config = self._config, config
        requests = (config.max_requests, config.max_requests_jitter)
        if before is None or requests != (before.max_requests, before.max_requests_jitter):
            self.most = 0
            if config.max_requests:
                self.most = config.max_requests + random.randint(0, config.max_requests_jitter)
        age, pss = config.max_age, config.max_pss
        if before is not None and (age, pss) == (before.max_age, before.max_pss):
            return
        for timer in (self._age, self._memory):
            if timer is not None:
                timer.cancel()
        self._age = self._memory = None
        if age:
            lasts = age * (1 - SPREAD * random.random())
            self._age = self._loop.call_at(
                self._born + lasts, self._leave, f"is {lasts:.3g} s old, --max-age"
            )
        if pss:
            self._memory = self._loop.call_later(EVERY, self._measure, pss)

    def answered(self) -> None:
        """The last request that is allowed has begun."""
        self._leave(f"answered {self.most} requests, --max-requests")

    def _measure(self, most: int) -> None:
        pss = procfs.pss_bytes(os.getpid())
        if pss is not None and pss > most:
            self._leave(f"has {pss / 2**20:.0f} MiB of memory, --max-pss")
        elif not self._said:
            self._memory = self._loop.call_later(EVERY, self._measure, most)

    def _leave(self, why: str) -> None:
        if not self._said:
            self._said = True
            self._say(Leaving(why, limit=True))
