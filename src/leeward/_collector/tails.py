"""`leeward logs`: the last lines, and from then on each line, to whoever asks.

Of what was written since this collector began, at most `_KEPT` lines.  Who reads too slowly
is let go: nobody's log waits for a terminal.

Followers are told what they have reached (`leeward._core.reached`): one whose collector has
died asks its successor for what comes after that.
"""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Iterable
from itertools import islice

from leeward._core import collector_messages as c
from leeward._core import messages as m
from leeward._core import reached
from leeward._core.reached import Lane, Reached
from leeward._sys.channel import Channel, ChannelFull
from leeward._sys.ring import Record
from leeward.errors import ChannelClosed

#: Lines, and octets of a line, that are kept for who asks later; of one that is longer, so many
#: of its beginning.  Most are of its end: that of a traceback is the exception itself.
_KEPT = 1000
_LONGEST = 4096
_HEAD = 1024
#: Octets of one message.
_PIECE = 32 * 1024
#: Who may ask at once.
_ASKERS = 16
#: Where lines are that came by no ring: what workers print.
_PRINTED: Lane = (-1, 0)

_MISSED = "lines are missed here: more were written meanwhile than are kept; the files have them"

_Line = tuple[int, int, bytes, Lane, int]  # slot, -1 for the supervisor; level; octets; sequence


class _Asker:
    """leaves:  it is let go once it has all that was sent.

    after:  what it had seen already.  Our predecessor may have told it lines which it could not
            put down as taken any more, and rings are handed over after askers too.
    """

    def __init__(self, request: c.Tail, leaves: bool) -> None:
        self.request = request
        self.channel = Channel(int(request.asker))
        self.leaves = leaves
        self.after = Reached()

    def wants(self, line: _Line) -> bool:
        slot, level, _, lane, sequence = line
        mine = self.request.slot in (-1, slot) and level >= self.request.level
        return mine and not self.after.has(lane, sequence)


class Tails:
    """poll:  wakes whoever calls `flush`, when somebody has room for what waits for him."""

    def __init__(self, poll: select.poll) -> None:
        self._poll = poll
        self._recent: deque[_Line] = deque()
        #: Of the lines that are not kept any more, the last: by slot, level and lane.
        self._dropped: dict[tuple[int, int, Lane], int] = {}
        self._askers: dict[int, _Asker] = {}
        self._printed = 0

    def add(self, request: c.Tail) -> None:
        """Answer, and go on if that is asked for.  `request.asker` is ours."""
        for it in list(self._askers.values()):
            if not _is_there(it.channel):
                self._forget(it)
        asker = _Asker(request, leaves=not request.follow)
        fd, error = asker.channel.fileno(), ""
        self._askers[fd] = asker
        if len(self._askers) > _ASKERS and not self._make_room(asker) and request.follow:
            error, asker.leaves = "too many follow the log already", True
        try:
            asker.after = reached.from_text(request.after)
        except m.BadMessage as bad:
            error, asker.leaves = str(bad), True
        pieces = [] if error else self._kept(asker)
        if asker.leaves:
            pieces.append(m.Piece(0, "", last=True, error=error))
        else:
            # From here on, whatever of it he wanted to see.
            now = reached.of((lane, sequence) for *_, lane, sequence in self._recent)
            pieces.append(m.Piece(0, "", reached=now.to_text()))
        self._send(asker, pieces)

    def written(self, worker: int, slot: int, records: Iterable[Record]) -> None:
        """These lines have reached their sink, or did so before: they are known by sequence."""
        self._written(
            [(slot, it.level, _cut(it.line), (worker, it.sink), it.sequence) for it in records]
        )

    def printed(self, slot: int, level: int, lines: Iterable[bytes]) -> None:
        """A worker has printed these."""
        found: list[_Line] = []
        for line in lines:
            # The clock: what a successor numbers comes behind what we do.
            self._printed = max(self._printed + 1, time.monotonic_ns())
            found.append((slot, level, _cut(line), _PRINTED, self._printed))
        self._written(found)

    def _written(self, lines: list[_Line]) -> None:
        self._keep(lines)
        for asker in list(self._askers.values()):
            if asker.leaves:
                continue
            if wanted := [it for it in lines if asker.wants(it)]:
                self._send(asker, _pieces(wanted))

    def _keep(self, lines: list[_Line]) -> None:
        recent, dropped = self._recent, self._dropped
        recent.extend(lines)
        surplus = len(recent) - _KEPT
        if surplus > 0:
            for slot, level, _, lane, sequence in islice(recent, surplus):
                dropped[slot, level, lane] = sequence
            for _ in range(surplus):
                recent.popleft()
            while len(dropped) > reached.MOST:
                del dropped[next(iter(dropped))]

    def _kept(self, asker: _Asker) -> list[m.Piece]:
        """What there is of all that it wants."""
        lines = [it for it in self._recent if asker.wants(it)]
        most = asker.request.lines
        if most >= 0:
            return _pieces(lines[-most:] if most else [])
        missed = any(
            asker.wants((slot, level, b"", lane, last))
            for (slot, level, lane), last in self._dropped.items()
        )
        return [m.Piece(0, "", error=_MISSED)] * missed + _pieces(lines)

    # --- askers ----------------------------------------------------------------------------

    def flush(self, fd: int) -> bool:
        """Somebody has room.  False if `fd` is nobody of ours."""
        asker = self._askers.get(fd)
        if asker is not None:
            self._send(asker, [])
        return asker is not None

    def _send(self, asker: _Asker, pieces: list[m.Piece]) -> None:
        """Let it go if it is gone, if it does not read, or if it has all."""
        channel = asker.channel
        try:
            channel.flush()
            for piece in pieces:
                channel.send(piece)
        except (ChannelClosed, ChannelFull):
            self._forget(asker)
            return
        if channel.wants_write:
            self._poll.register(channel.fileno(), select.POLLOUT)
        elif asker.leaves:
            self._forget(asker)
        else:
            self._unwatch(channel)

    def _forget(self, asker: _Asker) -> None:
        self._unwatch(asker.channel)
        del self._askers[asker.channel.fileno()]
        asker.channel.close()

    def _unwatch(self, channel: Channel) -> None:
        try:
            self._poll.unregister(channel.fileno())
        except KeyError:
            return  # it took all that it was sent

    def _make_room(self, mine: _Asker) -> bool:
        """One who has been told all, and does not read it, gives up his place."""
        other = next((it for it in self._askers.values() if it.leaves and it is not mine), None)
        if other is not None:
            self._forget(other)
        return other is not None


def _is_there(channel: Channel) -> bool:
    try:
        channel.receive()
    except (ChannelClosed, m.BadMessage):
        return False
    return True


def _cut(line: bytes) -> bytes:
    """Without its middle, of which is said how long it was, if it is too long; by whole characters
    if it is UTF-8."""
    if len(line) <= _LONGEST:
        return line
    note = b" [%d octets cut] "
    start, end = _HEAD, len(line) - (_LONGEST - _HEAD - len(note % len(line)))
    # Of a character there are at most three octets behind its first.
    for _ in range(3):
        start -= line[start] & 0xC0 == 0x80
        end += line[end] & 0xC0 == 0x80
    return line[:start] + note % (end - start) + line[end:]


def _pieces(lines: list[_Line]) -> list[m.Piece]:
    pieces: list[m.Piece] = []
    part: list[_Line] = []
    octets = 0
    for it in lines:
        part.append(it)
        octets += len(it[2]) + 1
        if octets >= _PIECE:
            pieces.append(_piece(part))
            part, octets = [], 0
    return [*pieces, _piece(part)] if part else pieces


def _piece(lines: list[_Line]) -> m.Piece:
    text = b"".join(line if line.endswith(b"\n") else line + b"\n" for _, _, line, _, _ in lines)
    told = reached.of((lane, sequence) for *_, lane, sequence in lines).to_text()
    return m.Piece(0, text.decode("utf-8", "backslashreplace"), reached=told)
