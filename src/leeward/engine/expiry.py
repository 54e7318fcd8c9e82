"""What is done when a connection's deadline comes: each state has its own.

    NEW       silence                 closed without a word: nobody has asked anything
    IDLE      --idle-timeout          closed without a word: there is nothing to answer
    ACTIVE    --header-timeout        408
              --body-timeout          408, or cut if the answer has begun
              --handler-timeout       503, or cut if the answer has begun
    UPGRADED  none of ours
    CLOSING   the last bytes          `leeward.engine.link`

A 408 is what RFC 9110 §15.5.9 has for a request that did not come in time; Tornado and
nginx close such connections without it, Go does so too.  It tells a client which got
stuck apart from a server that crashed; who sent no byte is not told, for a browser that
connected ahead would take it for the answer to its next request.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

from leeward._core.connection import WAITING, Life
from leeward._core.pace import Pace
from leeward.engine import refusals
from leeward.engine.kernel import bytes_wait
from leeward.engine.link import Link

if TYPE_CHECKING:
    from typing import Any

    from leeward.engine.engine import Engine
    from leeward.limits import Deadlines

#: Seconds for bytes that the kernel has and we have not read yet.
_ON_THE_WAY = 1.0

_ACTIVE, _IDLE = Life.ACTIVE, Life.IDLE


class Expiring(Link):
    """A link whose requests have deadlines."""

    __slots__ = ("_came", "_pace")

    def __init__(self, server: Engine, address: Any) -> None:
        super().__init__(server, address)
        self.exchange = None
        self._pace: Pace | None = None  # of a body that did not come at once
        self._came = 0  # bytes of the body

    @abc.abstractmethod
    def _tell_delegate(self) -> None:
        """The request will never be complete."""

    @property
    def body_came(self) -> int:
        """Bytes of the request's body so far, as they came."""
        return self._came

    # --- deadlines are set -----------------------------------------------------------------------

    def _awaits_body(self) -> bool:
        """All that came has been read, and it is not the whole body."""
        exchange, timeouts = self.exchange, self.server.timeouts
        if exchange is None or exchange.body_timeout is not None:
            return False  # a program's own limit is for the whole
        own = exchange.own
        patience, rate = timeouts.body, timeouts.rate
        if own is not None:
            patience = patience if own.body is None else own.body
            rate = rate if own.rate is None else own.rate
        if patience:
            now = self.server.loop.time()
            if self._pace is None:
                self._pace = Pace(now, patience, rate)
            self.deadline = self.server.deadline(self._pace.deadline(now, self._came) - now)
        return False

    def _awaits_application(self) -> None:
        """In the middle of a body: it is not the client who is slow now."""
        if self.exchange is None or self.exchange.body_timeout is None:
            self.deadline = 0.0
            if self._pace is not None:
                self._pace.pause(self.server.loop.time())

    def obey(self, own: Deadlines) -> float:
        """A whole request is here, whose handler's class says `own`.  Seconds for its answer."""
        self.bear()
        handler, poll = self.server.timeouts.answer(own)
        return handler or poll

    def restart_waiting(self) -> None:
        """The settings have changed: wait as they say, from now on."""
        idle, own = self.life is _IDLE, self._own
        its_own = idle and own is not None and own.idle is not None
        if self.life in WAITING and self._connected and not its_own:
            timeouts = self.server.timeouts
            self.deadline = self.server.deadline(timeouts.idle if idle else timeouts.silent)

    # --- deadlines come --------------------------------------------------------------------------

    def expire(self) -> None:
        if self.life in WAITING and self._connected:
            if bytes_wait(self.transport):
                self.deadline = self.server.deadline(_ON_THE_WAY)
            else:
                self.server.ends(self, "idle" if self.life is _IDLE else "silent")
                self.close()
        elif self.life is not _ACTIVE or self.ended:
            super().expire()
        else:
            self._request_expires()

    def _request_expires(self) -> None:
        exchange = self.exchange
        if exchange is None:
            self._give_up("header", 408, "Timeout reading header")
        elif not exchange.read_finished:
            # A timeout of the application's own ends without a word, as with Tornado.
            own = exchange.body_timeout is not None
            self._give_up("body", 0 if own else 408, "Timeout reading body")
        else:
            self._give_up("handler", 503, "Timeout waiting for an answer")

    def _give_up(self, cause: str, status: int, text: str) -> None:
        """Say so if the answer has not begun, and close.  status:  0 to say nothing."""
        exchange = self.exchange
        self.server.ends(self, cause, text)
        silent = exchange is None or not (exchange.begun or exchange.write_finished)
        if silent and status:
            self.send(refusals.answer(status))
        self._tell_delegate()
        if silent:
            self.close(lingers=False)  # it had its time
        else:
            self.cut()

    def what(self) -> str:
        """For the log: " behind GET /feed (app.Feed)", "" if there is no request."""
        exchange = self.exchange
        if self._websocket is not None and exchange is None:
            handler, line = self._websocket, self._websocket.request
            return f" behind {line.method} {line.uri!r} ({_name(handler)})"
        if exchange is None:
            return ""
        method, path = exchange.head.start_line[:2]
        return f" behind {method} {path!r}" + (
            f" ({_name(exchange.handler)})" if exchange.handler is not None else ""
        )


def _name(handler: object) -> str:
    kind = type(handler)
    return f"{kind.__module__}.{kind.__qualname__}"
