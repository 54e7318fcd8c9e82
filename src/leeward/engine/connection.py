"""One client's requests: bytes in, delegates called, answers out.

The transport's bytes come to `data_received`, which runs `_advance` as far as they reach:

    _read_head ──► _read_fixed | _read_chunked ──► _request_complete ──► (the answer) ──┐
        ▲                                                                               │
        └───────────────────────────────────────────────────────────────────────────────┘

`_step` is what the next bytes are for, None while the application is at work: bytes
that come then are the next, pipelined request, and wait unparsed; past `_AHEAD` of
them reading pauses.  A delegate that returns an awaitable (`stream_request_body`,
decompression) parks the connection until it is done, by the same means.

A head that comes whole in one read, as nearly all do, is not looked through
again (`_begin_at_once`).  More than 400 lines: these are one machine, and each step names the next.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

from tornado import gen
from tornado.httputil import HTTPInputError, HTTPMessageDelegate
from tornado.iostream import StreamClosedError

from leeward._core.connection import Life
from leeward.engine import refusals
from leeward.engine.body import Chunked
from leeward.engine.exchange import Exchange
from leeward.engine.fields import check_length
from leeward.engine.head import HEAD_ENDS, BadRequest, Head, find_head
from leeward.engine.kernel import bytes_wait
from leeward.engine.link import HALF_CLOSED
from leeward.engine.parting import Parting
from leeward.engine.rules import too_large

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from leeward.engine.engine import Engine

#: Bytes of pipelined requests that are kept before reading pauses: one read of the
#: transport, so that a client that does not pipeline is never paused.
_AHEAD = 64 * 1024
#: Of a chunked body so much more is looked at than the application gets at a time.
_OVERHEAD = 8 * 1024

_ACTIVE, _IDLE, _UPGRADED, _ENDING = Life.ACTIVE, Life.IDLE, Life.UPGRADED, Life.CLOSING

#: Tornado's names: its users have filters and alerts on them.
_general = logging.getLogger("tornado.general")
_application = logging.getLogger("tornado.application")


class Connection(Parting):
    """A `leeward.engine.registry.Member`."""

    __slots__ = (
        "_buffer",
        "_chunks",
        "_delegate",
        "_next_is_due",
        "_remaining",
        "_scanned",
        "_step",
    )

    def __init__(self, server: Engine, address: Any) -> None:
        super().__init__(server, address)
        self._delegate: HTTPMessageDelegate | None = None
        self._buffer = bytearray()
        self._scanned = 0  # bytes at the front of the buffer in which no head ends
        self._step: Callable[[], bool] | None = self._read_head
        self._remaining = 0  # bytes of a body of known length
        self._chunks: Chunked | None = None
        self._next_is_due = False  # there are bytes behind the request that was answered

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the transport reads into: one place for all, which `buffer_updated` empties."""
        return self.server.intake

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(self.server.intake[:nbytes].tobytes())

    def data_received(self, data: bytes) -> None:
        account = self.account
        account.received += len(data)
        account.moved = monotonic()
        if self.server.active is not None:
            self.server.active()
        if self.life is _UPGRADED:
            self.stream.feed(data)
        elif self.life is not _ENDING:
            if not self._buffer and self._step is not None:
                # As a rule a read is a whole request, or all of it a body's: no need to collect it.
                if self.life is not _ACTIVE:
                    end = data.find(HEAD_ENDS)
                    if 0 <= end <= self.params.max_header_size - len(HEAD_ENDS):
                        self._activate()
                        self._advance(data, end)
                        return
                elif self._remaining or self._chunks is not None:
                    self._advance(data)
                    return
            if self._step is None and self._is_read_by_handler():
                self.stream.feed(data)
                return
            self._buffer += data
            if self._step is not None:
                self._advance()
            elif len(self._buffer) > _AHEAD:
                self._pause_reading()

    # --- what the link asks -----------------------------------------------------------------------

    def awaits_bytes(self) -> bool:
        return not self._buffer

    def owes_an_answer(self) -> bool:
        exchange = self.exchange
        return self._next_is_due if exchange is None else exchange.read_finished

    def sends_on(self) -> bool:
        half = self.exchange is not None and not self.exchange.read_finished
        return self.life is _ACTIVE and (half or bool(self._buffer) or self._step is not None)

    def answer_is_complete(self) -> bool:
        return self.exchange is not None and self.exchange.write_finished

    def _is_read_by_handler(self) -> bool:
        """Does it wait for bytes behind its request, as a proxy's CONNECT does?  Never a body's."""
        reading = self._stream is not None and self._stream.reading()
        return reading and self.exchange is not None and self.exchange.read_finished

    def hand_over(self) -> bytes:
        """To a handler that reads from the stream itself: what has come behind its request."""
        exchange = self.exchange
        if self.life is not _ACTIVE or exchange is None or not exchange.read_finished:
            return b""
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def stop_reading_requests(self) -> None:
        self._step = None
        self._buffer.clear()

    def client_left(self) -> None:
        exchange = self.exchange
        if exchange is not None and (handler := exchange.handler) is not None:
            self.server.leaving.left(handler, exchange.task)
        if self.lost:
            self._tell_delegate()
            self.exchange = self._delegate = None
        if exchange is not None and exchange.read_finished:
            try:
                exchange.client_left()
            except Exception:
                _application.exception("Uncaught exception")

    def flushed(self) -> None:
        if self.exchange is not None and self.exchange.write_finished:
            self._exchange_over(self.exchange)

    # --- reading requests ------------------------------------------------------------------------

    def _advance(self, data: bytes = b"", end: int = -1) -> None:
        """Go on as far as the bytes reach; first with `data`: a head until `end`, or a body's."""
        try:
            go_on = True
            if data:
                go_on = self._begin_at_once(data, end) if end >= 0 else self._read_at_once(data)
            if go_on:
                while self._step is not None and self._step():
                    pass
        except (BadRequest, HTTPInputError) as error:
            self._refuse(error)
        except Exception as error:
            if not isinstance(error, refusals.Uncaught):
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
            self._activate()
            self.deadline = self.server.deadline(self.server.timeouts.header)
        most = self.params.max_header_size
        found = find_head(buffer, self._scanned)
        if found is None:
            # The terminator may have begun in the last three bytes.
            self._scanned = max(0, len(buffer) - 3)
            if len(buffer) > most:
                raise too_large(most)
            if not self._half_head:
                self._half_head = True
                self.server.half_heads += 1
            return False
        end, start = found
        if start > most:
            raise too_large(most)
        raw = bytes(buffer[:end])
        if self._half_head:
            self._head_is_over()
        del buffer[:start]
        self._scanned = 0
        return self._begin(self.server.parser.parse(raw))

    def _begin_at_once(self, data: bytes, end: int) -> bool:
        """With a head that came in one read, as a rule with all of its body."""
        head = self.server.parser.quick(data[:end])
        if head is None:
            self._buffer += data  # it may even end before
            return True
        start = end + len(HEAD_ENDS)
        if start < len(data):
            self._buffer += memoryview(data)[start:]
        return self._begin(head)

    def _begin(self, head: Head) -> bool:
        """A head is complete: make the exchange, and let the application see the headers."""
        self.server.request_begins()
        self.account.requests += 1
        self._came = 0
        exchange = self.exchange = Exchange(self, head)
        if head.length or self.params.decompress:
            exchange.max_body_size = self.server.max_body_size
            exchange.body_timeout = self.server.timeouts.whole_body
        if self.params.no_keep_alive:
            exchange.disconnect = True
        assert self.serving is not None
        delegate = self._delegate = self.server.start_request(self.serving, exchange)
        try:
            waiting = delegate.headers_received(head.start_line, head.build(head.fields))
        except HTTPInputError:
            raise
        except Exception as error:
            raise refusals.uncaught(error) from None
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
        self.deadline = self.server.deadline(exchange.body_timeout)
        self._pace = None
        check_length(head.length, exchange.max_body_size)
        if len(self._buffer) == head.length <= self.params.chunk_size:
            body = bytes(self._buffer)  # all of it, as a rule
            self._buffer.clear()
            return self._deliver(body, self._request_complete)
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
            return self._awaits_body()
        with memoryview(buffer) as view:
            piece = bytes(view[: min(self._remaining, self.params.chunk_size)])
        del buffer[: len(piece)]
        return self._deliver_fixed(piece)

    def _read_chunked(self) -> bool:
        buffer = self._buffer
        if not buffer:
            return self._awaits_body()
        with memoryview(buffer) as view:
            data = bytes(view[: self.params.chunk_size + _OVERHEAD])
        pieces, used = self._decode(data)
        del buffer[:used]
        return self._deliver_decoded(pieces)

    def _read_at_once(self, data: bytes) -> bool:
        """More of a body, from where it is.  Collected first it was copied three times, and each
        read of 256 KiB had its memory from the kernel anew: 1.2 to 1.8 s of CPU a GB, not 0.2."""
        view, at, go_on = memoryview(data), 0, True
        while go_on and at < len(data) and self._step is not None:
            if self._remaining:
                piece = data[at : at + min(self._remaining, self.params.chunk_size)]
                at += len(piece)
                go_on = self._deliver_fixed(piece)
            elif self._chunks is not None and not self._chunks.done:
                pieces, used = self._decode(view[at:])
                at += used
                go_on = self._deliver_decoded(pieces)
            else:
                break
        if at < len(data):
            self._set_aside(view[at:])
        return go_on

    def _set_aside(self, rest: memoryview) -> None:
        """What the application, which has seen what came before it, is not ready for."""
        if self.life is _UPGRADED:
            self.stream.feed(bytes(rest))
        elif self.life is not _ENDING:
            self._buffer += rest
            if self._step is None and len(self._buffer) > _AHEAD:
                self._pause_reading()

    def _decode(self, data: memoryview | bytes) -> tuple[list[bytes], int]:
        assert self._chunks is not None
        return self._chunks.feed(data, self.params.chunk_size)

    def _deliver_fixed(self, piece: bytes) -> bool:
        self._remaining -= len(piece)
        return self._deliver(piece, self._read_fixed if self._remaining else self._request_complete)

    def _deliver_decoded(self, pieces: list[bytes]) -> bool:
        assert self._chunks is not None
        self._step = self._request_complete if self._chunks.done else self._read_chunked
        return self._deliver(b"".join(pieces), self._step) if pieces else True

    def _deliver(self, piece: bytes, then: Callable[[], bool]) -> bool:
        exchange, delegate = self.exchange, self._delegate
        self._step = then
        self._came += len(piece)
        if exchange is None or delegate is None or exchange.write_finished:
            return True  # answered already: nobody wants the rest
        try:
            waiting = delegate.data_received(piece)
        except HTTPInputError:
            raise
        except Exception as error:
            raise refusals.uncaught(error) from None
        if waiting is None:
            return True
        self._park(waiting, then)
        return False

    def _request_complete(self) -> bool:
        exchange, delegate = self.exchange, self._delegate
        assert exchange is not None and delegate is not None
        self._step = self._chunks = None
        exchange.read_finished = True
        own, timeouts = exchange.own, self.server.timeouts
        timeout = timeouts.handler or timeouts.poll
        if own is not None and own.handler is not None:
            timeout = own.handler
        self.deadline = self.server.deadline(timeout) if timeout else 0.0
        if exchange.write_finished:
            self._exchange_over(exchange)
            return False
        try:
            delegate.finish()
        except Exception as error:
            # It is finished, and hears no more; a handler that could not be made hears nothing.
            self._delegate = exchange._close_callback = None
            raise error if isinstance(error, HTTPInputError) else refusals.uncaught(error) from None
        return False

    def _park(self, waiting: Awaitable[Any], then: Callable[[], bool]) -> None:
        """Read no further until `waiting` is done."""
        self._step = None
        self._awaits_application()
        if len(self._buffer) > _AHEAD:
            self._pause_reading()
        gen.convert_yielded(waiting).add_done_callback(lambda it: self._unpark(it, then))

    def _unpark(self, future: asyncio.Future[Any], then: Callable[[], bool]) -> None:
        if self.life is not _ACTIVE or self.exchange is None:
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
        if self.ended or self.lost:
            # Behind the handler's method, which begins in the loop's next turn.
            self.server.loop.call_soon(self._ended_meanwhile, context=self.server.context.copy())

    def _ended_meanwhile(self) -> None:
        if self.lost:
            self.connection_lost(None)
        elif self.life is _ACTIVE and not self.half_closed():
            self.close()  # it was half a request

    def _goes_on(self) -> bool:
        """Is the application at work on a part of a request of which the rest may be here?"""
        exchange = self.exchange
        if self.life is not _ACTIVE or self._step is not None or exchange is None:
            return False
        if exchange.read_finished:
            return False
        if exchange.head.length >= 0:
            return self._came + len(self._buffer) >= exchange.head.length
        return bool(self._buffer) or (self._chunks is not None and self._chunks.done)

    def half_closed(self) -> bool:
        """While the application is at it, it is not told: it would take it for half a request."""
        if self._goes_on():
            self.deadline = self.server.deadline(HALF_CLOSED)
            return True
        return super().half_closed()

    def connection_lost(self, exc: Exception | None) -> None:
        """By a FIN over TLS, which ends the transport, but not what has come before it."""
        if exc is not None or not self._goes_on():
            super().connection_lost(exc)
        elif not self.lost:
            self.lost, self.descriptor = True, -1
            self._forget_unsent(None)

    def _refuse(self, error: BadRequest | HTTPInputError) -> None:
        """Say that this is no request that we understand, and close."""
        rule = getattr(error, "rule", "application")
        self.server.refused(rule)
        refusals.tell(error, rule, self.context)
        exchange = self.exchange
        if exchange is None or not exchange.write_finished:
            self.send(refusals.answer(getattr(error, "status", 400)))
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

    # --- an exchange ends ------------------------------------------------------------------------

    def answered(self, exchange: Exchange) -> None:
        """The application has given its whole answer."""
        if exchange is not self.exchange:
            return
        if not exchange.read_finished:
            # The rest of the request is of no use, and reading it all is no duty.
            exchange.disconnect = True
        if not self._paused_writing:
            self._exchange_over(exchange)
        elif exchange.read_finished:
            self.deadline = 0.0  # the handler has done its part

    def _exchange_over(self, exchange: Exchange) -> None:
        if exchange.disconnect or (self.ended and not self._buffer):
            self.exchange = None if exchange.read_finished else self.exchange
            self.close()
            if not exchange.read_finished:
                context = self.server.context.copy()  # the application may leave something in it
                self.server.loop.call_soon(self._tell_delegate, context=context)
            return
        self.exchange = self._delegate = None
        if self.life is not _ACTIVE:
            return
        self.answered_all()
        if self._stream is not None:
            self._buffer[:0] = self._stream.give_back()
        stops = self.server.draining == "stop" and not exchange.switched
        if stops and not self._buffer and not bytes_wait(self.transport):
            self.close()
            return
        own, idle = exchange.own, self.server.timeouts.idle
        self._own_idle = own is not None and own.idle is not None
        if own is not None and own.idle is not None:
            idle = own.idle
        if self.server.notice.left:
            self.server.notice.look(exchange.head.fields, idle)
        self.deadline = self.server.deadline(idle)
        self._step = self._read_head
        if self._buffer or self._paused_reading:
            # Not in the middle of the application's call, and the others have their turn.
            # In a context of its own: we are in that of the handler which has answered.
            self._next_is_due = True
            # Each time another: what handlers' `initialize` leaves in it would be met by others.
            self.server.loop.call_soon(self._next_request, context=self.server.context.copy())

    def _next_request(self) -> None:
        self._next_is_due = False
        if self._step is not None:
            self._advance()
        if self.ended and self.life is not _UPGRADED and not self.half_closed():
            self.close()  # what is left is half a request

    def detach(self, exchange: Exchange) -> None:
        """The application takes the stream over, as a WebSocket or for a use of its own."""
        if exchange._websocket is not None:
            self.websocket_begins(exchange._websocket)
        if self.life is _ACTIVE:
            self.server.in_flight(-1)
        elif self.life is not _IDLE:
            return
        self.server.changes(self.life, _UPGRADED)
        self.life, self.deadline, self._step = _UPGRADED, 0.0, None
        self.account.since, self.account.taken_by = monotonic(), exchange
        self.exchange = self._delegate = None
        stream, rest = self.stream, bytes(self._buffer)
        self._buffer.clear()
        self.read_on()
        stream.feed(rest)
        if self.ended:
            stream.feed_eof(self._websocket is not None)
        if self.serving is not None:
            self.server.serving_ended(self.serving)
        if self.server.draining:
            self.server.upgraded_in_drain(self)
