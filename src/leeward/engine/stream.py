"""An IOStream over an asyncio transport, for what lives on when HTTP is over.

Tornado's `WebSocketProtocol13` and whatever an application does with `detach()` run
on it unchanged.  It is an `IOStream` by its class and by its methods, not by what is
inside: there is no file descriptor that it polls.  Differences that can be seen:

* a WebSocket's frames are watched (`leeward.engine.frames`), where Tornado's protocol is lax;
* a write goes to the kernel at once and is never kept here; what the kernel does not
  take, the transport keeps;
* `start_tls` is not offered: the server's side of it was never (Tornado offers it
  for a fresh connection, before HTTP).

A read whose bytes are here already returns a future that is done: `await` on it does
not leave the coroutine.  WebSocket messages that came whole need no such reads
(`leeward.engine.messages`).  A few more than 400 lines: reads and writes have one end.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from typing import TYPE_CHECKING, Any

from tornado.ioloop import IOLoop
from tornado.iostream import StreamBufferFullError, StreamClosedError, UnsatisfiableReadError

from leeward.engine.frames import close_frame
from leeward.engine.messages import AHEAD, AT_ONCE, Messages

if TYPE_CHECKING:
    from collections.abc import Callable

    from leeward.engine.exchange import Exchange
    from leeward.engine.frames import Guard
    from leeward.engine.link import Link
    from leeward.engine.pings import Asked

#: Tornado's name: its users have filters and alerts on it.
_general = logging.getLogger("tornado.general")

#: First octet of a close frame.
_CLOSE = b"\x88"

#: Above this a piece is copied once instead of twice; below, the view costs more than that.
_LARGE = 64 * 1024


class TransportStream(Messages):
    def __init__(self, connection: Link) -> None:
        # Not IOStream.__init__(): it would register a descriptor with the loop.
        super().__init__()
        server = connection.server
        self.io_loop = IOLoop.current()
        self.max_buffer_size = server.max_buffer_size
        self.max_write_buffer_size = None
        self.read_chunk_size = server.params.chunk_size
        self.error: BaseException | None = None
        self._connection = connection
        self._loop = server.loop
        self._data = bytearray()
        self._future: asyncio.Future[Any] | None = None
        #: Finds what the pending read wants: a number of bytes to take, or None.
        self._find: Callable[[], int | None] | None = None
        self._into: bytearray | memoryview | None = None
        self._until_close = False
        self._at_once = 0
        self._ended = False  # the peer will send no more
        self._closed = False
        self._on_close: Callable[[], None] | None = None
        self._on_close_of: Exchange | None = None  # the request that it was set in
        self.guard: Guard | None = None
        self._said_close = False  # a close frame was sent
        self._failed = False  # by us: whatever else the protocol sends comes too late
        self.asked: Asked | None = None

    # --- what is under it ------------------------------------------------------------------------

    @property
    def socket(self) -> Any:  # type: ignore[override]
        """The socket, or for TLS the connection that knows certificate and cipher."""
        if self._closed:
            return None
        transport = self._connection.transport
        plain = transport.get_extra_info("socket")
        tls = transport.get_extra_info("ssl_object")
        return plain if tls is None else _TlsSocket(tls, plain)

    def fileno(self) -> int:
        return int(self._connection.transport.get_extra_info("socket").fileno())

    def set_nodelay(self, value: bool) -> None:
        """Nothing to do: asyncio and uvloop set TCP_NODELAY for good."""

    def get_fd_error(self) -> Exception | None:
        return None

    def close_fd(self) -> None:
        self._connection.cut()

    async def start_tls(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        raise NotImplementedError("start_tls() on a connection that HTTP has been spoken on")

    # --- reading ---------------------------------------------------------------------------------

    def read_bytes(self, num_bytes: int, partial: bool = False) -> asyncio.Future[bytes]:
        """Tornado's: exactly `num_bytes`, or with `partial` at least one and at most so many."""
        if self._fresh:
            self._keep_rest()
        data = self._data
        if (
            self._future is None
            and (len(data) >= num_bytes or (partial and data))
            and not self._connection.choked
        ):
            future: asyncio.Future[bytes] = self._loop.create_future()
            piece = self._take(min(num_bytes, len(data)))
            self._at_once += 1
            if self._failed:
                self._give_up(future, piece)
            elif self._at_once < AT_ONCE:
                future.set_result(piece)
            else:
                self._at_once = 0
                self._loop.call_soon(_give, future, piece)
            return future

        def find() -> int | None:
            if len(data) >= num_bytes or (partial and data):
                return min(num_bytes, len(data))
            return None

        return self._read(find)

    def read_into(self, buf: bytearray | memoryview, partial: bool = False) -> asyncio.Future[int]:
        data, wanted = self._data, len(buf)

        def find() -> int | None:
            if len(data) >= wanted or (partial and data):
                return min(wanted, len(data))
            return None

        return self._read(find, into=buf)

    def read_until(self, delimiter: bytes, max_bytes: int | None = None) -> asyncio.Future[bytes]:
        data = self._data

        def find() -> int | None:
            at = data.find(delimiter)
            end = None if at < 0 else at + len(delimiter)
            _check(max_bytes, len(data) if end is None else end, delimiter)
            return end

        return self._read(find)

    def read_until_regex(self, regex: bytes, max_bytes: int | None = None) -> asyncio.Future[bytes]:
        data, pattern = self._data, re.compile(regex)

        def find() -> int | None:
            match = pattern.search(data)
            end = None if match is None else match.end()
            del match  # it would lock the bytearray
            _check(max_bytes, len(data) if end is None else end, pattern)
            return end

        return self._read(find)

    def read_until_close(self) -> asyncio.Future[bytes]:
        if self._closed:
            future: asyncio.Future[bytes] = self._loop.create_future()
            future.set_result(self._take(len(self._data)))
            return future
        self._until_close = True
        return self._read(lambda: None)

    def reading(self) -> bool:
        return self._future is not None

    def give_back(self) -> bytes:
        """The answer is over: what its handler has not read is the next request's."""
        return self._take(len(self._data)) if self._data else b""

    def _read(
        self, find: Callable[[], int | None], into: bytearray | memoryview | None = None
    ) -> asyncio.Future[Any]:
        if self._future is not None:
            if not self._future.done():
                raise AssertionError("Already reading")
            self._future = None  # its reader was cancelled
        if self._connection.exchange is not None:
            self._data += self._connection.hand_over()
        future = self._loop.create_future()
        self._future, self._find, self._into = future, find, into
        # As with Tornado, nobody need look at the failure of a read.
        future.add_done_callback(_looked_at)
        try:
            self._try()
        except UnsatisfiableReadError as error:
            self._unsatisfiable(error)
        if self._future is not None:
            if self._closed:
                self._future = self._find = None
                raise StreamClosedError(real_error=self.error)
            if self._ended and not self._connection.choked:
                self.end()  # no more will come
            # Reading paused when nobody wanted more; what is wanted now may be larger.
            self._connection.read_on()
        return future

    def _try(self) -> None:
        """Give the pending read its bytes if they are here."""
        future, find = self._future, self._find
        if future is None or find is None or self._connection.choked:
            return
        if future.done():  # cancelled
            self._future = self._find = None
            return
        count = find()
        if count is not None:
            into, self._into = self._into, None
            self._future = self._find = None
            piece = self._take(count)
            if self._failed:
                self._give_up(future, piece)
            elif into is None:
                future.set_result(piece)
            else:
                into[:count] = piece
                future.set_result(count)
        elif self.guard is not None and (code := self.guard.arrived(self._data)):
            self.fail(code)
            self.close()
        elif len(self._data) >= self.max_buffer_size:
            self._buffer_full()

    def _take(self, count: int) -> bytes:
        data = self._data
        if count < _LARGE:
            piece = bytes(data[:count])
        else:
            with memoryview(data) as view:
                piece = bytes(view[:count])
        del data[:count]
        if self.guard is not None:
            code = self.guard.take(piece)
            if code:
                self.fail(code)
        self._taken()
        return piece

    def fail(self, code: int) -> None:
        """The WebSocket's client has broken a rule: say so; the protocol will close."""
        if not self._said_close and not self._closed:
            self._connection.send(close_frame(code))
        self._failed = True

    def _give_up(self, future: asyncio.Future[Any], piece: bytes) -> None:
        """Answer a read behind which nothing is read, as if the client had left."""
        if self.guard is not None and self.guard.closing:
            future.set_result(piece)  # the application is told what the client said
        else:
            future.set_exception(StreamClosedError())
            future.exception()

    def _unsatisfiable(self, error: Exception) -> None:
        _general.info("Unsatisfiable read, closing connection: %s", error)
        self.error = error
        self.close()

    def _buffer_full(self) -> None:
        """More than max_buffer_size came, and the read is not satisfied yet."""
        _general.error("Reached maximum read buffer size")
        self.error = StreamBufferFullError("Reached maximum read buffer size")
        self.close()

    # --- the connection speaks -------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        asked = self.asked
        if asked is not None:
            asked.heard = self._loop.time()
        if self._arrival is not None:
            data = self._offer(data)
        if asked is not None and data:
            data = asked.sieve.feed(data)
        if not data:
            return
        self._data += data
        try:
            self._try()
        except UnsatisfiableReadError as error:
            self._unsatisfiable(error)
        if self._until_close and len(self._data) > self.max_buffer_size:
            self._buffer_full()
        elif len(self._data) > AHEAD and self._future is None:
            self._connection.read_no_further()

    def go_on(self) -> None:
        """The peer has taken enough of what waited for it: read on."""
        try:
            self._try()
        except UnsatisfiableReadError as error:
            self._unsatisfiable(error)
        if self._ended and self._future is not None and not self._connection.choked:
            self.end()  # which a choked stream's reader does not see: more was here
        if not self._closed and (self._future is not None or len(self._data) <= AHEAD):
            self._connection.read_on()

    def feed_eof(self, at_work: bool) -> None:
        """The peer will send no more; a reader still gets what came before.

        at_work:  a WebSocket's message is: as under Tornado, its answer is sent, and the
                  end seen by the next read.
        """
        self._ended = True
        reads = self._future is not None and not self._connection.choked
        if reads or not (self._data or at_work):
            self.end()

    def end(self) -> None:
        """All that the peer has said was read; what it has not taken yet is still sent."""
        if not self._closed:
            self._shut()
            self._connection.close(lingers=False)

    def lost(self, error: BaseException | None) -> None:
        """The transport is gone."""
        if self.error is None:
            self.error = error
        self._shut()

    # --- writing ---------------------------------------------------------------------------------

    def write(self, data: bytes | memoryview) -> asyncio.Future[None]:
        """Send.  The future is done when the kernel has it all."""
        if self._closed:
            raise StreamClosedError(real_error=self.error)
        if self.guard is not None:
            if self._failed or self._said_close:
                return self._connection.server.flushed  # nothing may follow a close frame
            self._said_close = data[:1] == _CLOSE
        return self._connection.send(data)

    def told(self, future: asyncio.Future[None]) -> asyncio.Future[None] | None:
        """Of a message, for what `write` has returned; None if it has not left us yet."""
        server = self._connection.server
        return server.turns.written() if future is server.flushed else None

    def writing(self) -> bool:
        return not self._closed and self._connection.transport.get_write_buffer_size() > 0

    # --- the end ---------------------------------------------------------------------------------

    def closed(self) -> bool:
        return self._closed or self._connection.has_left

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        self._on_close, self._on_close_of = callback, self._connection.exchange
        if self._closed and callback is not None:
            self._shut()

    def close(self, exc_info: Any = False) -> None:
        """Close now; what the kernel has not taken yet is dropped, as by Tornado."""
        if self._closed:
            return
        if exc_info:
            if isinstance(exc_info, BaseException):
                self.error = exc_info
            else:
                self.error = (sys.exc_info() if exc_info is True else exc_info)[1]
        self._shut()
        self._connection.stream_closed()

    def _shut(self) -> None:
        self._closed = True
        future, self._future = self._future, None
        self._find = None
        if future is not None and not future.done():
            if self._until_close:
                self._until_close = False
                future.set_result(self._take(len(self._data)))
            else:
                future.set_exception(StreamClosedError(real_error=self.error))
        self.client_left()

    def client_left(self) -> None:
        """Tell whoever wants to know, but for one who had the whole answer sent before."""
        callback, self._on_close = self._on_close, None
        exchange, self._on_close_of = self._on_close_of, None
        if callback is not None and (exchange is None or not exchange.write_finished):
            self.io_loop.add_callback(callback)


class _TlsSocket:
    """What applications ask a TLS socket for: the certificate, and where it leads."""

    def __init__(self, tls: Any, plain: Any) -> None:
        self._tls = tls
        self._plain = plain

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tls if hasattr(self._tls, name) else self._plain, name)


def _give(future: asyncio.Future[bytes], piece: bytes) -> None:
    if not future.done():
        future.set_result(piece)


def _check(most: int | None, size: int, delimiter: object) -> None:
    if most is not None and size > most:
        raise UnsatisfiableReadError(f"delimiter {delimiter!r} not found within {most} bytes")


def _looked_at(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
