"""What a handler's class says of its deadlines (`leeward.deadlines`), with Tornado's server.

The answer's is a timer of its own: only routes that say so have one.  The wait for the next
request is Tornado's, by the parameters of that one request.  How long a body may be silent is
not to be had: Tornado's `body_timeout` is for all of it, and would end living uploads.
"""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Any

from leeward.adapters.parting import handler_of
from leeward.limits import ATTRIBUTE, Deadlines

if TYPE_CHECKING:
    from tornado.http1connection import HTTP1Connection

    from leeward.adapters.connection import Connection


class Own:
    """Of one connection.

    idle:  seconds that the handler which has answered last gives its client; None for as ever.
    """

    __slots__ = ("_timer", "idle")

    def __init__(self) -> None:
        self.idle: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def waits(self, conn: HTTP1Connection) -> None:
        """The next request is waited for."""
        self.end()
        if self.idle is not None:
            params: Any = copy.copy(conn.params)
            params.header_timeout = self.idle or None
            conn.params = params
        self.idle = None

    def begins(self, connection: Connection, conn: HTTP1Connection, said: Deadlines | None) -> None:
        """A request is complete and its handler at work.  said:  what is known by its route."""
        handler = handler_of(conn)
        said = said or getattr(type(handler), ATTRIBUTE, None)
        if said is None:
            return
        self.idle = said.idle
        if said.handler and handler is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(said.handler, self._expire, connection, conn)

    def _expire(self, connection: Connection, conn: HTTP1Connection) -> None:
        self._timer = None
        if connection.conn is conn and handler_of(conn) is not None:
            connection.server.part([connection])

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
