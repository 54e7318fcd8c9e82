"""What there is to tell about a connection: who, since when, how much, which request, where.

Everything is looked up when somebody asks; a connection that nobody asks about keeps the
few numbers that `leeward.engine.link.Link` has.
"""

from __future__ import annotations

import socket
import struct
from time import monotonic
from typing import TYPE_CHECKING, Any

from tornado.web import RequestHandler

from leeward._core.connection import Life
from leeward._core.conns import Conn, shown
from leeward.engine.orphans import runs

if TYPE_CHECKING:
    from leeward._core.conns import Identity
    from leeward.engine.exchange import Exchange
    from leeward.engine.link import Link
    from leeward.engine.standing import Standing

#: What a connection must do before its deadline, by its state.
_ENDS = {
    Life.NEW: "first byte",
    Life.ACTIVE: "head",
    Life.IDLE: "next request",
    Life.CLOSING: "close",
}


class Account:
    """What is written down of a connection while it lives, because it cannot be known later.

    id:        given by `Registry.add`: a number that no other connection of this worker has.
    since:     when its state began; both on the monotonic clock.
    moved:     when bytes came or were sent last.  Of the clock's readings that a request causes
               these are all: it takes 40 ns.
    received:  bytes that came; with TLS, what was in them.
    requests:  heads that came.
    taken_by:  the request by which the application has taken the stream over.
    """

    __slots__ = ("born", "id", "moved", "received", "requests", "since", "taken_by")

    def __init__(self) -> None:
        self.born = self.since = self.moved = monotonic()
        self.id = self.received = self.requests = 0
        self.taken_by: Exchange | None = None


def tell(link: Link, mine: Identity, standing: Standing) -> Conn:
    """Never raises, whatever its handler is made of."""
    now, account = monotonic(), link.account
    exchange = link.exchange or account.taken_by
    handler: Any = link._websocket
    task, line = None, ("", "", "")
    if exchange is not None:
        task, line = exchange.task, exchange.head.start_line
        handler = exchange.handler if handler is None else handler
        if handler is None and task is not None:
            handler = runs(task)[0]
        if task is None and isinstance(handler, RequestHandler):
            task = standing.task_of(handler)
    sock = link.transport.get_extra_info("socket") if link._connected else None
    # A proxy's word has taken the place of the socket's own address.
    address = link.address if link.family < 0 else peername(sock)
    left = link.deadline - link.server.loop.time() if link.deadline else None
    return Conn(
        slot=mine.slot,
        id=mine.name(account.id),
        pid=mine.pid,
        generation=mine.generation,
        peer=peer_of(address, sock),
        client=client_of(handler, link.client, address),
        local=local_of(sock),
        tls=tls_of(link.transport.get_extra_info("ssl_object")) if link._connected else "",
        state=link.life.value,
        kind=kind_of(link.life, link._websocket),
        age=max(0.0, now - account.born),
        since=max(0.0, now - account.since),
        idle=max(0.0, now - account.moved),
        received=account.received,
        sent=link.sent,
        requests=account.requests,
        method=shown(line[0]),
        url=shown(line[1]),
        handler=name_of(handler),
        waits_at=shown(standing.waits_at(task, handler)),
        deadline=left if left is None else max(0.0, left),
        ends="" if left is None else _awaited(link),
    )


def _awaited(link: Link) -> str:
    exchange = link.exchange
    if link.life is Life.ACTIVE and exchange is not None:
        return "answer" if exchange.read_finished else "body"
    return _ENDS.get(link.life, "")


def kind_of(life: Life, websocket: object) -> str:
    if life is not Life.UPGRADED:
        return "http"
    return "stream" if websocket is None else "websocket"


def address_of(address: Any) -> str:
    """ "127.0.0.1:80" or "[::1]:80" of what getsockname() says."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def peer_of(address: Any, sock: Any) -> str:
    """Of a unix socket, whose client has no address, the pid of whoever connected."""
    if isinstance(address, tuple) and len(address) >= 2:
        return shown(address_of(address))
    try:
        data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return f"unix:pid={struct.unpack('3i', data)[0]}"
    except (OSError, AttributeError):  # closed meanwhile, or not connected yet
        return "unix"


def local_of(sock: Any) -> str:
    try:
        address = sock.getsockname()
    except (OSError, AttributeError):
        return ""
    if isinstance(address, tuple):
        return address_of(address)
    return "unix:" + shown(address if isinstance(address, str) else address.decode("latin-1"))


def tls_of(connection: Any) -> str:
    """ "TLSv1.3 TLS_AES_256_GCM_SHA384", "" without TLS."""
    if connection is None:
        return ""
    version, cipher = connection.version(), connection.cipher()
    return f"{version or 'handshake'} {cipher[0] if cipher else ''}".rstrip()


def peername(sock: Any) -> Any:
    """None if it is not connected any more."""
    try:
        return sock.getpeername()
    except (OSError, AttributeError):
        return None


def client_of(handler: Any, last: str, address: Any) -> str:
    """The address that a proxy has told, of the request that is there or of the last one.

    last:  of the connection, by those that the operator trusts; a program may trust others
           (`xheaders`), whose word is in the request only.
    """
    own = address[0] if isinstance(address, tuple) and address else None
    for told in (getattr(getattr(handler, "request", None), "remote_ip", None), last):
        # Tornado says "0.0.0.0" for a unix socket's.
        if isinstance(told, str) and told not in (own, "", "0.0.0.0"):
            return shown(told)
    return ""


def name_of(handler: object) -> str:
    """ "chat.Room", "" without one."""
    if handler is None:
        return ""
    kind = type(handler)
    return shown(f"{kind.__module__}.{kind.__qualname__}")
