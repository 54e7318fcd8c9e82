"""The body of one client's request: read as it comes, handed on as the application takes it.

`_step` is what the next bytes are for, None while the application is at work: bytes
that come then are the next, pipelined request, or more of this one, and wait unparsed;
past `AHEAD` of them reading pauses.  A delegate that returns an awaitable
(`stream_request_body`, decompression) parks the connection until it is done.
"""

from __future__ import annotations

import abc
import asyncio
import logging
from typing import TYPE_CHECKING, Any

from tornado import gen
from tornado.httputil import HTTPInputError, HTTPMessageDelegate
from tornado.iostream import StreamClosedError

from leeward._core.connection import Life
from leeward.engine import refusals
from leeward.engine.body import Chunked
from leeward.engine.fields import check_length
from leeward.engine.link import HALF_CLOSED
from leeward.engine.parting import Parting
from leeward.engine.taking import Taking

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from leeward.engine.engine import Engine
    from leeward.engine.rules import BadRequest

#: Bytes that are kept for an application at work before reading pauses: one read of the
#: transport, so that a client that does not pipeline is never paused.
AHEAD = 64 * 1024
#: Of a chunked body so much more is looked at than the application gets at a time.
_OVERHEAD = 8 * 1024

_ACTIVE, _UPGRADED, _ENDING = Life.ACTIVE, Life.UPGRADED, Life.CLOSING

#: Tornado's name: its users have filters and alerts on it.
_application = logging.getLogger("tornado.application")


class Reading(Parting):
    """A parting link that knows how to read a body."""

    __slots__ = ("_buffer", "_chunks", "_delegate", "_remaining", "_step")

    def __init__(self, server: Engine, address: Any) -> None:
        super().__init__(server, address)
        self._delegate: HTTPMessageDelegate | None = None
        self._buffer = bytearray()
        self._step: Callable[[], bool] | None = None
        self._remaining = 0  # bytes of a body of known length
        self._chunks: Chunked | None = None

    # --- what the requests' side does ------------------------------------------------------------

    @abc.abstractmethod
    def _advance(self) -> None:
        """Go on as far as the bytes reach."""

    @abc.abstractmethod
    def _request_complete(self) -> bool:
        """All of the request is here."""

    @abc.abstractmethod
    def _refuse(self, error: BadRequest | HTTPInputError) -> None:
        """Say that this is no request that we understand, and close."""

    @abc.abstractmethod
    def _tell_delegate(self) -> None:
        """The request will never be complete."""

    # --- a body ----------------------------------------------------------------------------------

    def _read_body(self) -> bool:
        """The application has seen the headers: what is to come?"""
        exchange = self.exchange
        if exchange is None or self.life is not _ACTIVE:
            return False  # it was taken over, or closed
        head = exchange.head
        if head.expect and not (exchange.begun or exchange.write_finished):
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
            self._decode(b"")  # a chunk that is too large was announced behind what was taken
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
            if self._step is None and len(self._buffer) > AHEAD:
                self._pause_reading()

    def _decode(self, data: memoryview | bytes) -> tuple[list[bytes], int]:
        assert self._chunks is not None
        if self.exchange is not None:  # `data_received` may have set another
            self._chunks.limit = self.exchange.max_body_size
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

    # --- the application takes its time ----------------------------------------------------------

    def _park(self, waiting: Awaitable[Any], then: Callable[[], bool]) -> None:
        """Read no further until `waiting` is done."""
        self._step = None
        if self.life is _ACTIVE:  # else it has a deadline of its own
            self._awaits_application()
        if len(self._buffer) > AHEAD:
            self._pause_reading()
        exchange = self.exchange
        future = gen.convert_yielded(waiting)

        def over(future: asyncio.Future[Any]) -> None:
            if exchange is not None:
                exchange.taking = None
            self._unpark(future, then)

        future.add_done_callback(over)
        if exchange is not None:  # else the stream was taken over
            exchange.taking = Taking(future, over)

    def _unpark(self, future: asyncio.Future[Any], then: Callable[[], bool]) -> None:
        if self.life is not _ACTIVE or self.exchange is None:
            self._left_meanwhile(future)
            return
        try:
            future.result()
        except HTTPInputError as error:
            self._refuse(error)
        except (Exception, asyncio.CancelledError) as error:
            _log(error)
            self._tell_delegate()
            self.close()
        else:
            self._step = then
            self._advance()
        if self.ended:
            # Behind the handler's method, which begins in the loop's next turn.
            self.server.loop.call_soon(self._ended_meanwhile, context=self.server.context.copy())

    def _left_meanwhile(self, future: asyncio.Future[Any]) -> None:
        """The client has gone, or we have left it, while the application was at work."""
        error = None if future.cancelled() else future.exception()
        if error is not None and not isinstance(error, HTTPInputError):  # nobody is to be refused
            _log(error)
        self._tell_delegate()
        if self.lost:
            self.exchange = self._delegate = None

    def _ended_meanwhile(self) -> None:
        if self.life is _ACTIVE and not self.half_closed():
            self.close()  # it was half a request

    def _goes_on(self) -> bool:
        """Is the application at work on a part of a request?  The rest may be here, and half of
        it is handed on too before it is told."""
        exchange = self.exchange
        return self.life is _ACTIVE and exchange is not None and exchange.taking is not None

    def half_closed(self) -> bool:
        """While the application is at it, it is not told: it would take it for half a request,
        or close a file that its `data_received` is about to write to."""
        if self._goes_on():
            self.deadline = self.server.deadline(HALF_CLOSED)
            self._may_have_left()
            return True
        return super().half_closed()


def _log(error: BaseException) -> None:
    """What escaped the application."""
    if not isinstance(error, StreamClosedError):
        _application.error("Uncaught exception", exc_info=error)
