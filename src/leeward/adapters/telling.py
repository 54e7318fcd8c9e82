"""`leeward.engine.telling`, of a connection that Tornado's own server serves.

Its deadlines are Tornado's and cannot be told.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from leeward._core.conns import Conn, shown
from leeward.adapters import parting
from leeward.engine import telling

if TYPE_CHECKING:
    import socket

    from tornado.web import RequestHandler

    from leeward._core.conns import Identity
    from leeward.adapters.connection import Connection
    from leeward.adapters.introduced import Newcomer
    from leeward.engine.standing import Standing


def tell(connection: Connection, mine: Identity, standing: Standing) -> Conn:
    now, account = monotonic(), connection.account
    line = connection.start_line if connection.request_headers or connection.handler else None
    handler: RequestHandler | None = connection.handler
    if handler is None:
        handler = parting.handler_of(connection.conn)
    task = None if handler is None else standing.task_of(handler)
    sock = connection.stream.socket
    return Conn(
        slot=mine.slot,
        id=mine.name(account.id),
        pid=mine.pid,
        generation=mine.generation,
        peer=telling.peer_of(connection.stream.address, sock),
        client=telling.client_of(handler, connection.client, connection.stream.address),
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
    )


def tell_newcomer(newcomer: Newcomer, sock: socket.socket, mine: Identity) -> Conn:
    """Nothing has come on it yet that could be told."""
    now, account = monotonic(), newcomer.account
    return Conn(
        slot=mine.slot,
        id=mine.name(account.id),
        pid=mine.pid,
        generation=mine.generation,
        peer=telling.peer_of(newcomer.address, sock),
        local=telling.local_of(sock),
        state=newcomer.life.value,
        age=max(0.0, now - account.born),
        since=max(0.0, now - account.since),
        idle=max(0.0, now - account.moved),
    )
