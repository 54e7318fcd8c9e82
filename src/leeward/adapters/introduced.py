"""A connection whose PROXY header has not come yet, for Tornado's own server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from leeward._core.connection import Life
from leeward.adapters.telling import tell_newcomer
from leeward.engine.registry import NEW_GRACE
from leeward.engine.telling import Account

if TYPE_CHECKING:
    import socket

    from leeward._core.conns import Conn, Identity
    from leeward.adapters.tornado import TornadoServer
    from leeward.engine.proxy import Gate, Place
    from leeward.engine.standing import Standing


class Newcomer:
    """A `leeward.engine.registry.Member` until it is admitted; then `server` serves it."""

    client = ""
    endless = doubtful = False
    sent = 0

    def __init__(
        self, server: TornadoServer, gate: Gate, connection: socket.socket, address: Any
    ) -> None:
        self.life = Life.NEW
        self.address = address
        self.account = Account()
        self.descriptor = connection.fileno()
        self._server = server
        self._connection = connection
        self._task = asyncio.get_running_loop().create_task(gate.admit(connection, address))
        self._task.add_done_callback(self._admitted)

    def _admitted(self, task: asyncio.Task[Place | None]) -> None:
        served = False
        if task.cancelled() or task.exception() is not None:  # the gate has said why
            self._connection.close()
        else:
            served = self._server.serve(self._connection, self.address, task.result())
        self._server.changes(self.life, Life.CLOSED)
        self.life = Life.CLOSED
        # Behind `serve`: a drain must not find that nobody is left.
        self._server.remove(self, goes_on=served)

    def drain(self) -> None:
        """It has brought nothing yet; at a stop its request may be on the way."""
        if self._server.draining == "stop":
            self._server.later(NEW_GRACE, self.cut)

    def cut(self) -> None:
        self._task.cancel()

    def evict(self) -> bool:
        self.cut()
        return True

    def part(self, quiet: bool) -> None:
        self.cut()

    def close_websocket(self, code: int) -> bool:
        return False

    def tell(self, mine: Identity, standing: Standing) -> Conn:
        return tell_newcomer(self, self._connection, mine)
