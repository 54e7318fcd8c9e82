"""A worker's output on its way out: cut into lines, tagged, bounded.

Each cutter is given octets as they come and returns what can be written now, in whole lines.
What has no end yet waits in it: `rest()` gives that up, after `PARTIAL` seconds or when the
pipe has ended.
"""

from __future__ import annotations

import re
from collections.abc import Callable

#: Seconds that a line without an end waits for it.
PARTIAL = 0.2
#: Octets that it may have.
LONGEST = 1 << 16

_ENDS = rb"\r?\n|\r"
_FRESH, _RETURNED, _INSIDE = range(3)


class Exact:
    """Octet for octet.  In whole lines all the same, so that those of workers do not mix."""

    def __init__(self) -> None:
        self._waiting = b""

    def put(self, data: bytes) -> bytes:
        """What can be written, now that `data` has come."""
        data = self._waiting + data
        end = data.rfind(b"\n") + 1
        if len(data) - end > LONGEST:
            end = len(data)
        self._waiting = data[end:]
        return self._made(data[:end])

    def rest(self, last: bool = False) -> bytes:
        """What was waiting.  last:  nothing comes after it."""
        data, self._waiting = self._waiting, b""
        return self._made(data)

    def waits(self) -> bool:
        """Is there a line without an end?"""
        return bool(self._waiting)

    def interrupted(self) -> bytes:
        """Somebody else writes where we do.  What must be written before."""
        return b""

    def _made(self, data: bytes) -> bytes:
        return data


class Tagged(Exact):
    """Lines for a terminal: ``w2| text``.

    The application's control characters are left as they are, for its colours.  A carriage
    return goes back to the start of the line, and so to the tag, which is written again: a
    progress bar stays what it is.  A line that was begun is ended where somebody else's begins.

    mark:  of leeward's own lines; b"" where there are none.
    """

    def __init__(self, slot: int, mark: bytes = b"") -> None:
        super().__init__()
        self._mark = mark
        self._ends = re.compile(b"(%s)" % b"|".join([re.escape(mark), _ENDS] if mark else [_ENDS]))
        self._tag = b"w%d| " % slot
        self._at = _FRESH
        self._ours = False  # a line with a mark

    def _made(self, data: bytes) -> bytes:
        made = []
        for place, piece in enumerate(self._ends.split(data)):
            if place % 2 == 0:
                if piece:
                    made += [piece] if self._at == _INSIDE or self._ours else [self._tag, piece]
                    self._at = _INSIDE
            elif piece == self._mark:
                if self._at != _FRESH:
                    made.append(b"\n")
                self._at, self._ours = _FRESH, True
            elif piece == b"\r":
                made.append(piece)
                self._at = _RETURNED
            else:
                if self._at == _FRESH:
                    made.append(self._tag.rstrip())
                made.append(piece)
                self._at, self._ours = _FRESH, False
        return b"".join(made)

    def rest(self, last: bool = False) -> bytes:
        made = super().rest()
        return made + self.interrupted() if last else made

    def interrupted(self) -> bytes:
        begun = self._at != _FRESH
        self._at, self._ours = _FRESH, False
        return b"\n" if begun else b""


class Logged(Exact):
    """Lines for the log file.

    render:  makes one of a text, with its end.
    mark:    of leeward's own lines, which are there already; b"" where there are none.
    """

    def __init__(self, render: Callable[[str], str], mark: bytes = b"") -> None:
        super().__init__()
        self._mark = mark
        self._render = render

    def _made(self, data: bytes) -> bytes:
        lines = data.split(b"\n")
        if not lines[-1]:
            lines.pop()
        return b"".join(map(self._line, lines))

    def _line(self, line: bytes) -> bytes:
        if self._mark and line.startswith(self._mark):
            return line.removeprefix(self._mark) + b"\n"
        text = line.removesuffix(b"\r").decode("utf-8", "backslashreplace")
        return self._render(text).encode("utf-8", "backslashreplace")
