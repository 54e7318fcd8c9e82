"""One client's requests: bytes in, delegates called, answers out.

The transport's bytes come to `data_received`, which runs `_advance` as far as they reach:

    _read_head ──► _read_fixed | _read_chunked ──► _request_complete ──► (the answer) ──┐
        ▲                                                                               │
        └───────────────────────────────────────────────────────────────────────────────┘

A body is `leeward.engine.reading`'s.  A head that comes whole in one read, as nearly all do, is
not looked through again (`_begin_at_once`).
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

from tornado.httputil import HTTPInputError

from leeward._core.connection import Life
from leeward.engine import refusals
from leeward.engine.exchange import Exchange
from leeward.engine.head import HEAD_ENDS, BadRequest, Head, find_head
from leeward.engine.reading import AHEAD, Reading
from leeward.engine.rules import too_large
from leeward.engine.taking import end_body
from leeward.limits import ATTRIBUTE

if TYPE_CHECKING:
    from collections.abc import Callable

    from leeward.engine.engine import Engine

_ACTIVE, _IDLE, _UPGRADED, _ENDING = Life.ACTIVE, Life.IDLE, Life.UPGRADED, Life.CLOSING

#: Tornado's names: its users have filters and alerts on them.
_general = logging.getLogger("tornado.general")
_application = logging.getLogger("tornado.application")


class Connection(Reading):
    """A `leeward.engine.registry.Member`."""

    __slots__ = ("_next_is_due", "_scanned")

    def __init__(self, server: Engine, address: Any) -> None:
        super().__init__(server, address)
        self._scanned = 0  # bytes at the front of the buffer in which no head ends
        self._step = self._read_head
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
            elif len(self._buffer) > AHEAD:
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
            if exchange is None or exchange.taking is None:  # else `_unpark` needs them
                self.exchange = self._delegate = None
        if exchange is None or not exchange.read_finished:
            return
        if (callback := exchange.client_left()) is not None:
            # A turn later, as under Tornado: its handler may be about to begin, or to finish.
            context = self.server.context.copy()
            self.server.loop.call_soon(_tell_unfinished, exchange, callback, context=context)

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
        # A step that stands wants more: a head may be longer than what is read ahead.
        wants = self._step is not None or len(self._buffer) <= AHEAD
        if self._paused_reading and wants and not self.lost:
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

    def _request_complete(self) -> bool:
        exchange, delegate = self.exchange, self._delegate
        assert exchange is not None and delegate is not None
        self._step = self._chunks = None
        if exchange.write_finished:  # and waits for its client, who has sent on meanwhile
            self.bear()
            self._tell_delegate()
            exchange.read_finished = True
            self._exchange_over(exchange)
            return False
        exchange.read_finished = True
        own, timeouts = exchange.own, self.server.timeouts
        timeout = timeouts.handler or timeouts.poll if own is None else self.obey(own)
        self.deadline = self.server.deadline(timeout) if timeout else 0.0
        try:
            delegate.finish()
        except Exception as error:
            # A handler that could not be made hears nothing.
            self._delegate = exchange._close_callback = None
            _tell(delegate.on_connection_close)
            raise error if isinstance(error, HTTPInputError) else refusals.uncaught(error) from None
        return False

    def _refuse(self, error: BadRequest | HTTPInputError) -> None:
        """Say that this is no request that we understand, and close."""
        rule = getattr(error, "rule", "application")
        self.server.refused(rule)
        refusals.tell(error, rule, self.context)
        exchange = self.exchange
        if exchange is not None and exchange.begun and not exchange.write_finished:
            self._tell_delegate()
            self.cut()  # a second status line would be taken for a part of the first one's body
            return
        if exchange is None or not exchange.write_finished:
            self.send(refusals.answer(getattr(error, "status", 400)))
        self._tell_delegate()
        self.close()

    def _tell_delegate(self) -> None:
        """The request will never be complete.

        Who is at work on a part of it is told behind that (`_unpark`): it would close a file
        that its `data_received` is writing to.
        """
        exchange = self.exchange
        if exchange is not None and exchange.taking is not None:
            return
        delegate, self._delegate = self._delegate, None
        if delegate is None or exchange is None or exchange.read_finished:
            return
        handler = exchange.handler
        _tell(delegate.on_connection_close)
        if handler is not None:
            end_body(handler)

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
        own = self._own = exchange.own
        if self.counts_as and exchange.read_finished:
            self.server.spokesmen.answered(self)
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
        if stops and not self._buffer and not self._bytes_come():
            self.close()
            return
        idle = self.server.timeouts.idle
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
            if exchange.own is None:  # nobody may know before it what leads to it
                exchange.own = getattr(type(exchange._websocket), ATTRIBUTE, None)
            self.websocket_begins(exchange._websocket)
        if self.life is _ACTIVE:
            self.server.in_flight(-1)
        elif self.life is not _IDLE:
            return
        self.server.changes(self.life, _UPGRADED)
        self.life, self.deadline, self._step = _UPGRADED, 0.0, None
        self.account.since, self.account.taken_by = monotonic(), exchange
        if exchange.counts_as:
            self.server.spokesmen.taken_over(self, exchange)
        self.exchange, self._delegate, self._own = None, None, exchange.own
        self.bear()
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


def _tell_unfinished(exchange: Exchange, callback: Callable[[], None]) -> None:
    if not exchange.write_finished:
        _tell(callback)


def _tell(callback: Callable[[], None]) -> None:
    """The application that its client has gone."""
    try:
        callback()
    except Exception:
        _application.exception("Uncaught exception")
