"""Closes idle keep-alive connections of a worker that has clearly more than the others.

Only where `--rebalance` asks for it; `leeward._core.rebalancing` decides.  WebSockets, requests
in flight, streams, and connections without a byte are never touched.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from leeward._core.rebalancing import LOOK, Takers, may_go

if TYPE_CHECKING:
    from leeward._core.config import Config
    from leeward._worker.company import Company
    from leeward._worker.logs import Log
    from leeward.engine.server import Server

#: Looks between two lines in the log.
_SAY = 10


class Rebalancing:
    """Looks once a second while it is asked for and there are connections."""

    def __init__(self, server: Server, company: Company, config: Config, log: Log) -> None:
        self._server = server
        self._company = company
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._rate = config.rebalance
        self._timer: asyncio.TimerHandle | None = None
        self._takers = Takers()
        self._closed = self._looks = 0

    def tune(self, config: Config) -> None:
        self._rate = config.rebalance
        self.begin()

    def begin(self) -> None:
        """There may be connections."""
        if self._rate and self._timer is None:
            self._timer = self._loop.call_later(LOOK, self._look)

    def end(self) -> None:
        self._rate = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def abandon(self) -> None:
        """In a forked child: the loop is the parent's."""
        self._rate, self._timer = 0, None

    def _look(self) -> None:
        self._timer = None
        self._looks += 1
        company = self._company
        takers = self._takers.look(company.own(), company.others(), time.monotonic())
        most = may_go(self._server.open(), [it.open for it in takers], self._rate)
        if most:
            self._closed += self._server.close_idle(most)
        if self._closed and self._looks >= _SAY:
            self._log.say(
                "info",
                f"closed {self._closed} idle connections, so that workers with fewer "
                "get them (--rebalance)",
            )
            self._closed = self._looks = 0
        if self._server.open():
            self.begin()
