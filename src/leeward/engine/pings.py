"""Asks silent WebSocket peers whether they live, and ends those that do not any more.

For connections whose application has set no `websocket_ping_interval`, as often as the settings
or the handler's class (`leeward.deadlines`) say; never by means of it: Tornado has a coroutine
(before 6.5 a timer) for each connection, since 6.5 it cuts the timeout to the interval, and with
the two equal 6.1 closed healthy clients.

A ping is a frame of its own, written behind whole frames: Tornado writes each by one
call.  The pong is taken out before Tornado sees it (`leeward.engine.sieve`).
What is decided when stands in `leeward._core.pings`.
"""

from __future__ import annotations

import contextvars
import logging
import os
import random
import struct
from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

from tornado.websocket import WebSocketProtocol13

from leeward._core.pings import Rule, Verdict, Watch
from leeward.engine.sieve import COOKIE, Sieve, ping
from leeward.engine.wheel import Wheel
from leeward.limits import ATTRIBUTE, Deadlines

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from tornado.websocket import WebSocketHandler

    from leeward._core.config import Config
    from leeward.engine.kernel import Gauge

#: Why a peer counts as lost, in the words of the log.
TIMEOUT, RESET, DEAF = "no answer", "reset", "never answered"
#: And in those of the shared page.
_WORDS = {TIMEOUT: "ping_no_answer", RESET: "ping_reset", DEAF: "ping_deaf"}

#: RFC 6455 §7.4.1 has no code for it; 1011 is what the websockets library sends.
_FAREWELL = b"\x88\x0e" + struct.pack(">H", 1011) + b"ping timeout"

#: What most classes say.
_NOTHING = Deadlines()

_log = logging.getLogger("leeward.pings")


class Peer(Protocol):
    """A connection whose stream a WebSocketHandler has taken over."""

    address: Any

    @property
    def sent(self) -> int:
        """Bytes that we were given to send, ever."""

    @property
    def can_send(self) -> bool:
        """Does nothing wait here that the peer has not taken?"""

    def write_frame(self, frame: bytes) -> None:
        """Send `frame` behind what was sent.  Nothing if it cannot be."""

    def gauge(self) -> Gauge: ...

    def cut(self) -> None:
        """Close now."""


class Asked:
    """One peer that is watched.

    heard:  when its last bytes came, on the loop's clock.
    """

    __slots__ = ("handler", "heard", "peer", "ruled", "sieve", "watch")

    def __init__(
        self, peer: Peer, handler: WebSocketHandler, sieve: Sieve, ruled: Ruled, now: float
    ) -> None:
        self.peer, self.handler = peer, handler
        self.sieve, self.ruled = sieve, ruled
        self.watch = Watch(ruled.rule, random.random())
        self.heard = now

    def __repr__(self) -> str:
        return f"<asked {self.peer}>"


class Ruled:
    """The peers under one rule: of handlers whose class says nothing, or says the same.

    own:   what it says.
    look:  given each whose time has come.
    """

    __slots__ = ("_context", "_look", "_loop", "_on", "_own", "_resting", "rule", "wheel")

    def __init__(
        self,
        own: Deadlines,
        config: Config,
        loop: asyncio.AbstractEventLoop,
        look: Callable[[Asked], None],
        context: contextvars.Context,
    ) -> None:
        self._own, self._loop, self._look, self._context = own, loop, look, context
        #: Of whom nothing is asked, as `ws_ping_interval` is 0 now.
        self._resting: set[Asked] = set()
        self._obey(self._rule_of(config))

    def _rule_of(self, config: Config) -> Rule:
        own = self._own
        interval = config.ws_ping_interval if own.ping is None else own.ping
        timeout = config.ws_ping_timeout if own.ping_timeout is None else own.ping_timeout
        patience = config.peer_timeout
        if own.write is not None:
            patience = max(patience, own.write or float("inf"))
        return Rule(interval, timeout, max(timeout, patience or timeout))

    def _obey(self, rule: Rule) -> None:
        self.rule = rule
        interval, timeout = rule.interval, rule.timeout
        self._on = bool(interval and timeout)
        step = max(0.01, min(0.25, interval / 16, timeout / 8)) if self._on else 0.25
        self.wheel: Wheel[Asked] = Wheel(self._loop, step, self._look, self._context)

    def tune(self, config: Config) -> None:
        """Other times, for those that are connected too; nothing where they are the same."""
        rule = self._rule_of(config)
        if rule == self.rule:
            return
        members = [*self._resting, *self.wheel.clear()]
        self._resting.clear()
        self._obey(rule)
        now = self._loop.time()
        for asked in members:
            asked.watch.obey(rule)
            self.place(asked, asked.watch.again(now, asked.heard))

    def place(self, asked: Asked, at: float) -> None:
        if self._on:
            self.wheel.place(asked, at)
        else:
            self._resting.add(asked)

    def take(self, asked: Asked) -> None:
        self.wheel.take(asked)
        self._resting.discard(asked)


class Pings:
    """All of a worker's.

    config:  `ws_ping_interval`, `ws_ping_timeout`, and `peer_timeout` for who has
             stopped reading.
    tells:   called with a word of the shared page, and its new value.
    """

    def __init__(
        self, config: Config, loop: asyncio.AbstractEventLoop, tells: Callable[[str, int], None]
    ) -> None:
        self._loop, self._tells = loop, tells
        self._config = config
        #: By what classes say of it: each has its wheel, whose steps fit its times.
        self._ruled: dict[tuple[float | None, ...], Ruled] = {}
        #: Drawn for this process: nobody can send it who was not asked.
        self._cookie = os.urandom(COOKIE)
        self._frame = ping(self._cookie)
        self._context = contextvars.copy_context()
        #: Peers lost, by cause, and pings sent.
        self.failures: Counter[str] = Counter()
        self.sent = 0
        self._untold: Counter[str] = Counter()
        self._deaf: Counter[float] = Counter()  # those of them that never answered, by timeout
        self._last: Any = None
        self._said = float("-inf")
        self._teller: asyncio.TimerHandle | None = None

    def tune(self, config: Config) -> None:
        """Other times, for those that are connected too; but not where a class has its own."""
        self._config = config
        for ruled in self._ruled.values():
            ruled.tune(config)

    def of(self, own: Deadlines) -> Ruled:
        """Those of whom a class says `own`."""
        key = own.ping, own.ping_timeout, own.write
        ruled = self._ruled.get(key)
        if ruled is None:
            ruled = Ruled(own, self._config, self._loop, self._look, self._context)
            self._ruled[key] = ruled
        return ruled

    def __len__(self) -> int:
        """Peers that are watched."""
        return sum(len(ruled.wheel) for ruled in self._ruled.values())

    # --- a peer's beginning and end -----------------------------------------------------------

    def begin(self, peer: Peer, handler: WebSocketHandler) -> Asked | None:
        """`handler` is about to take the stream.  None if its peer is not ours to ask."""
        if not isinstance(handler.ws_connection, WebSocketProtocol13):
            return None
        if handler.ping_interval is not None:
            return None  # the application asks by itself, or has said by 0 that nobody is to
        now = self._loop.time()
        ruled = self.of(getattr(type(handler), ATTRIBUTE, _NOTHING))
        asked = Asked(peer, handler, Sieve(self._cookie), ruled, now)
        ruled.place(asked, now + asked.watch.spread)
        return asked

    def end(self, asked: Asked, error: BaseException | None) -> None:
        """The connection is gone, by `error` if it was not closed."""
        asked.ruled.take(asked)
        if error is None or asked.watch.asked <= asked.heard:
            return
        if isinstance(error, TimeoutError):
            # With or without a ping: one is held back behind what nobody takes.
            self._count(TIMEOUT, asked)
        elif asked.watch.out:
            self._count(RESET, asked)

    # --- its time has come ----------------------------------------------------------------------

    def _look(self, asked: Asked) -> None:
        now = self._loop.time()
        protocol = asked.handler.ws_connection
        if protocol is None or protocol.is_closing():
            return  # no frame may follow the close frame; Tornado waits 5 s for the other
        peer, watch = asked.peer, asked.watch
        verdict, at = watch.look(now, asked.heard, asked.sieve.answers, peer.can_send)
        if verdict is Verdict.GONE:
            found = self._excuse(asked, now)
            if found is None:
                return
            at = found
        elif verdict is not Verdict.WAIT:
            if verdict is Verdict.DEAF:
                self._count(DEAF, asked)
            self.sent += 1
            watch.owed = peer.sent
            peer.write_frame(self._frame)
        asked.ruled.place(asked, at)

    def _excuse(self, asked: Asked, now: float) -> float | None:
        """When to look again at a peer that is silent past its timeout; None: it is ended."""
        gauge = asked.peer.gauge()
        if gauge.waits:
            # The application does not read, or we do not as the peer takes nothing (then
            # --write-timeout ends it): its answer may stand behind what it has sent before.
            # And libuv before 1.45 runs timers before it reads, after a stall too.
            asked.heard = now
            return asked.watch.look(now, now, True)[1]
        at = asked.watch.excuse(now, gauge.left, gauge.stuck)
        if at is None:
            self._count(TIMEOUT, asked)
            asked.peer.write_frame(_FAREWELL)
            asked.peer.cut()
        return at

    # --- telling ----------------------------------------------------------------------------------

    def _count(self, cause: str, asked: Asked) -> None:
        self.failures[cause] += 1
        self._tells(_WORDS[cause], self.failures[cause])
        if cause is DEAF:
            self._deaf[asked.ruled.rule.timeout] += 1
        else:
            self._untold[cause] += 1
        self._last = asked.peer.address
        if self._teller is None:
            at = max(self._loop.time(), self._said + 1.0)
            self._teller = self._loop.call_at(at, self._tell, context=self._context)

    def _tell(self) -> None:
        """One line a second for all that has happened meanwhile."""
        self._teller, self._said = None, self._loop.time()
        untold, self._untold = self._untold, Counter()
        deaf, self._deaf = self._deaf, Counter()
        last = _shown(self._last)
        if untold:
            causes = ", ".join(f"{count} {cause}" for cause, count in sorted(untold.items()))
            _log.info(
                "WebSocket peers lost after a ping: %d (%s; last: %s)", untold.total(), causes, last
            )
        for timeout, count in sorted(deaf.items()):
            _log.warning(
                "WebSocket peers that never answered a ping within %g s: %d, which stay open "
                "(last: %s)",
                timeout,
                count,
                last,
            )


def _shown(address: Any) -> str:
    if isinstance(address, tuple) and len(address) >= 2:
        return f"{address[0]}:{address[1]}"
    return str(address or "a unix socket")
