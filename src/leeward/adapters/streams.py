"""Tornado's streams, that tell where a connection stands: its first bytes, its end."""

from __future__ import annotations

import asyncio
import contextlib
import select
from typing import TYPE_CHECKING, Any, Protocol

from tornado.ioloop import IOLoop
from tornado.iostream import IOStream, SSLIOStream

from leeward.engine import unclosed
from leeward.engine.kernel import gauge
from leeward.engine.opening import see_open_through

if TYPE_CHECKING:
    import socket
    import ssl

    from tornado.websocket import WebSocketHandler

    from leeward.engine.kernel import Gauge
    from leeward.engine.pings import Asked, Pings


_READ = IOLoop.READ
#: Bytes of one read of ours; Tornado's are larger, and take what is more.
_PIECE = 4096


class Told(Protocol):
    """What a stream tells whom."""

    def bytes_arrive(self, count: int) -> None:
        """So many were read."""

    def bytes_leave(self) -> None:
        """Some were written."""

    def has_closed(self) -> None:
        """The connection has ended, whoever ended it."""


class Stream(IOStream):
    """Plain TCP, or a unix socket."""

    life: Told
    address: Any = None
    #: Set for a WebSocket whose peer we ask.
    _asked: Asked | None = None
    _pings: Pings | None = None
    #: What came with a pong of ours, or instead of it, and Tornado has not read yet.
    _came: bytes = b""
    _failed: OSError | None = None
    #: May bytes be sent and received beside Tornado?
    _direct = True

    def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
        if self._failed is not None:
            failed, self._failed = self._failed, None
            raise failed
        if self._came:
            came, self._came = self._came, b""
            buf[: len(came)] = came
            return len(came)
        if self._asked is not None:
            return self._read_frames(self._asked, memoryview(buf))
        count = super().read_from_fd(buf)
        if count:
            self.life.bytes_arrive(count)
        return count

    def write_to_fd(self, data: memoryview) -> int:
        count = super().write_to_fd(data)
        self.life.bytes_leave()
        return count

    def _read_frames(self, asked: Asked, buf: memoryview) -> int | None:
        room = buf[: -asked.sieve.most_kept_back]
        while count := super().read_from_fd(room):
            self.life.bytes_arrive(count)
            asked.heard = asyncio.get_running_loop().time()
            found = asked.sieve.feed(bytes(room[:count]))
            if found:
                buf[: len(found)] = found
                return len(found)
            # Nothing but our pong.  0 would be the end; and TLS may have read more already.
        return count

    def _take_pong(self, asked: Asked) -> bool:
        """Read what has come.  Was it nothing but our pong?  Else Tornado has it to read.

        Its own way there, through two reads and its buffer, takes 7 us more.
        """
        try:
            data = self.socket.recv(_PIECE)
        except BlockingIOError:
            return True
        except OSError as error:
            self._failed = error  # it is told once
            return False
        if not data:
            return False
        self.life.bytes_arrive(len(data))
        asked.heard = asyncio.get_running_loop().time()
        self._came = asked.sieve.feed(data)
        return not self._came

    def _handle_events(self, fd: Any, events: int) -> None:
        asked = self._asked
        waits = asked is not None and asked.watch.asked > asked.heard
        if not (waits and events == _READ and self._direct and self._take_pong(asked)):  # type: ignore[arg-type]
            super()._handle_events(fd, events)
        # uvloop runs the reader once for a reset, and watches the descriptor no more.  With a
        # request in front of the reset the reader has found only that: the connection would
        # stay, and its handler wait, for ever.  Later, as Tornado does at an error: what was
        # read has its turn before.
        if _is_uvloop(self.io_loop) and not self.closed() and _has_failed(self.fileno()):
            self.io_loop.add_callback(self.close)

    def close_fd(self) -> None:
        super().close_fd()
        if self._asked is not None and self._pings is not None:
            self._pings.end(self._asked, self.error)
            self._asked = None
        self.life.has_closed()

    # --- a `leeward.engine.pings.Peer` -----------------------------------------------------------

    def websocket_begins(self, handler: WebSocketHandler, pings: Pings | None) -> None:
        """`handler` has the stream, and is about to open.  pings:  None for a probe."""
        see_open_through(handler, asyncio.get_running_loop())
        unclosed.remember(handler)
        if pings is None:
            return
        asked = pings.begin(self, handler)
        if asked is not None:
            # What came with the handshake was read before there was somebody to look at it.
            asked.sieve.feed(bytes(self._read_buffer))
            self._asked, self._pings = asked, pings

    @property
    def sent(self) -> int:
        return self._total_write_index

    @property
    def can_send(self) -> bool:
        return not (self._closed or self._write_buffer)

    def write_frame(self, frame: bytes) -> None:
        if not self.can_send:
            return
        if self._direct:
            # 9 us less than `write`, with its buffer and its future; 1 more than the kernel.
            try:
                count = self.socket.send(frame)
            except OSError:
                count = 0  # `write` meets it again
            if count:
                self._total_write_index += count
                self._total_write_done_index += count
                self.life.bytes_leave()
                if count == len(frame):
                    return
                frame = frame[count:]
        self.write(frame)

    def gauge(self) -> Gauge:
        waiting = self._total_write_index - self._total_write_done_index
        return gauge(self.socket, self._total_write_index, waiting)

    def cut(self) -> None:
        self.close()


def _is_uvloop(io_loop: Any) -> bool:
    return type(io_loop.asyncio_loop).__module__.startswith("uvloop")


def _has_failed(fd: Any) -> bool:
    """Was it reset, and nobody has been told?"""
    poll = select.poll()
    poll.register(fd, 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


class TlsStream(Stream, SSLIOStream):
    """TLS.  The handshake runs on the loop without blocking it; NEW until then."""

    _direct = False

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
