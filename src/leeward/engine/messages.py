"""What a WebSocket client sends, message by message: for those that have come whole.

Tornado's protocol reads a frame by three awaits, each with a future and a coroutine of its
own; `leeward.engine.sieve` and `leeward.engine.frames` look at it beside.  Most messages are
one frame that is there with its last octet: these are told and unmasked here, in one pass, for
`leeward.engine.accelerate.messages`.  Whatever else stands at the front (parts, control
frames, half a frame, one that breaks a rule) is left where it is, and read in the long way.

The protocol's task waits for the next message by `arrival`, and goes on within the read
that brings it: not in the loop's next turn, which is another look at all descriptors.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tornado.iostream import IOStream
from tornado.util import _websocket_mask as mask

if TYPE_CHECKING:
    from collections.abc import Callable

    from tornado.websocket import WebSocketProtocol13

    from leeward.engine.frames import Guard
    from leeward.engine.link import Link
    from leeward.engine.pings import Asked

#: First octets of a whole message: text or binary, compressed or not.
TEXT, COMPRESSED = 0x81, 0x40
_PLAIN, _DEFLATE = (0x81, 0x82), (0x81, 0x82, 0xC1, 0xC2)
_MASKED, _CONTROL = 0x80, 0x08
_KEY = 4

#: Bytes that wait unread before the transport is told to pause.
AHEAD = 256 * 1024

#: Reads answered in a row without a turn of the loop: a burst of small messages must
#: not keep everybody else waiting (three reads a frame; 256 take about 2 ms).
AT_ONCE = 256
_READS = 3


class Messages(IOStream):
    """The part of `leeward.engine.stream.TransportStream` that knows of messages."""

    #: Of a WebSocket that Tornado's own protocol speaks.
    guard: Guard | None
    #: Set for a WebSocket whose peer we ask.
    asked: Asked | None
    _connection: Link
    _loop: asyncio.AbstractEventLoop
    _data: bytearray
    _future: asyncio.Future[Any] | None
    _find: Callable[[], int | None] | None
    _at_once: int
    _ended: bool
    _closed: bool

    def __init__(self) -> None:
        #: What has just come, while the protocol takes messages from it; and how far it is.
        self._fresh = b""
        self._at = 0
        self._arrival: asyncio.Future[None] | None = None

    def next_message(self, protocol: WebSocketProtocol13) -> tuple[int, bytes] | None:
        """First octet and payload of the message at the front; None if it is not for us."""
        fresh, at = self._fresh, self._at
        data: bytes | bytearray = fresh or self._data
        end = len(data)
        if end - at < 2 + _KEY:
            return None
        first, size = data[at], data[at + 1] - _MASKED
        start = at + 2 + _KEY
        if size >= 126:
            start += 2 if size == 126 else 8
            size = int.from_bytes(data[at + 2 : start - _KEY])
        stop = start + size
        guard = self.guard
        if (
            not 0 <= size <= protocol.params.max_message_size
            or stop > end
            or first not in (_PLAIN if protocol._decompressor is None else _DEFLATE)
            or guard is None
            or guard.inside
            or self._connection.choked
            or self._at_once + _READS >= AT_ONCE
        ):
            return None
        self._at_once += _READS
        protocol._wire_bytes_in += stop - at
        if fresh:
            self._at = stop
            return first, mask(fresh[start - _KEY : start], fresh[start:stop])
        with memoryview(data) as view:
            found = mask(bytes(view[start - _KEY : start]), bytes(view[start:stop]))
        del self._data[:stop]
        self._taken()
        return first, found

    def silent(self) -> bool:
        """Is there nothing at all?"""
        here = self._data or len(self._fresh) > self._at
        return not (here or self._ended or self._closed) and self._future is None

    def arrival(self) -> asyncio.Future[None]:
        """Done when something comes."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._future = self._arrival = future
        self._find = self._anything
        self._connection.read_on()
        return future

    def _anything(self) -> int | None:
        return 0 if self._data else None

    def _offer(self, data: bytes) -> bytes:
        """`data` has come: let the protocol take from it, if it waits.  Returns the rest."""
        future = self._arrival
        if future is None or future.done():
            return data
        awaited = future is self._future
        if (
            not awaited
            or data[0] & _CONTROL
            or self._connection.choked
            or not (self.asked is None or self.asked.sieve.between)
        ):
            return data
        self._future = self._find = self._arrival = None
        self._fresh, self._at, self._at_once = data, 0, 0
        try:
            _resume(future)
        except (SystemExit, KeyboardInterrupt) as error:
            self._connection.server.exits(error)
        return self._rest()

    def _rest(self) -> bytes:
        data, at = self._fresh, self._at
        self._fresh, self._at = b"", 0
        return data[at:] if at else data

    def _keep_rest(self) -> None:
        """The protocol reads in the long way."""
        rest = self._rest()
        self._data += rest if self.asked is None else self.asked.sieve.feed(rest)

    def end(self) -> None:
        """All that the peer has said was read, and it will say no more."""
        raise NotImplementedError

    def _taken(self) -> None:
        """Something was taken from the front of `_data`."""
        if not self._closed:
            if len(self._data) <= AHEAD:
                self._connection.read_on()
            if self._ended and not self._data and self.guard is None:
                self._loop.call_soon(self.end)


def _resume(future: asyncio.Future[None]) -> None:
    """`set_result(None)`, and the task that waits goes on now: 5 µs sooner, and cheaper."""
    waiting = future._callbacks or ()
    if len(waiting) == 1 and asyncio.current_task() is None:
        ((callback, context),) = waiting
        future.remove_done_callback(callback)
        future.set_result(None)
        context.run(callback, future)
    else:
        future.set_result(None)
