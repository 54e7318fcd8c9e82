"""What the kernel knows of a connection, and its transport does not."""

from __future__ import annotations

import asyncio
import fcntl
import select
import socket
import sys
import termios
from typing import Any, NamedTuple

#: Where `tcpi_unacked`, segments sent and not acknowledged, stands in struct tcp_info
#: (linux/tcp.h): behind 8 bytes of flags and four numbers.
_UNACKED = slice(24, 28)
#: `tcpi_last_ack_recv`, milliseconds since an acknowledgement came.
_HEARD = slice(56, 60)


class Gauge(NamedTuple):
    """What the kernel knows of a connection.

    waits:  has it bytes for us that we have not read?
    left:   bytes that the peer's kernel has taken, ever.
    stuck:  do bytes wait here for a peer that takes none (its window is closed)?
    """

    waits: bool
    left: int
    stuck: bool


def gauge(sock: Any, sent: int, waiting: int) -> Gauge:
    """How far the peer behind `sock` has come.

    sent:     bytes that we were given to send, ever.
    waiting:  those of them that the kernel has not taken.
    """
    if sock is None or sock.fileno() < 0:
        return Gauge(False, sent - waiting, bool(waiting))
    if sock.family == socket.AF_UNIX:
        # Its TIOCOUTQ counts the kernel's own memory, not our bytes.
        return Gauge(readable(sock), sent - waiting, bool(waiting))
    waiting += outgoing(sock)
    # A peer that has closed its window gets no segments, only probes, which do not count;
    # one that is not there any more leaves ours unacknowledged.
    return Gauge(readable(sock), sent - waiting, waiting > 0 and not _unacknowledged(sock))


def readable(sock: Any) -> bool:
    """Are there bytes that nobody has read yet, or the end?"""
    if sock is None or sock.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def outgoing(sock: Any) -> int:
    """Bytes that the kernel has from us and the peer has not acknowledged yet."""
    if sock is None or sock.fileno() < 0:
        return 0
    try:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:  # gone meanwhile
        return 0
    return int.from_bytes(answer, sys.byteorder)


def unheard(fd: int) -> float | None:
    """Seconds since its peer was heard, if something is under way to it; None if nothing is."""
    if fd < 0:
        return None
    # Of whatever family it is: this asks the kernel nothing about it.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=fd)
    try:
        found = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _HEARD.stop)
    except OSError:
        return None  # a unix socket, or gone meanwhile
    finally:
        sock.detach()
    if not int.from_bytes(found[_UNACKED], sys.byteorder):
        return None
    return int.from_bytes(found[_HEARD], sys.byteorder) / 1000


def _unacknowledged(sock: Any) -> int:
    try:
        found = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 64)
    except OSError:
        return 0
    return int.from_bytes(found[_UNACKED], sys.byteorder)


def bytes_wait(transport: asyncio.BaseTransport) -> bool:
    """Has the kernel bytes of this connection that nobody has read yet?

    Closing now would answer them with a reset.
    """
    return readable(transport.get_extra_info("socket"))


def unsent(transport: asyncio.BaseTransport) -> int:
    """Bytes that the kernel has from us and the peer has not acknowledged yet."""
    return outgoing(transport.get_extra_info("socket"))
