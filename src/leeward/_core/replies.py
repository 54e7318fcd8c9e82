"""Where a reply ends, in protocols that say neither its length nor whose it is.

An end is recognised by a function of the bytes that have come and of how many of them it
has been shown before: so that it looks at each byte about once, however the reply is
fragmented.  `terminator` and `pattern` make such functions; whoever needs another rule
writes one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

Buffer = bytes | bytearray


class Ended(NamedTuple):
    """body:   bytes of the reply, from its beginning, that are for the caller.
    size:   bytes of the reply with its end; may be more than have come yet.
    clear:  False where the end is a guess: the connection is not used again.
    """

    body: int
    size: int
    clear: bool = True


#: (what has come of the reply, how many bytes of it were shown before) -> its end, or its
#: size where nothing is to be cut off, or None: more must come.  Once it has said the size
#: it is not asked again, even if fewer bytes have come.
End = Callable[[Buffer, int], "Ended | int | None"]


class Reply(NamedTuple):
    body: bytes
    clear: bool
    #: What came behind it, which nobody has asked for.
    excess: bytes


class TooLarge(Exception):
    """No end within the limit.  `size`: bytes that have come."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class Wrong(Exception):
    """A function for ends answered what cannot be."""


def terminator(end: bytes) -> End:
    """A reply ends at the first `end`, which is not part of its body."""
    if not end:
        raise ValueError("a reply cannot end by nothing")
    reach = len(end) - 1

    def find(buffer: Buffer, seen: int) -> Ended | None:
        at = buffer.find(end, max(seen - reach, 0))
        return None if at < 0 else Ended(at, at + len(end))

    return find


def pattern(regex: re.Pattern[bytes], longest: int = 256) -> End:
    """A reply ends at the first match of `regex`, which is not part of its body.

    longest:  bytes that a match may have, so that no byte is looked at more often than
              that; a longer end is not seen.

    What may go on matching (`\\n+`) ends wherever the bytes happened to be divided: write
    it so that its last byte decides.
    """
    if not isinstance(regex.pattern, bytes):
        raise ValueError(f"the end of a reply is a pattern of bytes, not of text: {regex.pattern}")
    if regex.match(b""):
        raise ValueError(f"matches nothing at all, and so everywhere: {regex.pattern!r}")

    def find(buffer: Buffer, seen: int) -> Ended | None:
        match = regex.search(buffer, max(seen - longest, 0))
        return None if match is None else Ended(match.start(), match.end())

    return find


def ending(rule: bytes | re.Pattern[bytes] | End) -> End:
    """The function for a rule that was given in one of the three ways."""
    if isinstance(rule, bytes):
        return terminator(rule)
    if isinstance(rule, re.Pattern):
        return pattern(rule)
    if callable(rule):
        return rule
    raise ValueError(f"the end of a reply is bytes, a pattern or a function, not {rule!r}")


class Replies:
    """What comes on one connection, made into replies.

    limit:  bytes that one reply may have, its end included.
    """

    __slots__ = ("_buffer", "_end", "_ended", "_limit", "_seen")

    def __init__(self, end: End, limit: int) -> None:
        self._end = end
        self._limit = limit
        self._buffer = bytearray()
        self._seen = 0
        #: Known, although not all of the reply has come.
        self._ended: Ended | None = None

    @property
    def begun(self) -> Buffer:
        """What has come of a reply that has not ended."""
        return self._buffer

    def feed(self, data: bytes) -> Reply | None:
        """The reply, once it has ended.  Raises TooLarge, and Wrong for a wrong rule."""
        # Most replies come in one piece: they are looked at where they are.
        whole: Buffer = data
        if self._buffer:
            self._buffer += data
            whole = self._buffer
        ended = self._ended = self._ended or self._look(whole)
        if ended is not None and ended.size <= len(whole):
            reply = Reply(bytes(whole[: ended.body]), ended.clear, bytes(whole[ended.size :]))
            self._forget()
            return reply
        if len(whole) > self._limit:
            raise TooLarge(len(whole))
        if not self._buffer:
            self._buffer += data
        return None

    def _look(self, whole: Buffer) -> Ended | None:
        found = self._end(whole, self._seen)
        self._seen = len(whole)
        if found is None:
            return None
        ended = found if isinstance(found, Ended) else Ended(found, found)
        if not 0 <= ended.body <= ended.size or ended.size < 1:
            raise Wrong(f"said that a reply of {len(whole)} bytes or more ends so: {ended}")
        if ended.size > self._limit:
            raise TooLarge(ended.size)
        return ended

    def _forget(self) -> None:
        self._buffer = bytearray()
        self._seen, self._ended = 0, None
