"""One client's transport: how long it lives, what it is sent, how it ends.

`leeward.engine.connection` reads requests from it.  The life is the table of
`leeward._core.connection`; the transport is asyncio's or uvloop's.

A client that has said all it will say (FIN) may be one that left or one that waits
for its answer (RFC 9112 §9.6 allows it); they look the same until something is sent.
So the application hears at once that its client has gone, as from Tornado, and what
it answers all the same is still sent.

A few more than 400 lines: one life, whose ends call each other.
"""

from __future__ import annotations

import abc
import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from tornado.websocket import WebSocketHandler

from leeward._core.connection import WAITING, Life
from leeward._core.pace import Progress
from leeward._sys import peers
from leeward.engine import unclosed
from leeward.engine.kernel import bytes_wait, gauge, unsent
from leeward.engine.linger import Linger
from leeward.engine.opening import see_open_through
from leeward.engine.registry import NEW_GRACE, REASONS
from leeward.engine.sending import NONE, Sending
from leeward.engine.stream import TransportStream
from leeward.engine.telling import tell

if TYPE_CHECKING:
    from leeward._core.conns import Conn, Identity
    from leeward.engine.engine import Engine, ServerConnection
    from leeward.engine.exchange import Exchange
    from leeward.engine.kernel import Gauge
    from leeward.engine.leaving import Working
    from leeward.engine.pings import Asked
    from leeward.engine.standing import Standing
    from leeward.limits import Deadlines

#: Seconds without progress for the last bytes of a connection that we close, where there
#: is no --write-timeout.
_CLOSING = 60.0
#: How often that is looked at; and seconds for a client's TLS farewell, which need not come:
#: asyncio waits half a minute for it, and with it the stop of a whole worker.
_FAREWELL = 0.5
#: Seconds for an answer to a client that has said FIN, renewed while bytes go out.
HALF_CLOSED = 30.0

_NEW, _ACTIVE, _IDLE = Life.NEW, Life.ACTIVE, Life.IDLE
_UPGRADED, _ENDING, _CLOSED = Life.UPGRADED, Life.CLOSING, Life.CLOSED

#: Tornado's name: its users have filters and alerts on it.
_general = logging.getLogger("tornado.general")


class Link(Sending):
    """A `leeward.engine.registry.Member` without its requests."""

    __slots__ = (
        "_asked",
        "_connected",
        "_half_head",
        "_linger",
        "_own",
        "_stream",
        "_websocket",
        "address",
        "client",
        "counts_as",
        "deadline",
        "descriptor",
        "ended",
        "exchange",
        "family",
        "params",
        "serving",
        "task",
    )

    #: The request that is served, of those that are known to `leeward.engine.connection`.
    exchange: Exchange | None

    def __init__(self, server: Engine, address: Any) -> None:
        super().__init__(server)
        self.params = server.params
        self.address = address
        self.family = -1  # of the address, if a proxy has told it
        #: Who the client is, by the last request or by PROXY; a Unix socket's is "0.0.0.0".
        self.client = ""
        #: For whom its peer speaks, if that counts (`leeward.engine.spokesmen`).
        self.counts_as = ""
        self.descriptor = -1  # of its socket
        #: By when the state must have ended, on the loop's clock; 0.0 for never.
        self.deadline = 0.0
        self.ended = False  # the client has said FIN
        self.serving: ServerConnection | None = None
        #: Makes the transport, with TLS its handshake too.
        self.task: asyncio.Task[Any] | None = None
        self._connected = False
        self._half_head = False  # a request has begun whose head is not whole yet
        self._linger: Linger | None = None
        self._own: Deadlines | None = None  # of the request that was answered last, or took over
        self._stream: TransportStream | None = None
        self._websocket: WebSocketHandler | None = None
        self._asked: Asked | None = None

    @property
    def context(self) -> Any:
        """Tornado's request context: address and protocol, as a proxy may have told them."""
        return None if self.serving is None else self.serving.context

    @property
    def own(self) -> Deadlines | None:
        return self._own if self.exchange is None else self.exchange.own

    def bear(self) -> None:
        """The kernel, too, is to bear a client that takes nothing for as long as its route does."""
        own = self.own
        if own is not None and own.write is not None and self.descriptor >= 0 and not self.lost:
            peers.bear(self.descriptor, self.server.config, own.write)

    def __repr__(self) -> str:
        return f"<connection {self.life.name}>"

    # --- what the requests' side does ------------------------------------------------------------

    @abc.abstractmethod
    def awaits_bytes(self) -> bool:
        """Are there no bytes here of a request that nobody has answered?"""

    @abc.abstractmethod
    def hand_over(self) -> bytes:
        """What has come behind the request that its handler is at work on."""

    @abc.abstractmethod
    def owes_an_answer(self) -> bool:
        """Has a whole request come that is not answered yet?"""

    @abc.abstractmethod
    def sends_on(self) -> bool:
        """Is the client in the middle of a request, or already at the next one?"""

    @abc.abstractmethod
    def restart_waiting(self) -> None:
        """The settings have changed."""

    @abc.abstractmethod
    def stop_reading_requests(self) -> None:
        """The connection is closing."""

    @abc.abstractmethod
    def client_left(self) -> None:
        """Tell the application, once."""

    @property
    @abc.abstractmethod
    def endless(self) -> bool:
        """Is it answered by a stream of events?"""

    @property
    @abc.abstractmethod
    def doubtful(self) -> bool:
        """See `leeward.engine.registry.Member`."""

    @abc.abstractmethod
    def part(self, quiet: bool) -> Working | None:
        """See `leeward.engine.registry.Member`."""

    # --- the transport speaks --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._connected = True
        # Whatever the kernel does not take at once counts, so that "flushed" is true; and
        # uvloop writes at once instead of at the end of the loop's turn.
        self.transport.set_write_buffer_limits(0, 0)
        self.serving = self.server.begin_serving(self)
        self.deadline = self.server.deadline(self.server.timeouts.silent)
        if self.life is _ENDING:  # cut in its handshake
            self.transport.abort()

    def eof_received(self) -> bool:
        """Returns True to keep the transport open for answers."""
        self.ended = True
        if self.life is _UPGRADED:
            self._websocket_left()
            at_work = self._websocket is not None and unclosed.read(self._websocket) > 0
            self.deadline = self.server.deadline(HALF_CLOSED)
            self.stream.feed_eof(at_work)  # closes, once what came before is worked through
            return True
        return self.half_closed()  # else it is amid a request, or between two

    def half_closed(self) -> bool:
        """The client has said FIN, and has it an answer to get?  The application is told."""
        if not self.owes_an_answer():
            return False
        self.deadline = self.server.deadline(HALF_CLOSED)
        self.client_left()
        if self._stream is not None:
            self._stream.client_left()
            if self._stream.reading():  # by its handler, who would wait for ever
                self._stream.feed_eof(at_work=True)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._forget_unsent(exc)
        if self.life is _CLOSED:
            return
        upgraded = self.life is _UPGRADED
        self._leave(_CLOSED)
        self._websocket_left()
        # What is ours first: the application's own clean-up may raise.
        self._websocket = None
        self.server.remove(self)
        if self.counts_as:
            self.server.spokesmen.answered(self)
        self.client_left()
        if self._stream is not None:
            self._stream.lost(exc)
        if self._asked is not None:
            self.server.pings.end(self._asked, exc)
            self._asked = None
        if not upgraded and self.serving is not None:
            self.server.serving_ended(self.serving)

    def _websocket_left(self) -> None:
        """Should its handler hang, and so not see that: `leeward.engine.unclosed`."""
        if self._websocket is not None:
            taken = self.account.taken_by
            self.server.leaving.left(self._websocket, None if taken is None else taken.task)

    @property
    def stream(self) -> TransportStream:
        """An IOStream over our transport; made when somebody asks for it."""
        if self._stream is None:
            self._stream = TransportStream(self)
            if self.lost:
                self._stream.lost(None)
        return self._stream

    # --- the end ---------------------------------------------------------------------------------

    def close(self, *, lingers: bool = True) -> None:
        """Send what is left to send, then close.

        lingers:  let a client that still sends see its answer.
        """
        if self.life in (_ENDING, _CLOSED):
            return
        sends_on = self._connected and not (self.ended or self.lost) and self.sends_on()
        self._leave(_ENDING)
        if sends_on and lingers and not self.transport.is_closing():
            self.deadline = 0.0  # `Linger` has its own
            if self._paused_reading:
                self._resume_reading()
            self._hand_all_over()  # the transport takes nothing behind our FIN
            self._linger = Linger(self)
            return
        self.deadline = self.server.deadline(_FAREWELL)
        if self.lost:
            self.connection_lost(None)
        elif self._connected:
            self._hand_all_over()
            self.transport.close()

    def lingered(self) -> None:
        """The client has had its time to see our answer."""
        self.deadline = self.server.deadline(_FAREWELL)
        self.transport.close()

    def cut(self) -> None:
        """Close now, whatever is left to send."""
        if self.life is _CLOSED:
            return
        self._leave(_ENDING)
        if self.lost:
            self.connection_lost(None)
        elif self._connected:
            self.transport.abort()
        elif self.task is not None:
            self.task.cancel()

    def expire(self) -> None:
        """The deadline has come."""
        if self._connected and (self.ended or self.life is _ENDING):
            # A slow reader is no dead one: it stays while bytes go out.
            ending, now = self.life is _ENDING, self.server.loop.time()
            every = _FAREWELL if ending else HALF_CLOSED
            if not ending and self._paused_writing:
                # The `Watch` judges its pace, by longer times than ours: a look of ours in
                # between shortened them, and a download was reset 3 s behind its last progress.
                self.deadline = self.server.deadline(every)
                return
            waiting = self.transport.get_write_buffer_size() + unsent(self.transport)
            if self.progress is NONE:
                self.progress = Progress()
            write = self.server.timeouts.writing(self.own)
            patience = (write or _CLOSING) if ending else HALF_CLOSED
            stalled = self.progress.stalled(self.mark(), now, patience, every)
            if not stalled and (waiting or not ending):
                self.deadline = self.server.deadline(every)
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

    def answered_all(self) -> None:
        """No request is in hand: the next is waited for."""
        self.server.in_flight(-1)
        self.life, self.account.since = _IDLE, self.account.moved

    def _head_is_over(self) -> None:
        self._half_head = False
        self.server.half_heads -= 1

    def _leave(self, life: Life) -> None:
        if self.life is _ACTIVE:
            self.server.in_flight(-1)
            if self._half_head:
                self._head_is_over()
        if self.life is not life:
            self.server.changes(self.life, life)
            self.account.since = monotonic()
        self.life = life
        self.stop_reading_requests()

    # --- draining --------------------------------------------------------------------------------

    def evict(self) -> bool:
        """Close it if nothing happens in it.  Has it been done?"""
        self._close_if_silent()
        return self.life in (_ENDING, _CLOSED)

    def drain(self) -> None:
        """An active one closes with its answer (`Exchange.write_headers`)."""
        if self._linger is not None:
            self._linger.hurry()
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
        elif not self._bytes_come():
            self.close()

    def _bytes_come(self) -> bool:
        """Has a request perhaps begun?  Of one that is not: its deadline is another thing."""
        half = self._connected and self.transport.get_extra_info("half a record", False)
        return bool(half) or bytes_wait(self.transport)

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

    def websocket_begins(self, handler: WebSocketHandler) -> None:
        """`handler` is about to take the stream and to open."""
        self._websocket = handler
        see_open_through(handler, self.server.loop)
        unclosed.remember(handler)
        if not self.lost:  # or its end, which ends the pings, lies before their beginning
            self._asked = self.stream.asked = self.server.pings.begin(self, handler)

    # --- for the pings ---------------------------------------------------------------------------

    @property
    def can_send(self) -> bool:
        return not self._paused_writing

    def write_frame(self, frame: bytes) -> None:
        """Send it.  Not behind bytes that the peer does not take: it would be one more."""
        if self.can_send:
            self.send(frame)

    def gauge(self) -> Gauge:
        waiting = self.transport.get_write_buffer_size()
        if self._outbox is not None:
            waiting += self._outbox.bytes()
        return gauge(self.transport.get_extra_info("socket"), self.sent, waiting)

    # --- for the stream --------------------------------------------------------------------------

    @property
    def has_left(self) -> bool:
        """Is the client gone, as far as the application is concerned?"""
        if self.lost or self.life is _ENDING:
            return True
        return self.ended and self.life is not _UPGRADED

    def stream_closed(self) -> None:
        """The application has closed the stream, and may wait for its end."""
        if self._paused_writing or self._linger is not None:
            self.cut()
        else:
            self.close(lingers=False)

    def read_on(self) -> None:
        if self._paused_reading and not self.choked:
            self._resume_reading()

    def read_again(self) -> None:
        self.stream.go_on()

    def read_no_further(self) -> None:
        self._pause_reading()
