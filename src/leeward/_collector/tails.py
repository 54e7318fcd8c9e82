"""`leeward logs`: the last lines, and from then on each line, to whoever asks.

Of what was written since this collector began, at most `_KEPT` lines.  Who reads too slowly
is let go: nobody's log waits for a terminal.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from leeward._core import collector_messages as c
from leeward._core import messages as m
from leeward._sys.channel import Channel, ChannelFull
from leeward._sys.ring import Record
from leeward.errors import ChannelClosed

#: Lines, and octets of a line, that are kept for who asks later.
_KEPT = 1000
_LONGEST = 4096
#: Octets of one message.
_PIECE = 32 * 1024
#: Who may ask at once.
_ASKERS = 16

_Line = tuple[int, int, bytes]  # slot, -1 for the supervisor; level; octets


class Tails:
    def __init__(self) -> None:
        self._recent: deque[_Line] = deque(maxlen=_KEPT)
        self._followers: list[tuple[c.Tail, Channel]] = []

    def add(self, request: c.Tail) -> None:
        """Answer, and go on if that is asked for.  `request.asker` is ours."""
        channel = Channel(int(request.asker))
        self._followers = [it for it in self._followers if _is_there(it[1])]
        lines = [it for it in self._recent if _wanted(request, it)]
        last = lines[-request.lines :] if request.lines else []
        alive = self._send(channel, last)
        if not alive or not request.follow or len(self._followers) >= _ASKERS:
            if alive:
                self._end(channel, "too many follow the log already" if request.follow else "")
            channel.close()
            return
        self._followers.append((request, channel))

    def written(self, slot: int, records: Iterable[Record]) -> None:
        """These lines have reached their sink."""
        lines = [(slot, it.level, it.line[:_LONGEST]) for it in records]
        self._recent.extend(lines)
        for follower in list(self._followers):
            request, channel = follower
            wanted = [it for it in lines if _wanted(request, it)]
            if wanted and not self._send(channel, wanted):
                channel.close()
                self._followers.remove(follower)

    def _send(self, channel: Channel, lines: list[_Line]) -> bool:
        """Is it still there, and does it read?"""
        try:
            channel.flush()
            part: list[bytes] = []
            for _, _, line in lines:
                part.append(line if line.endswith(b"\n") else line + b"\n")
                if sum(map(len, part)) >= _PIECE:
                    channel.send(_piece(part))
                    part = []
            if part:
                channel.send(_piece(part))
        except (ChannelClosed, ChannelFull):
            return False
        return True

    def _end(self, channel: Channel, error: str) -> None:
        try:
            channel.send(m.Piece(0, "", last=True, error=error))
        except (ChannelClosed, ChannelFull):
            return


def _is_there(channel: Channel) -> bool:
    try:
        channel.receive()
    except (ChannelClosed, m.BadMessage):
        channel.close()
        return False
    return True


def _wanted(request: c.Tail, line: _Line) -> bool:
    slot, level, _ = line
    return request.slot in (-1, slot) and level >= request.level


def _piece(lines: list[bytes]) -> m.Piece:
    return m.Piece(0, b"".join(lines).decode("utf-8", "backslashreplace"))
