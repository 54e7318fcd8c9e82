"""Tornado's streams, that tell where a connection stands: its first bytes, its end."""

from __future__ import annotations

import contextlib
import select
from typing import TYPE_CHECKING, Protocol

from tornado.iostream import IOStream, SSLIOStream

if TYPE_CHECKING:
    import socket
    import ssl


class Told(Protocol):
    """What a stream tells whom."""

    def bytes_arrive(self, count: int) -> None:
        """So many were read."""

    def bytes_leave(self, count: int) -> None:
        """So many were written."""

    def has_closed(self) -> None:
        """The connection has ended, whoever ended it."""


class Stream(IOStream):
    """Plain TCP, or a unix socket."""

    life: Told

    def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
        count = super().read_from_fd(buf)
        if count:
            self.life.bytes_arrive(count)
        return count

    def write_to_fd(self, data: memoryview) -> int:
        count = super().write_to_fd(data)
        self.life.bytes_leave(count)
        return count

    def close_fd(self) -> None:
        super().close_fd()
        self.life.has_closed()


class TlsStream(Stream, SSLIOStream):
    """TLS.  The handshake runs on the loop without blocking it; NEW until then."""

    def close_fd(self) -> None:
        # Tornado closes without a word, and a client cannot tell that from a
        # connection that somebody has cut.
        if not self._ssl_accepting and self.error is None:
            with contextlib.suppress(OSError, ValueError):  # would wait for the answer; gone
                self.socket.unwrap()
        super().close_fd()


def stream(
    connection: socket.socket, tls: ssl.SSLContext | None, buffer: int | None, chunk: int | None
) -> Stream | None:
    """The stream of a fresh connection, which it owns; None if its client has gone already.

    buffer, chunk:  bytes, as HTTPServer has them; None for what Tornado takes by itself.
    """
    if tls is None:
        return Stream(connection, max_buffer_size=buffer, read_chunk_size=chunk)
    try:
        connection = tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
    except OSError:  # SSLError is one
        connection.close()
        return None
    return TlsStream(connection, max_buffer_size=buffer, read_chunk_size=chunk)


def bytes_wait(stream: IOStream) -> bool:
    """Has the kernel a request that Tornado has not read yet?

    Closing now would answer it with a reset.
    """
    poll = select.poll()
    poll.register(stream.fileno(), select.POLLIN)
    return bool(poll.poll(0))
