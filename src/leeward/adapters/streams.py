"""Tornado's streams, that tell where a connection stands: its first bytes, its end."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Protocol

from tornado import netutil
from tornado.iostream import IOStream, SSLIOStream

from leeward.adapters.server import Life

if TYPE_CHECKING:
    import socket
    import ssl

#: States in which the next byte is the first of a request.
WAITING = frozenset({Life.NEW, Life.IDLE})


class Told(Protocol):
    """What a stream tells."""

    life: Life

    def request_arrives(self) -> None:
        """First byte of a request."""

    def has_closed(self) -> None:
        """The connection has ended, whoever ended it."""


class Stream(IOStream):
    life: Told

    def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
        count = super().read_from_fd(buf)
        if count and self.life.life in WAITING:
            self.life.request_arrives()
        return count

    def close_fd(self) -> None:
        super().close_fd()
        self.life.has_closed()


class TLSStream(Stream, SSLIOStream):
    """Its first byte is the first after the handshake: a request's."""


def encrypted(connection: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket | None:
    """`connection` before its handshake; None, and closed, if the client has gone already."""
    try:
        return netutil.ssl_wrap_socket(
            connection, context, server_side=True, do_handshake_on_connect=False
        )
    except OSError:  # SSLError is one
        connection.close()
        return None


def bytes_wait(stream: IOStream) -> bool:
    """Has the kernel a request that Tornado has not read yet?

    Closing now would answer it with a reset.
    """
    poll = select.poll()
    poll.register(stream.fileno(), select.POLLIN)
    return bool(poll.poll(0))
