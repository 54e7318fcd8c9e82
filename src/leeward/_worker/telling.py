"""Answers for this worker's connections, straight to whoever asked at the control socket.

The supervisor hands us the asker's own socket.  We describe for at most `SLICE` at a time and
then let the loop turn, so ten thousand connections delay nobody; what the asker does not
read stays undescribed.  One that has gone is forgotten, one that reads nothing too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from leeward._core.conns import Query
from leeward._core.messages import Asked, Piece
from leeward._sys.channel import Channel, ChannelFull
from leeward.errors import ChannelClosed

if TYPE_CHECKING:
    from leeward._core.conns import Identity
    from leeward.engine.server import Server

#: Seconds of describing in one turn of the loop, and between two.
SLICE = 0.002
#: Bytes of a piece, below what a packet holds (`leeward._sys.channel.INLINE`).
PIECE = 32 * 1024
#: Seconds that an asker may read nothing.
PATIENCE = 10.0
#: Askers at a time.
MOST = 8


class Telling:
    """The askers of one worker."""

    def __init__(self, mine: Identity, loop: asyncio.AbstractEventLoop) -> None:
        self._mine = mine
        self._loop = loop
        self._askers: set[_Asker] = set()

    def ask(self, order: Asked, server: Server | None) -> None:
        """Begin to answer.  Never raises; owns the asker's socket."""
        channel = Channel(order.asker)
        asker = _Asker(channel, order.worker, order.what == "kill", self._loop, self._askers)
        try:
            query = Query.from_json(order.query)
        except (ValueError, TypeError) as error:
            asker.refuse(f"does not understand what is asked: {error}")
            return
        if len(self._askers) > MOST:
            asker.refuse(f"{MOST} others are asking it")
        elif server is None:
            asker.answer(iter(()))
        else:
            asker.answer(self._lines(server, query, order.what == "kill"))

    def abandon(self) -> None:
        """In a process that the application forked.  The loop is the parent's."""
        for asker in self._askers:
            asker.channel.close()

    def _lines(self, server: Server, query: Query, kill: bool) -> Iterator[str]:
        for member, conn in server.told(self._mine, query):
            if kill:
                server.end(member)
            yield conn.to_json()


class _Asker:
    """Somebody who waits for an answer.

    acts:    what is asked is to be done to its end, whether or not somebody still listens.
    others:  all of this worker's, this one among them until it has its answer.
    """

    def __init__(
        self,
        channel: Channel,
        worker: int,
        acts: bool,
        loop: asyncio.AbstractEventLoop,
        others: set[_Asker],
    ) -> None:
        self.channel = channel
        self._worker = worker
        self._acts = acts
        self._loop = loop
        self._others = others
        self._lines: Iterator[str] = iter(())
        self._over = False  # all is said
        self._timer: asyncio.TimerHandle | None = None
        others.add(self)

    def refuse(self, why: str) -> None:
        self._over = True
        self._send(Piece(self._worker, "", True, why))

    def answer(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._go_on()

    def _go_on(self) -> None:
        self._timer = None
        error, found, size = "", [], 0
        until = time.monotonic() + SLICE
        try:
            for line in self._lines:
                found.append(line)
                size += len(line)
                if size > PIECE or time.monotonic() > until:
                    break
            else:
                self._over = True
        except Exception as problem:  # what an application has made of its handlers
            self._over, error = True, f"could not tell it all: {problem!r:.200}"
        if self.channel.fileno() >= 0:
            self._send(Piece(self._worker, "\n".join(found), self._over, error))
        else:
            self._next()

    def _send(self, piece: Piece) -> None:
        try:
            self.channel.send(piece)
        except (ChannelClosed, ChannelFull):
            self._leave()
            return
        if self.channel.wants_write:
            self._loop.add_writer(self.channel.fileno(), self._writable)
            self._timer = self._loop.call_later(PATIENCE, self._leave)
        else:
            self._next()

    def _writable(self) -> None:
        self.channel.flush()
        if not self.channel.wants_write:
            self._loop.remove_writer(self.channel.fileno())
            if self._timer is not None:
                self._timer.cancel()
            self._next()

    def _next(self) -> None:
        if self._over:
            self._leave()
        else:
            self._timer = self._loop.call_later(SLICE, self._go_on)

    def _leave(self) -> None:
        """Speak to it no more."""
        if self.channel.fileno() >= 0:
            self._loop.remove_writer(self.channel.fileno())
            self.channel.close()
        if self._acts and not self._over:
            self._timer = self._loop.call_later(SLICE, self._go_on)
        else:
            self._others.discard(self)
