"""All connections of a worker: how many there are, and how they are brought to their end.

The registry knows when a connection is to end; how that is said in HTTP the connection
itself knows (`Member`).  Numbers are counted here and copied to the worker's row of the
shared page: should somebody clear the page under a living worker, no request fails of it.
"""

from __future__ import annotations

import asyncio
import random
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from leeward._core.admission import BRIEF
from leeward._core.connection import Life
from leeward._core.conns import ORPHAN
from leeward.engine import eviction
from leeward.engine.addresses import Addresses
from leeward.engine.orphans import Orphan
from leeward.engine.standing import Standing
from leeward.engine.vanished import Vanished

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from leeward._core.config import Config
    from leeward._core.conns import Conn, Identity, Query
    from leeward.engine.leaving import Leaving, Working
    from leeward.engine.server import Counters
    from leeward.engine.telling import Account

#: On a stop, seconds from its birth that a connection without a byte is waited
#: for: its client has connected and its request is on the way (one round trip
#: round the earth is 0.3 s).  Go waits 5 s (net/http, issue 22682).
NEW_GRACE = 1.0

#: Answers that are waited for until the very deadline, as they make no crowd.
_FEW = 10

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
    address: Any

    @property
    def descriptor(self) -> int:
        """Of its socket, -1 if it has none."""

    def evict(self) -> bool:
        """Close it if nothing happens in it.  Has it been done?"""

    def drain(self) -> None:
        """A drain begins, or becomes a stop: end by yourself as `Server.begin_drain` says."""

    def close_websocket(self, code: int) -> bool:
        """Send the close frame.  False if it is none that can be told."""

    def cut(self) -> None:
        """Close now."""

    def tell(self, mine: Identity, standing: Standing) -> Conn:
        """What there is to tell about it."""

    @property
    def endless(self) -> bool:
        """Is it answered by a stream of events?"""

    @property
    def sent(self) -> int:
        """Bytes so far."""

    @property
    def doubtful(self) -> bool:
        """Has its client said FIN, and been sent nothing since?"""

    def part(self, quiet: bool) -> Working | None:
        """Close now, as the request on it allows (`leeward._core.farewell`).

        quiet:  it has sent nothing for a while.
        Returns the handler whose answer ends here, and what runs it.
        """


M = TypeVar("M", bound=Member)

#: States of which the page has a number of its own.  ACTIVE is `in_flight`, and IDLE the rest
#: of `open`: a request changes between the two, and shall write no more words than it does.
_COUNTED = (Life.NEW, Life.UPGRADED, Life.CLOSING)


class Registry(Generic[M]):
    """counters:  told the numbers as they change.
    closed:    called after each connection's end, and after that of each handler that
               worked for nobody.
    """

    leaving: Leaving

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
        self.addresses = Addresses()
        self._ids = 0
        self._states = dict.fromkeys(_COUNTED, 0)
        self._most_in_flight = 0
        self._requests = self._in_flight = self._brief = 0
        #: Of those in flight: who has begun a request, and may never end its head.
        self.half_heads = 0
        self._evicted = self._shed = 0
        self._window_ends = 0.0
        self._timers: list[asyncio.TimerHandle] = []
        self._sent: dict[M, int] = {}  # at the last look
        self._loop = asyncio.get_running_loop()
        self.vanished: Vanished[M] = Vanished(self._loop, self.live)

    def _exits(self, error: BaseException) -> None:
        """An application's `sys.exit` ends the loop, from wherever it was called.

        In a turn of its own: uvloop logs what comes out of a transport's callback, and goes on.
        """
        self._loop.call_soon(_raise, error)

    # --- counting --------------------------------------------------------------------------------

    def tune(self, config: Config) -> None:
        """Take what `config` says about how many there may be, and for how long in vain."""
        self._most_in_flight = config.limit_concurrency
        self.vanished.tune(config.peer_timeout)
        self.addresses.introduced = config.proxy_protocol != "off"
        self.addresses.tune(config.max_conns_per_ip, (it.address for it in self.live))

    def add(self, member: M) -> None:
        self._ids += 1
        member.account.id = self._ids
        self.live.add(member)
        self.counters.open = len(self.live)
        self._count(Life.NEW, +1)
        self.addresses.begins(member.address)
        self.vanished.begin()

    def introduce(self, member: M, address: Any) -> bool:
        """A proxy has said who the client of `member` is.  May it have one more?"""
        self.addresses.ends(member.address)
        allowed = self.addresses.allows(address)
        member.address = address
        self.addresses.begins(address)
        if not allowed:
            self.shed()
        return allowed

    def remove(self, member: M, *, goes_on: bool = False) -> None:
        """goes_on:  as another member: its connection has not ended."""
        self.live.discard(member)
        self.counters.open = len(self.live)
        self.addresses.ends(member.address)
        if not goes_on and monotonic() - member.account.born < BRIEF:
            self._brief += 1
            self.counters.brief = self._brief
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

    def overloaded(self) -> bool:
        """Are there more requests in flight, the one that asks included, than there may be?"""
        whole = self._in_flight - self.half_heads
        if not self._most_in_flight or whole <= self._most_in_flight:
            return False
        self.shed()
        return True

    def shed(self) -> None:
        """A request or a connection was refused because there are too many."""
        self._shed += 1
        self.counters.shed = self._shed

    def tells(self, word: str, count: int) -> None:
        """A part of the server counts something by itself."""
        setattr(self.counters, word, count)

    def open(self) -> int:
        return len(self.live)

    def descriptors(self) -> set[int]:
        return {it.descriptor for it in self.live}

    def close_idle(self, most: int) -> int:
        return sum(it.evict() for it in eviction.idle(self.live, monotonic(), most))

    def evict(self, files: int) -> int:
        count = eviction.evict(self.live, monotonic(), files)
        self._evicted += count
        self.counters.evicted = self._evicted
        return count

    def connections(self) -> dict[Life, int]:
        counts: dict[Life, int] = {life: 0 for life in Life if life is not Life.CLOSED}
        for member in self.live:
            counts[member.life] += 1
        return counts

    def told(self, mine: Identity, query: Query) -> Iterator[tuple[M | Orphan, Conn]]:
        """See `leeward.engine.server.Server`.  Who comes meanwhile is left out."""
        standing = Standing(self._loop)
        for member in sorted(self.live, key=lambda it: it.account.id):
            if member.life is Life.CLOSED or not query.may_match(
                mine.name(member.account.id), member.life.value
            ):
                continue
            conn = member.tell(mine, standing)
            if query.matches(conn):
                yield member, conn
        if query.state == ORPHAN and query.may_match("", ORPHAN):
            for orphan in self.leaving.every():
                conn = orphan.tell(mine, standing, self._loop.time())
                if query.matches(conn):
                    yield orphan, conn

    def serves(self) -> bool:
        """Is it right to send us requests?"""
        return not self.withdrawn and self.draining != "stop"

    # --- handlers whose client has left ----------------------------------------------------------

    def orphans(self) -> list[dict[str, Any]]:
        """url, method, handler, age in seconds, state: runs, cancelled or in a thread."""
        return self.leaving.orphans()

    def unfinished(self) -> int:
        return self.leaving.unfinished()

    def doubtful(self) -> int:
        return sum(it.doubtful for it in self.live)

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
        if reason == "aside":
            return
        self.leaving.hurry()
        upgraded = [it for it in self.live if it.life is Life.UPGRADED or it.endless]
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

    def end(self, member: M | Orphan) -> bool:
        """Because a person wants it.  True if it is a WebSocket, with a moment for its farewell."""
        if isinstance(member, Orphan):
            self.leaving.end([(member.handler, member.task)])
            return False
        told = member.life is Life.UPGRADED and member.close_websocket(POLICY_VIOLATION)
        if told:
            self._loop.call_later(_FAREWELL, member.cut)
        else:
            member.cut()
        return told

    # --- leaving the rest ------------------------------------------------------------------------

    def take_stock(self) -> None:
        """Note who sends something, and who only waits."""
        self._sent = {it: it.sent for it in self.live if it.life is Life.ACTIVE}

    def part(self, members: Iterable[M]) -> None:
        """End these now, and their handlers with them."""
        found = [it.part(self._sent.get(it) == it.sent) for it in members]
        self.leaving.end([it for it in found if it is not None])

    def end_old(self, member: M) -> None:
        """It has waited for long enough: end it, and its handler."""
        working = member.part(True)
        self.leaving.end([] if working is None else [working])

    def close_rest(self, over: float = 0.0) -> None:
        if over:
            self._spread_the_rest(over)
            return
        # Idle ones first: the fewer microseconds between the look and the
        # close, the less likely that a request is under way to one of them.
        self.part(sorted(self.live, key=lambda it: it.life is not Life.IDLE))
        self.leaving.end_all()

    def _spread_the_rest(self, over: float) -> None:
        active = [it for it in self.live if it.life is Life.ACTIVE]
        if self.draining != "reload" or len(active) <= _FEW:
            return
        random.shuffle(active)
        for place, member in enumerate(active):
            self.later(over * place / len(active), self._part_if_active, member)

    def _part_if_active(self, member: M) -> None:
        if member in self.live and member.life is Life.ACTIVE:
            self.part([member])


def _raise(error: BaseException) -> None:
    raise error
