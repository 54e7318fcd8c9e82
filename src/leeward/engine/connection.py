"""One client: bytes in, requests to the application, answers out.

The transport calls `data_received`, which runs `_advance` as far as the bytes reach:

    _read_head ──► _read_fixed | _read_chunked ──► _request_complete ──► (the answer) ──┐
        ▲                                                                               │
        └───────────────────────────────────────────────────────────────────────────────┘

`_step` is what the next bytes are for, None while the application is at work: bytes
that come then are the next, pipelined request, and wait unparsed; past `_AHEAD` of
them reading pauses.  A delegate that returns an awaitable (`stream_request_body`,
decompression) parks the connection until it is done, by the same means.

A client that has said all it will say (FIN) may be one that left or one that waits
for its answer (RFC 9112 §9.6 allows it); they look the same until something is sent.
So the application hears at once that its client has gone, as from Tornado, and what
it answers all the same is still sent.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, cast

from tornado import gen
from tornado.httputil import HTTPInputError, HTTPMessageDelegate
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketHandler

from leeward._core.connection import WAITING, Life
from leeward.engine import health
from leeward.engine.body import Chunked
from leeward.engine.exchange import Exchange
from leeward.engine.head import BadRequest, find_head
from leeward.engine.registry import NEW_GRACE, SERVICE_RESTART
from leeward.engine.stream import TransportStream, bytes_wait

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from leeward.engine.engine import Engine, ServerConnection

#: Bytes of pipelined requests that are kept before reading pauses: one read of the
#: transport, so that a client that does not pipeline is never paused.
_AHEAD = 64 * 1024

#: Seconds for the last bytes of a connection that we close: its client may have gone.
_CLOSING = 30.0
#: Seconds for an answer to a client that has said FIN.
_HALF_CLOSED = 30.0

_NEW, _ACTIVE, _IDLE = Life.NEW, Life.ACTIVE, Life.IDLE
_UPGRADED, _CLOSING_LIFE, _CLOSED = Life.UPGRADED, Life.CLOSING, Life.CLOSED

#: Tornado's names: its users have filters and alerts on them.
_general = logging.getLogger("tornado.general")
_application = logging.getLogger("tornado.application")


class Connection(asyncio.Protocol):
    """A `leeward.engine.registry.Member`."""

    transport: asyncio.Transport

    def __init__(self, server: Engine, address: Any) -> None:
        self.server = server
        self.params = server.params
        self.address = address
        self.life = _NEW
        self.lost = False  # nothing can be sent any more
        self.born = self.since = server.loop.time()
        #: By when the state must have ended, on the loop's clock; 0.0 for never.
        self.deadline = 0.0
        self.exchange: Exchange | None = None
        self._delegate: HTTPMessageDelegate | None = None
        self._buffer = bytearray()
        self._scanned = 0  # bytes at the front of the buffer in which no head ends
        self._step: Callable[[], bool] | None = self._read_head
        self._remaining = 0  # bytes of a body of known length
        self._chunks: Chunked | None = None
        self._paused_reading = False
        self._paused_writing = False
        self._ended = False  # the client has said FIN
        self.sent = 0  # bytes that we were given to send
        self._progress = -1  # bytes that had left us at the last look
        self._flushing: list[asyncio.Future[None]] = []
        self._stream: TransportStream | None = None
        self._websocket: WebSocketHandler | None = None
        self._connected = False
        #: Makes the transport, with TLS its handshake too.
        self.task: asyncio.Task[Any] | None = None
        self.serving: ServerConnection | None = None

    @property
    def context(self) -> Any:
        """Tornado's request context: address and protocol, as a proxy may have told them."""
        return None if self.serving is None else self.serving.context

    def __repr__(self) -> str:
        return f"<connection {self.life.name}>"

    # --- the transport speaks ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._connected = True
        # 0: whatever the kernel does not take at once counts, so that "flushed" is true;
        # and uvloop writes at once instead of at the end of the loop's turn.
        self.transport.set_write_buffer_limits(0)
        self.serving = self.server.begin_serving(self)
        self.deadline = self.server.deadline(self.server.idle_timeout)
        if self.life is _CLOSING_LIFE:  # cut in its handshake
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        stream = self._stream
        if self.life is _UPGRADED and stream is not None:
            stream.feed(data)
            return
        if self.life is _CLOSING_LIFE:
            return
        self._buffer += data
        if self._step is not None:
            self._advance()
        elif len(self._buffer) > _AHEAD:
            self._pause_reading()

    def eof_received(self) -> bool:
        """Returns True to keep the transport open for the answer."""
        self._ended = True
        if self.life is _UPGRADED:
            self.stream.feed_eof()  # closes, once the application has read what came before
            return not self._over_tls
        exchange = self.exchange
        if exchange is None or not exchange.read_finished:
            return False  # mid-request or between two: nothing is owed
        self.deadline = self.server.deadline(_HALF_CLOSED)
        exchange.client_left()
        return not self._over_tls

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._step = None
        for future in self._flushing:
            if not future.done():
                future.set_exception(StreamClosedError(real_error=exc))
                future.exception()
        self._flushing.clear()
        if self.life is _CLOSED:
            return
        if self.life is _ACTIVE:
            self.server.in_flight(-1)
        upgraded, self.life = self.life is _UPGRADED, _CLOSED
        self._tell_delegate()
        exchange, self.exchange = self.exchange, None
        try:
            if exchange is not None and exchange.read_finished:
                exchange.client_left()
        except Exception:
            _application.exception("Uncaught exception")
        finally:
            if self._stream is not None:
                self._stream.lost(exc)
            if not upgraded and self.serving is not None:
                self.server.serving_ended(self.serving)
            self._delegate = self._websocket = None
            self.server.remove(self)

    def pause_writing(self) -> None:
        self._paused_writing = True

    def resume_writing(self) -> None:
        self._paused_writing = False
        flushed, self._flushing = self._flushing, []
        for future in flushed:
            if not future.done():
                future.set_result(None)
        if self.exchange is not None and self.exchange.write_finished:
            self._exchange_over(self.exchange)

    # --- sending ------------------------------------------------------------------------------

    def send(self, data: bytes | memoryview) -> asyncio.Future[None]:
        """Write `data`.  The future is done when the kernel has all that was written."""
        if self.lost or self.life is _CLOSING_LIFE:
            return _failed(self.server.loop)
        self.sent += len(data)
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
            if self.lost or self._ended:
                self._stream.lost(None)
        return self._stream

    @property
    def _over_tls(self) -> bool:
        return self.transport.get_extra_info("ssl_object") is not None

    # --- reading requests -----------------------------------------------------------------------

    def _advance(self) -> None:
        """Go on as far as the bytes reach."""
        try:
            while self._step is not None and self._step():
                pass
        except (BadRequest, HTTPInputError) as error:
            self._refuse(error)
        except Exception as error:
            if not isinstance(error, _Uncaught):
                _general.error("Uncaught exception", exc_info=True)
            self._tell_delegate()
            self.close()
        if self._paused_reading and len(self._buffer) <= _AHEAD and not self.lost:
            self._resume_reading()

    def _read_head(self) -> bool:
        buffer = self._buffer
        if self.life is not _ACTIVE:
            if not buffer:
                return False
            self.life = _ACTIVE
            self.server.in_flight(+1)
            self.deadline = self.server.deadline(self.server.header_timeout)
        most = self.params.max_header_size
        found = find_head(buffer, self._scanned)
        if found is None:
            # The terminator may have begun in the last three bytes.
            self._scanned = max(0, len(buffer) - 3)
            if len(buffer) > most:
                raise BadRequest("header-size", f"Unsatisfiable read: headers of more than {most} bytes", 431)
            return False
        end, start = found
        if start > most:
            raise BadRequest("header-size", f"Unsatisfiable read: headers of more than {most} bytes", 431)
        raw = bytes(buffer[:end])
        del buffer[:start]
        self._scanned = 0
        head = self.server.parser.parse(raw)
        self.server.request_begins()
        exchange = self.exchange = Exchange(self, head)
        exchange.max_body_size = self.server.max_body_size
        exchange.body_timeout = self.params.body_timeout
        if self.params.no_keep_alive:
            exchange.disconnect = True
        if self.server.health_path and health.asked(self.server.health_path, head.start_line):
            delegate: HTTPMessageDelegate = health.Health(exchange, head.method, self.server.serves)
        else:
            assert self.serving is not None
            delegate = self.server.start_request(self.serving, exchange)
        self._delegate = delegate
        try:
            waiting = delegate.headers_received(head.start_line, head.headers)
        except HTTPInputError:
            raise
        except Exception as error:
            raise _uncaught(error) from None
        if waiting is not None:
            self._park(waiting, self._read_body)
            return False
        return self._read_body()

    def _read_body(self) -> bool:
        """The application has seen the headers: what is to come?"""
        exchange = self.exchange
        if exchange is None or self.life is _UPGRADED:
            return False
        head = exchange.head
        if head.expect and not exchange.write_finished:
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if head.length == 0:
            return self._request_complete()
        if exchange.body_timeout:
            self.deadline = self.server.deadline(exchange.body_timeout)
        else:
            self.deadline = 0.0
        if head.length > exchange.max_body_size:
            raise BadRequest("body-size", "Content-Length too long")
        if head.length > 0:
            self._remaining = head.length
            self._step = self._read_fixed
        else:
            self._chunks = Chunked(exchange.max_body_size)
            self._step = self._read_chunked
        return True

    def _read_fixed(self) -> bool:
        buffer = self._buffer
        if not buffer:
            return False
        most = min(self._remaining, self.params.chunk_size)
        if len(buffer) <= most:
            piece = bytes(buffer)
            buffer.clear()
        else:
            piece = bytes(buffer[:most])
            del buffer[:most]
        self._remaining -= len(piece)
        then = self._read_fixed if self._remaining else self._request_complete
        return self._deliver(piece, then)

    def _read_chunked(self) -> bool:
        chunks, buffer = self._chunks, self._buffer
        if not buffer or chunks is None:
            return False
        pieces, used = chunks.feed(bytes(buffer), self.params.chunk_size)
        del buffer[:used]
        then = self._request_complete if chunks.done else self._read_chunked
        if pieces:
            return self._deliver(b"".join(pieces), then)
        if chunks.done:
            return self._request_complete()
        return used > 0

    def _deliver(self, piece: bytes, then: Callable[[], bool]) -> bool:
        exchange, delegate = self.exchange, self._delegate
        self._step = then
        if exchange is None or delegate is None or exchange.write_finished:
            return True  # answered already: nobody wants the rest
        try:
            waiting = delegate.data_received(piece)
        except HTTPInputError:
            raise
        except Exception as error:
            raise _uncaught(error) from None
        if waiting is None:
            return True
        self._park(waiting, then)
        return False

    def _request_complete(self) -> bool:
        exchange, delegate = self.exchange, self._delegate
        assert exchange is not None and delegate is not None
        self._step = self._chunks = None
        exchange.read_finished = True
        self.deadline = 0.0
        if exchange.write_finished:
            self._exchange_over(exchange)
            return False
        try:
            delegate.finish()
        except HTTPInputError:
            self._delegate = None  # it has been finished: it hears nothing more
            raise
        except Exception as error:
            self._delegate = None
            raise _uncaught(error) from None
        return False

    def _park(self, waiting: Awaitable[Any], then: Callable[[], bool]) -> None:
        """Read no further until `waiting` is done."""
        self._step = None
        if len(self._buffer) > _AHEAD:
            self._pause_reading()
        gen.convert_yielded(waiting).add_done_callback(lambda it: self._unpark(it, then))

    def _unpark(self, future: asyncio.Future[Any], then: Callable[[], bool]) -> None:
        if self.lost or self.life is not _ACTIVE or self.exchange is None:
            if not future.cancelled():
                future.exception()  # the application has been told of its client's end
            return
        try:
            future.result()
        except HTTPInputError as error:
            self._refuse(error)
        except (Exception, asyncio.CancelledError) as error:
            if not isinstance(error, StreamClosedError):
                _application.error("Uncaught exception", exc_info=error)
            self._tell_delegate()
            self.close()
        else:
            self._step = then
            self._advance()

    def _refuse(self, error: BadRequest | HTTPInputError) -> None:
        """Say that this is no request that we understand, and close."""
        rule = getattr(error, "rule", "application")
        status = getattr(error, "status", 400)
        self.server.refused(rule)
        _general.info("Malformed HTTP message from %s: %s [%s]", self.context, error, rule)
        exchange = self.exchange
        if exchange is None or not exchange.write_finished:
            self.send(_REFUSALS.get(status, _REFUSALS[400]))
        self._tell_delegate()
        self.close()

    def _tell_delegate(self) -> None:
        """The request will never be complete."""
        delegate, self._delegate = self._delegate, None
        exchange = self.exchange
        if delegate is None or exchange is None or exchange.read_finished:
            return
        try:
            delegate.on_connection_close()
        except Exception:
            _application.exception("Uncaught exception")

    # --- an exchange ends -----------------------------------------------------------------------

    def answered(self, exchange: Exchange) -> None:
        """The application has given its whole answer."""
        if exchange is not self.exchange:
            return
        if not exchange.read_finished:
            # The rest of the request is of no use, and reading it all is no duty.
            exchange.disconnect = True
        if not self._paused_writing:
            self._exchange_over(exchange)

    def _exchange_over(self, exchange: Exchange) -> None:
        if exchange.disconnect or self._ended:
            self.exchange = None if exchange.read_finished else self.exchange
            self.close()
            return
        self.exchange = self._delegate = None
        if self.life is not _ACTIVE:
            return
        self.server.in_flight(-1)
        self.life = _IDLE
        if self.server.draining == "stop" and not self._buffer and not self._bytes_wait():
            self.close()
            return
        self.deadline = self.server.deadline(self.server.idle_timeout)
        self._step = self._read_head
        if self._buffer or self._paused_reading:
            # Not in the middle of the application's call, and the others have their turn.
            self.server.loop.call_soon(self._next_request)

    def _next_request(self) -> None:
        if self._step is not None:
            self._advance()

    def detach(self, callback: Callable[[], None] | None) -> None:
        """The application takes the stream over."""
        owner = getattr(callback, "__self__", None)
        if isinstance(owner, WebSocketHandler):
            self._websocket = owner
        if self.life is _ACTIVE:
            self.server.in_flight(-1)
        elif self.life is not _IDLE:
            return
        self.life = _UPGRADED
        self.deadline = 0.0
        self._step = None
        self.exchange = self._delegate = None
        stream, rest = self.stream, bytes(self._buffer)
        self._buffer.clear()
        if self._paused_reading:
            self._resume_reading()
        if rest:
            stream.feed(rest)
        if self.serving is not None:
            self.server.serving_ended(self.serving)
        if self.server.draining:
            self.server.upgraded_in_drain(self)

    # --- the end --------------------------------------------------------------------------------

    def close(self) -> None:
        """Send what is left to send, then close."""
        if self.life in (_CLOSING_LIFE, _CLOSED):
            return
        self._leave(_CLOSING_LIFE)
        self.deadline = self.server.deadline(_CLOSING)
        if self._connected:
            self.transport.close()

    def cut(self) -> None:
        """Close now, whatever is left to send."""
        if self.life is _CLOSED:
            return
        self._leave(_CLOSING_LIFE)
        if self._connected:
            self.transport.abort()
        elif self.task is not None:
            self.task.cancel()

    def expire(self) -> None:
        """The deadline has come."""
        if self._ended or self.life is _CLOSING_LIFE:
            # A slow reader is no dead one: it stays while bytes go out.
            left = self.sent - self.transport.get_write_buffer_size() if self._connected else 0
            if left > self._progress:
                self._progress = left
                self.deadline = self.server.deadline(_CLOSING)
                return
        elif self.exchange is not None:
            _general.info("Timeout reading body from %s", self.context)
        self.cut()

    def _leave(self, life: Life) -> None:
        if self.life is _ACTIVE:
            self.server.in_flight(-1)
        self.life = life
        self._step = None
        self._buffer.clear()

    # --- draining ---------------------------------------------------------------------------------

    def drain(self) -> None:
        """An active one closes with its answer (`Exchange.write_headers`)."""
        if self.server.draining != "stop" or self.life not in WAITING:
            return
        age = self.server.loop.time() - self.born
        if self.life is _IDLE or age >= NEW_GRACE:
            self._close_if_silent()
        else:
            self.server.later(NEW_GRACE - age, self._close_if_silent)

    def _close_if_silent(self) -> None:
        if self.life not in WAITING or self._buffer:
            return
        if not self._connected:
            self.cut()
        elif not self._bytes_wait():
            self.close()

    def _bytes_wait(self) -> bool:
        return bytes_wait(self.transport)

    def close_websocket(self, code: int) -> None:
        """Send the close frame.  Tornado cuts a peer that does not answer it after 5 s.

        A protocol of the application's own cannot be told: it has until the deadline.
        """
        if self.life is not _UPGRADED or self._websocket is None:
            return
        try:
            self._websocket.close(code, "restarting" if code == SERVICE_RESTART else "going away")
        except Exception:
            # An application may override close().
            _general.exception("%s.close() raised; cut", type(self._websocket).__name__)
            self.cut()

    # --- for the stream -----------------------------------------------------------------------------

    @property
    def has_left(self) -> bool:
        """Is the client gone, as far as the application is concerned?"""
        if self.lost or self.life is _CLOSING_LIFE:
            return True
        return self._ended and self.life is not _UPGRADED

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

    # --- flow ---------------------------------------------------------------------------------------

    def _pause_reading(self) -> None:
        if not self._paused_reading and not self.lost:
            self._paused_reading = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        self._paused_reading = False
        if not self.transport.is_closing():
            self.transport.resume_reading()


class _Uncaught(Exception):
    """An exception of the application's, logged already."""


def _uncaught(error: Exception) -> _Uncaught:
    _application.error("Uncaught exception", exc_info=error)
    return _Uncaught()


def _failed(loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
    """What a write on a closed connection returns; nobody need look at it."""
    future = loop.create_future()
    future.set_exception(StreamClosedError())
    future.exception()
    return future


#: As bare as Tornado's, to whose tests and users' monitors it is known.
_REFUSALS = {
    status: f"HTTP/1.1 {status} {reason}\r\n\r\n".encode()
    for status, reason in (
        (400, "Bad Request"),
        (431, "Request Header Fields Too Large"),
    )
}
