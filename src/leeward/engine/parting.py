"""How a connection with a request on it is left, when the worker must go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leeward._core.connection import Life
from leeward._core.farewell import Farewell, farewell
from leeward.engine.expiry import Expiring
from leeward.engine.unanswered import told_503

if TYPE_CHECKING:
    from typing import Any

    from leeward.engine.engine import Engine
    from leeward.engine.exchange import Exchange
    from leeward.engine.leaving import Working

#: The client may come back at once: another worker answers.
UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n"
    b"Retry-After: 1\r\nContent-Length: 0\r\n\r\n"
)
LAST_CHUNK = b"0\r\n\r\n"


class Parting(Expiring):
    """An expiring link that knows how to leave its client."""

    __slots__ = ("_sent_then",)

    def __init__(self, server: Engine, address: Any) -> None:
        super().__init__(server, address)
        # Bytes, when it was last found to be old, or to have ended: who has is not found old.
        self._sent_then = -1

    @property
    def endless(self) -> bool:
        """Does it send events, that need not end before we do?"""
        return self.life is Life.ACTIVE and self.exchange is not None and self.exchange.endless

    @property
    def doubtful(self) -> bool:
        """Who has left answers what is sent by a reset; so to send tells, and nothing else does."""
        quiet = self.sent == self._sent_then and not self._paused_writing
        return quiet and self.ended and self.life is Life.ACTIVE

    def half_closed(self) -> bool:
        owed = super().half_closed()
        if owed:
            self._may_have_left()
        return owed

    def _may_have_left(self) -> None:
        self._sent_then = self.sent
        if self.server.draining:
            self.server.closed()  # a drain waits for it no longer than for those who have left

    def _request_expires(self) -> None:
        exchange = self.exchange
        if exchange is not None and exchange.read_finished:
            handler, poll = self.server.timeouts.answer(exchange.own)
            if poll and not handler:
                self._is_old(exchange, poll)
                return
        super()._request_expires()

    def _is_old(self, exchange: Exchange, poll: float) -> None:
        """A long-poll has reached its age; what sends something is another thing."""
        sends, self._sent_then = self.sent != self._sent_then, self.sent
        if exchange.begun and sends and not exchange.endless:
            self.deadline = self.server.deadline(poll)
            return
        own = exchange.own is not None and exchange.own.poll is not None
        age = f"deadlines(poll={poll:g})" if own else "--max-poll-age"
        self.server.ends(self, "poll", f"Older than {age}")
        self.server.end_old(self)

    def close_websocket(self, code: int) -> bool:
        """A stream of events has no code, and ends likewise."""
        if not self.endless:
            return super().close_websocket(code)
        self.server.part([self])
        return True

    def part(self, quiet: bool) -> Working | None:
        exchange = self.exchange
        handler = None if exchange is None else exchange.handler
        if exchange is None or self.life is not Life.ACTIVE or exchange.write_finished:
            self.cut()
            return None
        how = farewell(
            read=exchange.read_finished,
            begun=exchange.begun,
            framing=exchange.framing,
            endless=exchange.endless,
            quiet=(quiet and not self._paused_writing) or self.doubtful,
        )
        if how is Farewell.CUT:
            self.cut()
        else:
            if how is not Farewell.CLOSE:
                self.send(UNAVAILABLE if how is Farewell.UNAVAILABLE else LAST_CHUNK)
            if how is Farewell.UNAVAILABLE and handler is not None and not self.ended:
                told_503(handler)
            self.close()
        return None if handler is None else (handler, exchange.task)
