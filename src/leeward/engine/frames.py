"""What a client's WebSocket frames may be (RFC 6455), watched as Tornado reads them.

Tornado's `WebSocketProtocol13` is lax in places, and where it refuses it hangs up without
a close frame.  A `Guard` follows the bytes that its protocol takes from the stream, in
whatever portions, and says with which code the connection fails: `leeward.engine.stream`
sends that close frame and ends the protocol's read as if the client had left, which is what
the application sees of such clients under Tornado too.  `WEBSOCKET` lists the rules.

Messages that are not there yet are checked as they come, so that text which cannot become
UTF-8 is refused before the rest of it arrives.  Compressed text is left to Tornado.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

import tornado
from tornado.util import _websocket_mask as mask
from tornado.websocket import WebSocketProtocol13

from leeward.engine.rules import Rule

if TYPE_CHECKING:
    from tornado.websocket import WebSocketHandler

PROTOCOL_ERROR = 1002
NOT_UTF8 = 1007

#: Where the engine is stricter with frames than Tornado, for docs/reference/http.md.
WEBSOCKET = (
    Rule("ws-mask", "RFC 6455 §5.1", "takes frames that are not masked", "fails with 1002"),
    Rule("ws-bits", "RFC 6455 §5.2", "hangs up", "fails with 1002"),
    Rule("ws-opcode", "RFC 6455 §5.2", "hangs up, or ignores a fragment", "fails with 1002"),
    Rule("ws-length", "RFC 6455 §5.2", "calls lengths of 2⁶³ and more too big", "fails with 1002"),
    Rule("ws-fragment", "RFC 6455 §5.4", "hangs up", "fails with 1002"),
    Rule("ws-control", "RFC 6455 §5.5", "hangs up; takes compressed ones", "fails with 1002"),
    Rule("ws-close-code", "RFC 6455 §7.4", "echoes any code", "answers 1002 to a reserved one"),
    Rule("ws-close-length", "RFC 6455 §5.5.1", "ignores a payload of one octet", "answers 1002"),
    Rule("ws-close-reason", "RFC 6455 §5.5.1", "hangs up", "answers 1007 to what is not UTF-8"),
    Rule("ws-utf8", "RFC 6455 §8.1", "hangs up when the message is whole", "fails with 1007, soon"),
)

#: RFC 6455 §7.4.1, IANA's registry (1012 to 1014), §7.4.2.
CODES = frozenset((*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)))

_TEXT, _CLOSE, _PONG = 0x1, 0x8, 0xA
_HEADER = 2
_KEY = 4
_LONG = {126: struct.Struct("!H"), 127: struct.Struct("!Q")}

#: Does `on_close` come after a close frame whose reason cannot be decoded?  Before 6.6
#: Tornado forgets it: there the client has just left.
_TELLS = tornado.version_info >= (6, 6)

_utf8 = codecs.getincrementaldecoder("utf-8")


class Guard:
    """One client's frames.

    compressed:  is permessage-deflate agreed upon?
    closing:     has a close frame come, which Tornado is to see whatever is in it?
    inside:      has a message begun whose end is to come?
    """

    __slots__ = (
        "_compressed",
        "_decoder",
        "_final",
        "_held",
        "_key",
        "_need",
        "_opcode",
        "_seen",
        "_size",
        "_step",
        "_text",
        "closing",
        "inside",
    )

    def __init__(self, compressed: bool) -> None:
        self.closing = False
        self._compressed = compressed
        self._step: Callable[[bytes], int] = self._header
        self._need = _HEADER  # octets that the step wants, all at once
        self._held = b""  # fewer than that
        self._opcode = self._size = 0  # of the frame at hand
        self._final = True
        self._key = b""
        self._seen = 0  # octets of its payload that were checked as they came
        self.inside = False
        self._text = False  # is that message text that we can read?
        self._decoder: codecs.IncrementalDecoder | None = None  # of text in several parts

    def take(self, piece: bytes) -> int:
        """Tornado takes these octets.  Returns the code with which the connection fails, or 0."""
        if len(piece) == self._need and not self._held:
            return self._step(piece)
        held = self._held + piece  # taken otherwise than Tornado does it
        while held and len(held) >= self._need:
            now, held = held[: self._need], held[self._need :]
            code = self._step(now)
            if code:
                return code
        self._held = held
        return 0

    def arrived(self, data: bytearray) -> int:
        """`data` has come, and Tornado waits for more: is it text that cannot become UTF-8?"""
        if not self._text or self._opcode >= _CLOSE or self._step != self._payload:
            return 0
        return self._check(bytes(data[self._seen : self._size]), False)

    # --- the parts of a frame --------------------------------------------------------------------

    def _header(self, piece: bytes) -> int:
        first, second = piece
        opcode, final, bits = first & 0x0F, first >= 0x80, first & 0x70
        if second < 0x80:
            return PROTOCOL_ERROR
        if bits and not (bits == 0x40 and self._compressed and opcode in (1, 2)):
            return PROTOCOL_ERROR
        size = second & 0x7F
        if opcode >= _CLOSE:
            if opcode > _PONG or not final or size > 125:
                return PROTOCOL_ERROR
        elif opcode > 2 or (opcode == 0) is not self.inside:
            return PROTOCOL_ERROR  # a part where there is no whole, or a whole amid parts
        elif opcode:
            self.inside, self._text = True, opcode == _TEXT and not bits
        self._opcode, self._final = opcode, final
        if size < 126:
            self._size = size
            self._step, self._need = self._masked, _KEY
        else:
            self._step, self._need = self._length, _LONG[size].size
        return 0

    def _length(self, piece: bytes) -> int:
        size: int = (_LONG[126] if len(piece) == 2 else _LONG[127]).unpack(piece)[0]
        if size >= 1 << 63:
            return PROTOCOL_ERROR
        self._size = size
        self._step, self._need = self._masked, _KEY
        return 0

    def _masked(self, piece: bytes) -> int:
        self._key = piece
        self._step, self._need = self._payload, self._size
        return 0 if self._size else self._payload(b"")

    def _payload(self, piece: bytes) -> int:
        self._step, self._need = self._header, _HEADER
        if self._opcode >= _CLOSE:
            if self._opcode > _CLOSE:
                return 0
            data = mask(self._key, piece)
            code = _judge(data)
            self.closing = code != NOT_UTF8 or _TELLS
            return code
        final = self._final
        code = self._check(piece[self._seen :], final) if self._text else 0
        self._seen = 0
        if final:
            self.inside = self._text = False
            self._decoder = None
        return code

    def _check(self, masked: bytes, final: bool) -> int:
        """The next octets of a text, `_seen` octets into its frame."""
        turn = self._seen % 4
        key = self._key[turn:] + self._key[:turn] if turn else self._key
        self._seen += len(masked)
        if self._decoder is None and not final:
            self._decoder = _utf8()
        try:
            if self._decoder is None:
                mask(key, masked).decode()
            else:
                self._decoder.decode(mask(key, masked), final)
        except UnicodeDecodeError:
            return NOT_UTF8
        return 0


def guard(handler: WebSocketHandler) -> Guard | None:
    """For a handler whose frames Tornado reads; None for a protocol of the application's own."""
    protocol = handler.ws_connection
    if type(protocol) is not WebSocketProtocol13:
        return None
    # Should a Tornado keep it elsewhere, compression is taken to be agreed upon.
    return Guard(getattr(protocol, "_decompressor", handler) is not None)


def close_frame(code: int) -> bytes:
    """As a server sends it."""
    return b"\x88\x02" + code.to_bytes(2)


def _judge(payload: bytes) -> int:
    """The code to answer a close frame with where Tornado's echo would be wrong, or 0."""
    if not payload:
        return 0
    if int.from_bytes(payload[:2]) not in CODES:  # nor is what a single octet says
        return PROTOCOL_ERROR
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        return NOT_UTF8
    return 0
