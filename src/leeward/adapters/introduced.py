"""A connection whose PROXY header has not come yet, for Tornado's own server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from leeward._core.connection import Life
from leeward.engine.registry import NEW_GRACE

if TYPE_CHECKING:
    import socket

    from leeward.adapters.tornado import TornadoServer
    from leeward.engine.proxy import Gate, Place


class Newcomer:
    """A `leeward.engine.registry.Member` until it is admitted; then `server` serves it."""

    client = ""

    def __init__(
        self, server: TornadoServer, gate: Gate, connection: socket.socket, address: Any
    ) -> None:
        self.life = Life.NEW
        self._server = server
        self._connection = connection
        self._address = address
        self._task = asyncio.get_running_loop().create_task(gate.admit(connection, address))
        self._task.add_done_callback(self._admitted)

    def _admitted(self, task: asyncio.Task[Place | None]) -> None:
        if task.cancelled() or task.exception() is not None:  # the gate has said why
            self._connection.close()
        else:
            self._server.serve(self._connection, self._address, task.result())
        self.life = Life.CLOSED
        # Behind `serve`: a drain must not find that nobody is left.
        self._server.remove(self)

    def drain(self) -> None:
        """It has brought nothing yet; at a stop its request may be on the way."""
        if self._server.draining == "stop":
            self._server.later(NEW_GRACE, self.cut)

    def cut(self) -> None:
        self._task.cancel()

    def close_websocket(self, code: int) -> None:
        """It is none."""
