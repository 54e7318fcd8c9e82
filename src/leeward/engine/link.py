"""One client's transport: how long it lives, what it is sent, how it ends.

`leeward.engine.connection` reads requests from it.  The life is the table of
`leeward._core.connection`; the transport is asyncio's or uvloop's.

A client that has said all it will say (FIN) may be one that left or one that waits
for its answer (RFC 9112 §9.6 allows it); they look the same until something is sent.
So the application hears at once that its client has gone, as from Tornado, and what
it answers all the same is still sent.
"""

from __future__ import annotations

import abc
import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketHandler

from leeward._core.connection import WAITING, Life
from leeward.engine.registry import NEW_GRACE, REASONS
from leeward.engine.stream import TransportStream, bytes_wait, unsent
from leeward.engine.telling import Account, tell

if TYPE_CHECKING:
    from leeward._core.conns import Conn, Identity
    from leeward.engine.engine import Engine, ServerConnection
    from leeward.engine.exchange import Exchange
    from leeward.engine.standing import Standing

#: Seconds without progress for the last bytes of a connection that we close.
_CLOSING = 30.0
#: How often that is looked at; and seconds for a client's TLS farewell, which need not come:
#: asyncio waits half a minute for it, and with it the stop of a whole worker.
_FAREWELL = 0.5
#: Seconds for an answer to a client that has said FIN, renewed likewise.
_HALF_CLOSED = 30.0

_NEW, _ACTIVE, _IDLE = Life.NEW, Life.ACTIVE, Life.IDLE
_UPGRADED, _ENDING, _CLOSED = Life.UPGRADED, Life.CLOSING, Life.CLOSED

#: Tornado's name: its users have filters and alerts on it.
_general = logging.getLogger("tornado.general")


class Link(asyncio.Protocol, abc.ABC):
    """A `leeward.engine.registry.Member` without its requests.

    account:  what `leeward.engine.telling` needs to have been written down.  An object of its
              own, because an instance with more than 30 attributes of its own shares its keys
              with no other: every request cost 5 % more (CPython's SHARED_KEYS_MAX_SIZE).
    """

    transport: asyncio.Transport
    #: The request that is served, of those that are known to `leeward.engine.connection`.
    exchange: Exchange | None

    def __init__(self, server: Engine, address: Any) -> None:
        self.server = server
        self.params = server.params
        self.address = address
        self.life = _NEW
        self.account = Account()
        #: By when the state must have ended, on the loop's clock; 0.0 for never.
        self.deadline = 0.0
        self.lost = False  # nothing can be sent any more
        self.ended = False  # the client has said FIN
        self.sent = 0  # bytes that we were given to send
        self.serving: ServerConnection | None = None
        #: Makes the transport, with TLS its handshake too.
        self.task: asyncio.Task[Any] | None = None
        self._connected = False
        self._left = -1  # bytes that had left us at the last look
        self._patience_ends = 0.0
        self._paused_reading = False
        self._paused_writing = False
        self._flushing: list[asyncio.Future[None]] = []
        self._stream: TransportStream | None = None
        self._websocket: WebSocketHandler | None = None

    @property
    def context(self) -> Any:
        """Tornado's request context: address and protocol, as a proxy may have told them."""
        return None if self.serving is None else self.serving.context

    def __repr__(self) -> str:
        return f"<connection {self.life.name}>"

    # --- what the requests' side does ------------------------------------------------------------

    @abc.abstractmethod
    def awaits_bytes(self) -> bool:
        """Are there no bytes here of a request that nobody has answered?"""

    @abc.abstractmethod
    def owes_an_answer(self) -> bool:
        """Has a whole request come that is not answered yet?"""

    @abc.abstractmethod
    def stop_reading_requests(self) -> None:
        """The connection is closing."""

    @abc.abstractmethod
    def client_left(self) -> None:
        """Tell the application, once."""

    @abc.abstractmethod
    def flushed(self) -> None:
        """All that was sent has left us."""

    # --- the transport speaks --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._connected = True
        # 0: whatever the kernel does not take at once counts, so that "flushed" is true;
        # and uvloop writes at once instead of at the end of the loop's turn.
        self.transport.set_write_buffer_limits(0)
        self.serving = self.server.begin_serving(self)
        self.deadline = self.server.deadline(self.server.idle_timeout)
        if self.life is _ENDING:  # cut in its handshake
            self.transport.abort()

    def eof_received(self) -> bool:
        """Returns True to keep the transport open for answers."""
        self.ended = True
        if self.life is _UPGRADED:
            self.stream.feed_eof()  # closes, once the application has read what came before
        elif self.owes_an_answer():
            self.deadline = self.server.deadline(_HALF_CLOSED)
            self.client_left()
        else:
            return False  # amid a request, or between two
        return self.transport.get_extra_info("ssl_object") is None  # TLS knows no half-close

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        for future in self._flushing:
            if not future.done():
                future.set_exception(StreamClosedError(real_error=exc))
                future.exception()
        self._flushing.clear()
        if self.life is _CLOSED:
            return
        upgraded = self.life is _UPGRADED
        self._leave(_CLOSED)
        self.client_left()
        if self._stream is not None:
            self._stream.lost(exc)
        if not upgraded and self.serving is not None:
            self.server.serving_ended(self.serving)
        self._websocket = None
        self.server.remove(self)

    def pause_writing(self) -> None:
        self._paused_writing = True

    def resume_writing(self) -> None:
        self._paused_writing = False
        flushed, self._flushing = self._flushing, []
        for future in flushed:
            if not future.done():
                future.set_result(None)
        self.account.moved = monotonic()
        self.flushed()

    # --- sending ---------------------------------------------------------------------------------

    def send(self, data: bytes | memoryview) -> asyncio.Future[None]:
        """Write `data`.  The future is done when the kernel has all that was written."""
        if self.lost or self.life is _ENDING:
            return _failed(self.server.loop)
        self.sent += len(data)
        self.account.moved = monotonic()
        self.transport.write(data)
        if not self._paused_writing:
            return self.server.flushed
        future = self.server.loop.create_future()
        self._flushing.append(future)
        return future

    @property
    def stream(self) -> TransportStream:
        """An IOStream over our transport; made when somebody asks for it."""
        if self._stream is None:
            self._stream = TransportStream(self)
            if self.lost:
                self._stream.lost(None)
        return self._stream

    # --- the end ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Send what is left to send, then close."""
        if self.life in (_ENDING, _CLOSED):
            return
        self._leave(_ENDING)
        self.deadline = self.server.deadline(_FAREWELL)
        if self._connected:
            self.transport.close()

    def cut(self) -> None:
        """Close now, whatever is left to send."""
        if self.life is _CLOSED:
            return
        self._leave(_ENDING)
        if self._connected:
            self.transport.abort()
        elif self.task is not None:
            self.task.cancel()

    def expire(self) -> None:
        """The deadline has come."""
        if self._connected and (self.ended or self.life is _ENDING):
            # A slow reader is no dead one: it stays while bytes go out.
            waiting = self.transport.get_write_buffer_size() + unsent(self.transport)
            now = self.server.loop.time()
            moves = self.sent - waiting > self._left
            if moves:
                self._left, self._patience_ends = self.sent - waiting, now + _CLOSING
            if self.life is _ENDING and waiting and now < self._patience_ends:
                self.deadline = self.server.deadline(_FAREWELL)
                return
            if self.life is not _ENDING and moves:
                self.deadline = self.server.deadline(_HALF_CLOSED)
                return
        self.cut()

    def _activate(self) -> None:
        """The first byte of a request is here."""
        if self.life is _NEW:
            self.server.changes(_NEW, _ACTIVE)
        self.life = _ACTIVE
        # A pipelined one has lain here since before the answer to the one before it.
        account = self.account
        if account.moved > account.since:
            account.since = account.moved
        self.deadline = 0.0
        self.server.in_flight(+1)

    def _leave(self, life: Life) -> None:
        if self.life is _ACTIVE:
            self.server.in_flight(-1)
        if self.life is not life:
            self.server.changes(self.life, life)
            self.account.since = monotonic()
        self.life = life
        self.stop_reading_requests()

    # --- draining --------------------------------------------------------------------------------

    def drain(self) -> None:
        """An active one closes with its answer (`Exchange.write_headers`)."""
        if self.server.draining != "stop" or self.life not in WAITING:
            return
        age = monotonic() - self.account.born
        if self.life is _IDLE or age >= NEW_GRACE:
            self._close_if_silent()
        else:
            self.server.later(NEW_GRACE - age, self._close_if_silent)

    def _close_if_silent(self) -> None:
        if self.life not in WAITING or not self.awaits_bytes():
            return
        if not self._connected:
            self.cut()
        elif not bytes_wait(self.transport):
            self.close()

    def close_websocket(self, code: int) -> bool:
        """Send the close frame.  Tornado cuts a peer that does not answer it after 5 s.

        A protocol of the application's own cannot be told: it has until the deadline.
        """
        if self.life is not _UPGRADED or self._websocket is None:
            return False
        try:
            self._websocket.close(code, REASONS[code])
        except Exception:
            # An application may override close().
            _general.exception("%s.close() raised; cut", type(self._websocket).__name__)
            self.cut()
        return True

    def tell(self, mine: Identity, standing: Standing) -> Conn:
        return tell(self, mine, standing)

    # --- for the stream --------------------------------------------------------------------------

    @property
    def has_left(self) -> bool:
        """Is the client gone, as far as the application is concerned?"""
        if self.lost or self.life is _ENDING:
            return True
        return self.ended and self.life is not _UPGRADED

    def stream_closed(self) -> None:
        """The application has closed the stream."""
        if self._paused_writing:
            self.cut()
        else:
            self.close()

    def read_on(self) -> None:
        if self._paused_reading:
            self._resume_reading()

    def read_no_further(self) -> None:
        self._pause_reading()

    # --- flow ------------------------------------------------------------------------------------

    def _pause_reading(self) -> None:
        if not self._paused_reading and not self.lost:
            self._paused_reading = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        self._paused_reading = False
        if not self.transport.is_closing():
            self.transport.resume_reading()


def _failed(loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
    """What a write on a closed connection returns; nobody need look at it."""
    future = loop.create_future()
    future.set_exception(StreamClosedError())
    future.exception()
    return future
