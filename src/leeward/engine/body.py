"""The chunked body of a request, decoded as it comes (RFC 9112 §7.1).

As strict as Tornado, but for chunk extensions and trailers, which Tornado refuses
and the RFC makes legal: they are checked, bounded, and dropped.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from leeward.engine.fields import TOKEN
from leeward.engine.rules import BadRequest

#: Tornado reads the line of a chunk's size up to 64 octets, two of them its end.
_DIGITS = 62
#: A chunk's line with its extensions, and a trailer's line, in octets.
LINE = 16 * 1024
#: Extensions may hold so much, and one octet for each of the body: as much as Go's
#: net/http bears. AWS signs chunks of 64 KiB by extensions of 85 octets.
EXTENSIONS = 16 * 1024

#: Lines are looked for in steps of so many octets.
_WINDOW = 256

_SIZE = re.compile(rb"([0-9a-fA-F]{1,%d})\r\n" % _DIGITS)
_TOKEN = TOKEN.pattern.encode()
_QUOTED = rb'"(?:[\t \x21\x23-\x5B\x5D-\x7E\x80-\xFF]|\\[\t \x21-\x7E\x80-\xFF])*"'
_LINE = re.compile(
    rb"([0-9a-fA-F]+)"
    rb"((?:[ \t]*;[ \t]*" + _TOKEN + rb"(?:[ \t]*=[ \t]*(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?)*)"
)
_FIELD = re.compile(rb"(" + _TOKEN + rb"):[\t \x21-\x7E\x80-\xFF]*")
#: RFC 9110 §6.5.1: what frames, routes, authenticates or describes the content has no
#: place behind it.
_FORBIDDEN = frozenset(
    b"authorization connection content-encoding content-length content-range content-type cookie "
    b"expect host keep-alive max-forwards proxy-authorization proxy-connection te trailer "
    b"transfer-encoding upgrade".split()
)


class _State(Enum):
    SIZE = auto()
    BEGUN = auto()
    DATA = auto()
    END = auto()
    TRAILER = auto()


class Chunked:
    """One body's decoder; `limit` bounds its data, `trailers` its trailers, in octets.

    limit:  may be set while the body comes: it counts from the next chunk on, as Tornado's.
    """

    __slots__ = ("_extensions", "_held", "_left", "_state", "_total", "_trailers", "done", "limit")

    def __init__(self, limit: int, trailers: int = 64 * 1024) -> None:
        self.done = False
        self.limit = limit
        self._trailers = trailers
        self._state = _State.SIZE
        self._held = bytearray()
        self._left = 0
        self._total = 0
        self._extensions = 0

    def feed(self, data: memoryview | bytes, most: int) -> tuple[list[bytes], int]:
        """Decode from the start of `data`; give at most `most` octets of the body.

        Returns the pieces and how many octets of `data` were used; what was not used
        comes first in the next call.  Nothing is used behind the body's end (`done`).
        Raises BadRequest.
        """
        pieces: list[bytes] = []
        at, size = 0, len(data)
        while at < size and not self.done:
            state = self._state
            if state is _State.BEGUN:
                if pieces and self._total > self.limit:
                    break  # the application, which may set another limit, sees those first
                self._bear()
            elif state is _State.DATA:
                take = min(self._left, size - at, most)
                if not take:
                    break
                pieces.append(bytes(data[at : at + take]))
                at += take
                most -= take
                self._left -= take
                if not self._left:
                    self._state = _State.END
            elif self._held:
                at += self._line(data[at : at + _WINDOW])
            elif state is _State.SIZE and (match := _SIZE.match(data, at)):
                at = match.end()
                self._begin(match[1])
            elif state is not _State.SIZE and data[at : at + 2] == b"\r\n":
                at += 2
                self._end(b"")
            else:
                at += self._line(data[at : at + _WINDOW])
        if self._state is _State.BEGUN and not pieces:
            self._bear()  # nobody waits for data that nobody takes
        return pieces, at

    def _line(self, data: memoryview | bytes) -> int:
        """Take from `data` up to the end of a line, or all of it; returns how much."""
        held = self._held
        before = len(held)
        held += data
        end = held.find(b"\r\n", max(before - 1, 0))
        if self._state is _State.END:
            # As Tornado: two octets are looked at, not lines.
            if len(held) < 2:
                return len(data)
            if end != 0:
                raise BadRequest("chunk-end", "improperly terminated chunk")
        elif end < 0 or end > LINE:
            self._bound()
            return len(data)
        line = bytes(held[:end])
        held.clear()
        if self._state is _State.SIZE:
            self._size(line)
        else:
            self._end(line)
        return end + 2 - before

    def _bound(self) -> None:
        """Raise if what is held cannot become a line: it has no CRLF, or has it too late."""
        held = self._held
        # Only the last octet may be a CR, whose LF is to come.
        bare = b"\n" in held or held.find(b"\r", 0, len(held) - 1) >= 0
        if self._state is _State.TRAILER:
            if len(held) > min(LINE, self._trailers):
                raise BadRequest("trailer-size", "trailers too large")
            if bare and len(held) >= 2:  # the two that Tornado looks at
                raise BadRequest("trailer-field", "CR or LF alone in a trailer")
        elif len(held) > LINE:
            raise BadRequest("chunk-overhead", "chunk extensions too large")
        elif len(held) > _DIGITS + 2 and (bare or b";" not in held):
            raise BadRequest("chunk-size", "invalid chunk size")

    def _size(self, line: bytes) -> None:
        """The line of a chunk's size that the quick way did not take."""
        match = _LINE.fullmatch(line)
        if match is None or len(match[1]) > _DIGITS:
            raise BadRequest("chunk-size", f"invalid chunk size {line[:80]!r}")
        self._extensions += len(match[2])
        self._begin(match[1])
        if self._extensions > EXTENSIONS + self._total:
            raise BadRequest("chunk-overhead", "chunk extensions too large")

    def _begin(self, digits: bytes) -> None:
        self._left = int(digits, 16)
        self._total += self._left
        self._state = _State.BEGUN if self._left else _State.TRAILER

    def _bear(self) -> None:
        if self._total > self.limit:
            raise BadRequest("body-too-large", "chunked body too large")
        self._state = _State.DATA

    def _end(self, line: bytes) -> None:
        """The end of a chunk's data, or a line behind the last chunk."""
        if self._state is _State.END:
            self._state = _State.SIZE
            return
        if not line:
            self.done = True
            return
        self._trailers -= len(line) + 2
        if self._trailers < 0:
            raise BadRequest("trailer-size", "trailers too large")
        match = _FIELD.fullmatch(line)
        if match is None or match[1].lower() in _FORBIDDEN:
            raise BadRequest("trailer-field", f"improper trailer {line[:80]!r}")
