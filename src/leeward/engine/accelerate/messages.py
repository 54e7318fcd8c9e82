"""WebSocket messages in and out, by Tornado's protocol on a stream of ours.

Tornado reads a frame by three coroutines and three futures, and makes a task for each
message that it writes.  Here a message that has come whole is read in one go
(`leeward.engine.messages`), and nothing is made for one that has left us at once
(`leeward.engine.written`).  Everything else the original does.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any

from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError, WebSocketProtocol13

from leeward.engine.frames import NOT_UTF8
from leeward.engine.messages import COMPRESSED, TEXT
from leeward.engine.stream import TransportStream

_PROTOCOL = "tornado.websocket:WebSocketProtocol13"
READ_NEEDS = (f"{_PROTOCOL}._read_bytes", f"{_PROTOCOL}._handle_message")
WRITE_NEEDS = (f"{_PROTOCOL}._write_frame",)

_OPCODE, _BINARY = 0x0F, 0x82
_MEDIUM, _LONG = struct.Struct("!BBH"), struct.Struct("!BBQ")


def read(original: Callable[..., Any]) -> Callable[..., Any]:
    kind = WebSocketProtocol13
    read_bytes, handle = kind._read_bytes, kind._handle_message

    def skips(protocol: WebSocketProtocol13) -> bool:
        """Is it Tornado's own all through, what we skip too?  Asked for each frame: 0.1 µs."""
        own = vars(protocol)
        return (
            kind._read_bytes is read_bytes
            and kind._handle_message is handle
            and "_read_bytes" not in own
            and "_handle_message" not in own
        )

    async def _receive_frame(self: WebSocketProtocol13) -> None:
        stream = self.stream
        if type(stream) is not TransportStream or stream.guard is None or not skips(self):
            await original(self)
            return
        found = stream.next_message(self)
        if found is None and stream.silent():
            await stream.arrival()
            found = stream.next_message(self) if skips(self) else None
        if found is None:
            await original(self)
            return
        first, data = found
        if self._decompressor is not None:
            self._frame_compressed = bool(first & COMPRESSED)
        if first & COMPRESSED:
            handled_future = self._handle_message(first & _OPCODE, data)
        else:
            self._message_bytes_in += len(data)
            message: str | bytes = data
            if first == TEXT:
                try:
                    message = data.decode()
                except UnicodeDecodeError:
                    stream.fail(NOT_UTF8)
                    raise StreamClosedError from None
            handled_future = self._run_callback(self.handler.on_message, message)
        if handled_future is not None:
            await handled_future

    return _receive_frame


def write(original: Callable[..., asyncio.Future[None]]) -> Callable[..., Any]:
    kind = WebSocketProtocol13
    write_frame = kind._write_frame

    def write_message(
        self: WebSocketProtocol13, message: str | bytes | dict[str, Any], binary: bool = False
    ) -> asyncio.Future[None]:
        stream = self.stream
        if type(message) is str:
            data = message.encode()
        elif type(message) is bytes:
            data = message
        else:
            return original(self, message, binary)
        if (
            type(stream) is not TransportStream
            or stream.guard is None
            or kind._write_frame is not write_frame
            or "_write_frame" in vars(self)
        ):
            return original(self, message, binary)
        self._message_bytes_out += len(data)
        first = _BINARY if binary else TEXT
        if self._compressor:
            data = self._compressor.compress(data)
            first |= COMPRESSED
        size = len(data)
        if size < 126:
            frame = bytes((first, size)) + data
        elif size <= 0xFFFF:
            frame = _MEDIUM.pack(first, 126, size) + data
        else:
            frame = _LONG.pack(first, 127, size) + data
        self._wire_bytes_out += len(frame)
        try:
            future = stream.write(frame)
        except StreamClosedError:
            raise WebSocketClosedError from None
        return stream.told(future) or asyncio.ensure_future(_wait(future))

    return write_message


async def _wait(future: asyncio.Future[None]) -> None:
    try:
        await future
    except StreamClosedError:
        raise WebSocketClosedError from None
