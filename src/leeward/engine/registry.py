"""All connections of a worker: how many there are, and how they are brought to their end.

The registry knows when a connection is to end; how that is said in HTTP the connection
itself knows (`Member`).  Numbers are counted here and copied to the worker's row of the
shared page: should somebody clear the page under a living worker, no request fails of it.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from leeward._core.connection import Life
from leeward.engine.standing import Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from leeward._core.config import Config
    from leeward._core.conns import Conn, Identity, Query
    from leeward.engine.server import Counters
    from leeward.engine.telling import Account

#: On a stop, seconds from its birth that a connection without a byte is waited
#: for: its client has connected and its request is on the way (one round trip
#: round the earth is 0.3 s).  Go waits 5 s (net/http, issue 22682).
NEW_GRACE = 1.0

#: Close codes of WebSockets: RFC 6455 §7.4.1, and 1012 of the IANA registry.  1008 for those
#: that a person has ended: 1001 and 1012 ask a client to come again.
GOING_AWAY, POLICY_VIOLATION, SERVICE_RESTART = 1001, 1008, 1012

#: What is said with them.
REASONS = {
    GOING_AWAY: "going away",
    POLICY_VIOLATION: "ended by the operator",
    SERVICE_RESTART: "restarting",
}

#: Seconds that a WebSocket which a person has ended has for its farewell.
_FAREWELL = 1.0


class Member(Protocol):
    """A connection as the registry sees it."""

    account: Account
    life: Life

    def drain(self) -> None:
        """A drain begins, or becomes a stop: end by yourself as `Server.begin_drain` says."""

    def close_websocket(self, code: int) -> bool:
        """Send the close frame.  False if it is none that can be told."""

    def cut(self) -> None:
        """Close now."""

    def tell(self, mine: Identity, standing: Standing) -> Conn:
        """What there is to tell about it."""


M = TypeVar("M", bound=Member)

#: States of which the page has a number of its own.  ACTIVE is `in_flight`, and IDLE the rest
#: of `open`: a request changes between the two, and shall write no more words than it does.
_COUNTED = (Life.NEW, Life.UPGRADED, Life.CLOSING)


class Registry(Generic[M]):
    """counters:  told the numbers as they change.
    closed:    called after each connection's end.
    """

    def __init__(self, counters: Counters, closed: Callable[[], None]) -> None:
        self.counters = counters
        self.closed = closed
        self.withdrawn = False  # a stop is near: not ready, but accepting
        self.draining = ""  # the reason, once
        self.active: Callable[[], None] | None = None  # told when bytes arrive
        self.most = 0  # requests after which `at_most` is called, once
        self.at_most: Callable[[], None]
        self.exits: Callable[[BaseException], None] = self._exits
        self.live: set[M] = set()
        self._ids = 0
        self._states = dict.fromkeys(_COUNTED, 0)
        self._requests = self._in_flight = 0
        self._window_ends = 0.0
        self._timers: list[asyncio.TimerHandle] = []
        self._loop = asyncio.get_running_loop()

    def _exits(self, error: BaseException) -> None:
        """An application's `sys.exit` ends the loop, from wherever it was called.

        In a turn of its own: uvloop logs what comes out of a transport's callback, and goes on.
        """
        self._loop.call_soon(_raise, error)

    # --- counting --------------------------------------------------------------------------------

    def add(self, member: M) -> None:
        self._ids += 1
        member.account.id = self._ids
        self.live.add(member)
        self.counters.open = len(self.live)
        self._count(Life.NEW, +1)

    def remove(self, member: M) -> None:
        self.live.discard(member)
        self.counters.open = len(self.live)
        self.closed()

    def changes(self, old: Life, new: Life) -> None:
        """A member is in another state.  Needs not be told between ACTIVE and IDLE."""
        self._count(old, -1)
        self._count(new, +1)

    def _count(self, life: Life, by: int) -> None:
        if life in self._states:
            self._states[life] += by
            setattr(self.counters, life.value, self._states[life])

    def request_begins(self) -> None:
        self._requests += 1
        self.counters.requests = self._requests
        if self._requests == self.most:
            self.at_most()

    def in_flight(self, by: int) -> None:
        self._in_flight += by
        self.counters.in_flight = self._in_flight

    def connections(self) -> dict[Life, int]:
        counts: dict[Life, int] = {life: 0 for life in Life if life is not Life.CLOSED}
        for member in self.live:
            counts[member.life] += 1
        return counts

    def told(self, mine: Identity, query: Query) -> Iterator[tuple[M, Conn]]:
        """See `leeward.engine.server.Server`.  Who comes meanwhile is left out."""
        standing = Standing(self._loop)
        for member in sorted(self.live, key=lambda it: it.account.id):
            if member.life is Life.CLOSED or not query.may_match(
                member.account.id, member.life.value
            ):
                continue
            conn = member.tell(mine, standing)
            if query.matches(conn):
                yield member, conn

    def tune(self, config: Config) -> None:
        """Settings have changed that may change while we run: none that concern us."""

    def serves(self) -> bool:
        """Is it right to send us requests?"""
        return not self.withdrawn and self.draining != "stop"

    # --- draining --------------------------------------------------------------------------------

    def begin_drain(self, reason: str, window: float) -> None:
        if self.draining == "stop":
            return
        self.draining = reason
        for timer in self._timers:
            timer.cancel()
        self._timers = []
        self._window_ends = self._loop.time() + (window if reason == "reload" else 0.0)
        for member in tuple(self.live):
            member.drain()
        upgraded = [it for it in self.live if it.life is Life.UPGRADED]
        if reason == "aside":
            return
        random.shuffle(upgraded)  # old and young mixed: reconnects come mixed too
        for place, member in enumerate(upgraded):
            if reason == "stop":
                member.close_websocket(GOING_AWAY)
            else:
                # One at a random moment of each n-th of the window: evenly
                # spread, and clients of several workers do not march in step.
                delay = window * (place + random.random()) / len(upgraded)
                self.later(delay, member.close_websocket, SERVICE_RESTART)

    def upgraded_in_drain(self, member: M) -> None:
        """A handshake that was under way when the drain began: the same for it."""
        if self.draining == "aside":
            return
        left = max(0.0, self._window_ends - self._loop.time())
        self.later(
            left * random.random(),
            member.close_websocket,
            GOING_AWAY if self.draining == "stop" else SERVICE_RESTART,
        )

    def later(self, delay: float, call: Callable[..., object], *args: Any) -> None:
        """`call_later` for a timer that the next `begin_drain` cancels."""
        self._timers.append(self._loop.call_later(delay, call, *args))

    # --- ending one ------------------------------------------------------------------------------

    def end(self, member: M) -> bool:
        """Because a person wants it.  True if it is a WebSocket, with a moment for its farewell."""
        told = member.life is Life.UPGRADED and member.close_websocket(POLICY_VIOLATION)
        if told:
            self._loop.call_later(_FAREWELL, member.cut)
        else:
            member.cut()
        return told

    def close_rest(self) -> None:
        # Idle ones first: the fewer microseconds between the look and the
        # close, the less likely that a request is under way to one of them.
        for member in sorted(self.live, key=lambda it: it.life is not Life.IDLE):
            member.cut()


def _raise(error: BaseException) -> None:
    raise error
