"""What workers print: read from their pipes, cut into lines, written.

At most one reading of a pipe is held (`_CHUNK`, and a line without its end), and no more is
read before that is written: behind a terminal that stands still the pipe fills up, and then
the worker waits, as it would for the terminal itself.  But nobody waits for a disk that is
full: what cannot be written because of an *error* is given up once the pipe is half full.

What we have read and not written dies with us.  The rest is in the pipes, which are the
supervisor's.
"""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Callable

from leeward._collector.lanes import RETRY
from leeward._collector.streams import Stream
from leeward._core.captured import PARTIAL, Exact, Tagged
from leeward._core.record import Struct
from leeward._sys import pipes

#: Octets of a reading.
_CHUNK = 1 << 16
#: Seconds between two tellings of what was lost.
_TELL_EVERY = 1.0
#: Seconds until a stream is looked at again that another writer has not finished with.
_OTHERS = 0.01
#: Seconds until a stream without room is looked at again, whatever epoll says: it does not
#: always say that a terminal has room again (300 KB took 13 s once, when this was one second).
_FULL = 0.05
#: Nobody reads any more, and nobody will.
_BROKEN = (errno.EPIPE, errno.EIO, errno.ECONNRESET, errno.EBADF, errno.ENXIO)


class Capture(Struct):
    """One pipe.

    worker, number:  what it is known by.
    who:             for messages: "worker 2 of generation 5".
    slot, level:     of its lines, for `tap`; level 0 where they are no lines of the log.
    waiting:         octets that are to be written.
    since:           when a line began that has no end yet.
    """

    worker: int
    number: int
    who: str
    slot: int
    level: int
    fd: int
    stream: Stream
    cutter: Exact
    waiting: bytes = b""
    since: float = 0.0
    held_until: float = 0.0
    ended: bool = False
    lost: int = 0
    why: str = ""

    @property
    def tagged(self) -> bool:
        return isinstance(self.cutter, Tagged)


class Captures:
    """say:  called with (level, text).  tap:  given (slot, level, lines) of what was written."""

    def __init__(
        self, say: Callable[[str, str], None], tap: Callable[[int, int, list[bytes]], None]
    ) -> None:
        self._say = say
        self._tap = tap
        self._all: dict[tuple[int, int], Capture] = {}
        #: Who has left a line without an end on a stream.
        self._begun: dict[Stream, Capture] = {}
        #: Streams without room, by their descriptors, and when they are looked at again.
        self._full: dict[int, float] = {}
        self._tell_at = 0.0
        self._finishing = False
        self._poll = select.epoll()
        self._watched: set[int] = set()
        #: Was as much read in the last turn as can be, or is there more to be written at once?
        self.much = False

    def fileno(self) -> int:
        """Readable when there is something to do."""
        return self._poll.fileno()

    def add(self, capture: Capture) -> None:
        """Its `fd` is ours."""
        self._all[capture.worker, capture.number] = capture
        self._watch(capture.fd, select.EPOLLIN)

    def turn(self, now: float, finishing: bool = False) -> bool:
        """Read and write a little of everything.  Was there anything to do?

        finishing:  lines that have no end will not get one, and nothing is tried again.
        """
        self.much = moved = False
        self._finishing = finishing
        if not self._all:
            return False
        ready = {fd for fd, _ in self._poll.poll(0)}
        for fd, due in list(self._full.items()):
            if fd in ready or now >= due:
                del self._full[fd]
                self._unwatch(fd)
        for it in self._all.values():
            if it.fd in ready and not it.waiting:
                moved = self._read(it, now) or moved
            if not it.waiting and it.cutter.waits() and (now >= it.since + PARTIAL or finishing):
                it.waiting = it.cutter.rest(last=finishing)
            if it.waiting and now >= it.held_until:
                moved = self._write(it, now) or moved
            if it.waiting or it.ended:
                self._unwatch(it.fd)
            else:
                self._watch(it.fd, select.EPOLLIN)
        if now >= self._tell_at and any(it.lost for it in self._all.values()):
            self._tell_at = now + _TELL_EVERY
            for it in self._all.values():
                self._tell(it)
        return moved

    def ended(self) -> list[tuple[int, int]]:
        """Pipes that are read to their end; they are forgotten here."""
        done = [key for key, it in self._all.items() if it.ended and not it.waiting]
        for key in done:
            it = self._all.pop(key)
            if self._begun.get(it.stream) is it:
                del self._begun[it.stream]
            self._tell(it)
            self._unwatch(it.fd)
            os.close(it.fd)
        return done

    def next_try(self) -> float | None:
        """When something is due by itself."""
        times = list(self._full.values())
        for it in self._all.values():
            if it.waiting and it.stream.fd not in self._full:
                times.append(it.held_until)
            elif not it.waiting and it.cutter.waits():
                times.append(it.since + PARTIAL)
            if it.lost:
                times.append(self._tell_at)
        return min(times, default=None)

    def line_begun(self) -> bool:
        """Does a tagged line stand somewhere that has no end yet?"""
        return any(it.tagged for it in self._begun.values())

    def line_ended(self) -> None:
        """The supervisor has ended it."""
        for stream, it in list(self._begun.items()):
            if it.tagged and not it.waiting:
                it.cutter.interrupted()
                del self._begun[stream]

    def left(self) -> int:
        """Octets that were read and not written."""
        return sum(len(it.waiting) for it in self._all.values())

    def behind(self) -> bool:
        """Is there anything that was not even read?"""
        return pipes.any_readable(it.fd for it in self._all.values() if not it.ended)

    # --- one pipe --------------------------------------------------------------------------

    def _read(self, it: Capture, now: float) -> bool:
        try:
            data = os.read(it.fd, _CHUNK)
        except BlockingIOError:
            return False
        if b"\n" in data or not it.cutter.waits():
            it.since = now
        if data:
            it.waiting = it.cutter.put(data)
        else:
            it.waiting, it.ended = it.cutter.rest(last=True), True
        self.much = self.much or len(data) == _CHUNK
        return True

    def _write(self, it: Capture, now: float) -> bool:
        """Was any of it written, or given up?"""
        stream = it.stream
        before = self._begun.get(stream)
        if before not in (None, it) and before is not None and before.waiting:
            self._write(before, now)  # it goes on with its own line
        if stream.fd in self._full:
            return False
        if stream.owner not in (None, it):
            it.held_until = now + _OTHERS
            return False
        before = self._begun.get(stream)
        if before not in (None, it) and before is not None:
            it.waiting = before.cutter.interrupted() + it.waiting
            del self._begun[stream]
        data = it.waiting
        try:
            if stream.owner is None:
                room = stream.room()
                data = _lines_within(data, room) if stream.regular else data
            sent = stream.append(data, stream.begin(len(data)))
        except OSError as error:
            return self._failed(it, error, now)
        it.waiting = it.waiting[sent:]
        stream.owner = None
        if sent < len(data) and stream.regular:  # which epoll knows nothing of
            stream.owner = it if sent and not data[:sent].endswith(b"\n") else None
            self.much = self.much or sent > 0  # there was room a moment ago
            it.held_until = now if sent else now + _OTHERS
        elif sent < len(data):
            stream.owner = it
            # A pipe that is writable may have no room for a long line: it would wake us at once.
            self._full[stream.fd] = now + (_FULL if sent else _OTHERS)
            if sent:
                self._watch(stream.fd, select.EPOLLOUT)
        elif data.endswith(b"\n"):
            self._begun.pop(stream, None)
        else:
            self._begun[stream] = it
        if it.level:
            self._tap(it.slot, it.level, data[:sent].splitlines(keepends=True))
        return sent > 0

    def _failed(self, it: Capture, error: OSError, now: float) -> bool:
        """Nothing of it could be written.  Is it given up?"""
        it.why = error.strerror or str(error)
        over = it.ended or self._finishing or error.errno in _BROKEN
        if not over and not pipes.fills_up(it.fd):
            it.held_until = now + RETRY
            return False
        it.lost += len(it.waiting)
        it.waiting = b""
        if it.stream.owner is it:
            it.stream.owner = None
        return True

    def _tell(self, it: Capture) -> None:
        if it.lost:
            text = f"{it.who}: {it.lost} octets of what it has printed are lost: {it.why}"
            self._say("warning", text)
            it.lost = 0

    # --- waiting -----------------------------------------------------------------------------

    def _watch(self, fd: int, events: int) -> None:
        if fd not in self._watched:
            self._watched.add(fd)
            self._poll.register(fd, events)

    def _unwatch(self, fd: int) -> None:
        if fd in self._watched:
            self._watched.remove(fd)
            self._poll.unregister(fd)


def _lines_within(data: bytes, room: int) -> bytes:
    """The lines in `room` octets; the first line, however long it is."""
    if len(data) <= room:
        return data
    end = data.rfind(b"\n", 0, room) + 1 or data.find(b"\n") + 1
    return data[: end or len(data)]
