"""`leeward.engine.telling`, of a connection that Tornado's own server serves.

Its deadlines are Tornado's and cannot be told.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from tornado.web import RequestHandler

from leeward._core.conns import Conn, shown
from leeward.engine import telling

if TYPE_CHECKING:
    from leeward._core.conns import Identity
    from leeward.adapters.tornado import Connection
    from leeward.engine.standing import Standing


def tell(connection: Connection, mine: Identity, standing: Standing) -> Conn:
    now, account = monotonic(), connection.account
    line = connection.start_line if connection.request_headers or connection.handler else None
    handler: Any = connection.handler
    if handler is None and connection.conn is not None:
        callback = getattr(connection.conn, "_close_callback", None)
        handler = getattr(callback, "__self__", None)
    task = standing.task_of(handler) if isinstance(handler, RequestHandler) else None
    sock = connection.stream.socket
    return Conn(
        slot=mine.slot,
        id=account.id,
        pid=mine.pid,
        generation=mine.generation,
        peer=telling.peer_of(connection.address, sock),
        client=telling.client_of(None, handler, connection.address),
        local=telling.local_of(sock),
        tls=telling.tls_of(sock if hasattr(sock, "cipher") else None),
        state=connection.life.value,
        kind=telling.kind_of(connection.life, connection.handler),
        age=max(0.0, now - account.born),
        since=max(0.0, now - account.since),
        idle=max(0.0, now - account.moved),
        received=account.received,
        sent=connection.sent,
        requests=account.requests,
        method="" if line is None else shown(line.method),
        url="" if line is None else shown(line.path),
        handler=telling.name_of(handler),
        waits_at=shown(standing.waits_at(task, handler)),
        deadline=None,
        ends="",
    )
