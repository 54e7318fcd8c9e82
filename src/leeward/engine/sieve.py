"""Finds our pongs in what a WebSocket client sends, and takes them out.

The application's `on_pong` is for the answers to its own pings.  What does not work: to
give Tornado our pong and to shadow `on_pong`.  Its `_receive_frame` forgets at *any* control
frame whether the message that it is in the middle of is compressed (Tornado 6.4 to 6.6),
so a pong of ours between two fragments would have the application see deflated bytes;
and it costs three reads and a wake-up.

Frames are told by their headers (RFC 6455 §5.2); payloads pass unread.  A message that came
by itself costs 0.15 µs, a pong of ours 0.6; whole messages that `leeward.engine.messages` takes
do not come here.
"""

from __future__ import annotations

#: First bytes of a ping and of a close frame from us, and of a pong from a client.
_PING, _PONG, _MASKED = 0x89, 0x8A, 0x80
#: Bytes of the cookie: a client would have to draw this number to be misunderstood.
COOKIE = 8
_OURS = 2 + 4 + COOKIE  # a masked pong that carries it


def ping(cookie: bytes) -> bytes:
    """The frame that asks."""
    return bytes((_PING, len(cookie))) + cookie


class Sieve:
    """One client's frames, from the first one on."""

    #: Bytes that `feed` may return on top of those that it is given.
    most_kept_back = _OURS

    __slots__ = ("_carry", "_cookie", "_passed", "_skip", "answers")

    def __init__(self, cookie: bytes) -> None:
        self._cookie = int.from_bytes(cookie)
        self._skip = 0  # bytes of the payload that are still to come
        self._carry = b""  # a header whose end has not come
        self._passed = 0  # bytes of it that were handed on
        #: Has it ever sent a pong, ours or another?
        self.answers = False

    @property
    def between(self) -> bool:
        """Does the next byte begin a frame?"""
        return not (self._skip or self._carry)

    def feed(self, data: bytes) -> bytes:
        """What of `data` is for the application.

        A part of what may become our pong is kept back until it is known.
        """
        if not self._carry:
            skip = self._skip
            if not skip:
                size = len(data) - 6
                if 0 <= size < 126 and data[1] == size | _MASKED:  # one short frame, as most are
                    if data[0] != _PONG:
                        return data
                    self.answers = True
                    return b"" if size == COOKIE and self._is_ours(data[2:]) else data
            elif skip >= len(data):
                self._skip = skip - len(data)
                return data
        return self._scan(data)

    def _scan(self, data: bytes) -> bytes:
        buffer = self._carry + data
        kept: list[bytes] = []
        start, at, end = self._passed, 0, len(buffer)
        self._carry, self._passed = b"", 0
        while True:
            if self._skip:
                step = min(self._skip, end - at)
                self._skip -= step
                at += step
            if at == end:
                break
            size = _header(buffer, at, end)
            ours = buffer[at] == _PONG and buffer[at + 1 : at + 2] in (b"", _LENGTH)
            if ours and end - at < _OURS:
                kept.append(buffer[start:at])
                self._carry, start = buffer[at:], end
                break
            if not size:
                self._carry, self._passed = buffer[at:], end - at
                break
            if buffer[at] == _PONG:
                self.answers = True
                if ours and self._is_ours(buffer[at + 2 : at + _OURS]):
                    kept.append(buffer[start:at])
                    start = at = at + _OURS
                    continue
            self._skip = _payload(buffer, at)
            at += size
        if not kept and not start:
            return buffer
        return b"".join((*kept, buffer[start:]))

    def _is_ours(self, masked: bytes) -> bool:
        mask = int.from_bytes(masked[:4] * 2)
        return int.from_bytes(masked[4:]) ^ mask == self._cookie


_LENGTH = bytes((_MASKED | COOKIE,))


def _header(buffer: bytes, at: int, end: int) -> int:
    """Bytes of the header that begins at `at`; 0 if it is not complete."""
    if end - at < 2:
        return 0
    second = buffer[at + 1]
    length = second & 0x7F
    size = 2 + (2 if length == 126 else 8 if length == 127 else 0) + (4 if second & _MASKED else 0)
    return size if end - at >= size else 0


def _payload(buffer: bytes, at: int) -> int:
    length = buffer[at + 1] & 0x7F
    if length == 126:
        return int.from_bytes(buffer[at + 2 : at + 4])
    return int.from_bytes(buffer[at + 2 : at + 10]) if length == 127 else length
