"""What a drain waits for, by a clock that the test moves."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import SimpleNamespace

from engine.clock import Clock

from leeward._core.connection import Life
from leeward._core.messages import Drain
from leeward._worker import leave
from leeward._worker.drain import LAST_WORK, Drainer


@dataclass
class Server:
    """One connection, or none, and handlers behind it."""

    left: int = 1
    doubts: int = 0
    works: int = 0
    closed: bool = False

    def connections(self):
        return {**dict.fromkeys(Life, 0), Life.ACTIVE: self.left}

    def doubtful(self):
        return self.doubts

    def only_doubtful(self):
        return self.doubts == self.left

    def unfinished(self):
        return self.works

    def begin_drain(self, reason, window):
        pass

    def take_stock(self):
        pass

    def close_rest(self, over=0.0):
        self.closed = self.closed or not over


def test_a_handler_whose_client_has_taken_long_to_read_still_has_the_time_of_one(monkeypatch):
    """Its client had said FIN and was taken for gone, until the answer that it read began."""

    monkeypatch.setattr(leave, "guard", lambda seconds: None)  # it would end this process

    async def main():
        clock = Clock()
        server, over = Server(doubts=1), asyncio.Event()
        acceptor = SimpleNamespace(stop=lambda **how: None)
        log = SimpleNamespace(say=lambda *words: None)
        drainer = Drainer(acceptor, server, log, over.set)
        drainer.begin(Drain("stop", 10 * LAST_WORK, 0.0))
        await clock.advance(LAST_WORK / 2)
        server.doubts = 0  # its answer begins
        await clock.advance(LAST_WORK)
        server.left, server.works = 0, 1  # and ends, and its handler goes on
        drainer.look()
        await clock.advance(LAST_WORK / 2)
        assert not server.closed and not over.is_set()
        server.works = 0
        await clock.advance(1.0)
        assert not server.closed and over.is_set()

    asyncio.run(main())
