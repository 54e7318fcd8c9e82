"""A log ring: a memfd that one process fills with lines and another empties.

    head (8 KiB) | table of sinks (56 KiB) | records

Each word of the head has one writer.  A record is complete before the head's word says that
it is there, so a writer that is killed in the middle of one leaves nothing to be seen; the
sequence and the CRC guard against an application that scribbles over its memory, and against
machines that reorder stores.  Positions count octets from the ring's beginning and never wrap.

Each sink has its own cursor: what it has taken is said by the reader, whose successor goes
on from there.  `intend` says beforehand what is going to be written to a file, so that the
successor of a reader that was killed finds out how much of it was.

Both ends stand here, in more than 400 lines: each is written against the other.

What a line of 100 octets costs the writer (x86-64, Python 3.13): 1.0 µs.
"""

from __future__ import annotations

import fcntl
import mmap
import struct
import time
import zlib
from _thread import RLock
from collections.abc import Iterator
from typing import NamedTuple

from leeward._core import logrings
from leeward._sys.bell import Bell
from leeward._sys.rings import DATA, HEAD, HEAD_BYTES, SEALS, TAIL, create
from leeward._sys.rings import MAGIC as _MAGIC

__all__ = ["BadRing", "Intent", "Record", "RingReader", "RingWriter", "TableFull", "create"]

#: Sinks of one ring.
SINKS = 64
#: In the number of a sink as the writer has it: its lines are those of requests.
REQUESTS = 1 << 15

#: Words are added up within 64 bits: what an application scribbles may stand in any.
_NEVER = _WORD = (1 << 64) - 1
#: No file is longer (off_t).
_LONGEST_FILE = (1 << 63) - 1

# Words of the head.  The writer's:
MAGIC, LENGTH, _, SEQUENCE, TABLED, TABLE_END = range(6)
REFUSED = 8  # one word for each kind of `logrings`
# The reader's, on a cache line of their own:
_, WAKE_AT, DAMAGED = range(16, 19)
TOLD = 20  # as REFUSED
# The reader's for each sink:
_OF_SINKS, _PER_SINK = 64, 8
CURSOR, INTENT, DEVICE, INODE, OFFSET, OCTETS = range(6)

#: sequence, octets of the line, CRC, sink, level
_RECORD = struct.Struct("<QIIHHxxxx")
_ENTRY = struct.Struct("<I")
#: Seconds between two looks for room.
_LOOK = 0.0002


class BadRing(ValueError):
    """What was handed over is no log ring."""


class TableFull(ValueError):
    """No more sinks fit: `SINKS`, or the octets of their specifications."""


class _Ring:
    """Both ends: the mapping, which outlives `fd`.  Raises BadRing."""

    def __init__(self, fd: int) -> None:
        try:
            if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & SEALS != SEALS:
                raise BadRing("a log ring that could shrink")
            self._map = mmap.mmap(fd, 0)
        except (OSError, ValueError) as error:
            raise BadRing(f"descriptor {fd} is no log ring: {error}") from None
        if len(self._map) <= DATA:
            raise BadRing(f"a log ring of {len(self._map)} octets")
        self._view = memoryview(self._map)
        self.words = self._view[:HEAD_BYTES].cast("Q")
        self.size = len(self._map) - DATA
        if self.words[MAGIC] != _MAGIC or self.words[LENGTH] != self.size:
            self.close()
            raise BadRing("a memfd that is no log ring")

    def refused(self) -> tuple[int, ...]:
        """Lines refused so far, of each kind of `logrings`."""
        return tuple(self.words[REFUSED : REFUSED + len(logrings.NAMES)])

    def close(self) -> None:
        self.words.release()
        self._view.release()
        self._map.close()


def _crc(line: bytes, sequence: int, sink: int, level: int) -> int:
    return zlib.crc32(line, (sequence + (sink << 24) + (level << 16)) & 0xFFFFFFFF)


class RingWriter(_Ring):
    """The one process that fills the ring.  Its threads may all write.

    bell:  rung when the reader sleeps, or when the ring fills up while it naps; -1: none.
    """

    def __init__(self, fd: int, bell: int = -1) -> None:
        super().__init__(fd)
        words = self.words
        self._head, self._sequence = words[HEAD], words[SEQUENCE]
        self._limits = (*logrings.limits(self.size), -1)  # no room for what is too long
        self._longest = logrings.longest(self.size)
        # One that its own thread may take again: a signal's handler may log at any moment.
        self._lock = RLock()
        self._busy = False
        #: By kind: who waited last did so in vain; a full disk shall not cost every line its time.
        self._hopeless = [False] * len(logrings.NAMES)
        self._bell = Bell(bell) if bell >= 0 else None
        #: False in a process that the application forked: the ring is its parent's.
        self.mine = True
        self._sinks = {spec: number for number, spec in enumerate(_table(self))}

    def sink(self, spec: bytes, access: bool = False) -> int:
        """The number of the sink that `spec` describes, the same each time.

        access:  its lines are those of requests, which are the first to be refused.
        Raises TableFull.
        """
        flag = REQUESTS if access else 0
        with self._lock:
            if spec in self._sinks:
                return self._sinks[spec] | flag
            if self._busy:
                raise TableFull("a signal's handler cannot open a log sink in the middle of a line")
            self._busy = True
            try:
                return self._register(spec) | flag
            finally:
                self._busy = False

    def _register(self, spec: bytes) -> int:
        words = self.words
        number, place = words[TABLED], HEAD_BYTES + words[TABLE_END]
        end = place + _ENTRY.size + len(spec)
        if number >= SINKS or end > DATA:
            raise TableFull(f"{number} log sinks are all that a worker may have")
        self._map[place:end] = _ENTRY.pack(len(spec)) + spec
        words[TABLE_END] = end - HEAD_BYTES
        words[TABLED] = number + 1
        self._sinks[spec] = number
        return number

    def write(self, sink: int, level: int, line: bytes, wait: float = 0.0) -> bool:
        """Take `line`, complete with its end, which from then on cannot be lost.

        level:  as `logging` numbers it.
        wait:   seconds to wait for room (`logrings.patience`), unless a line of its kind has
                waited for nothing since there was any.
        False:  refused, and counted in the ring; nothing of it is written.  In a process
                that the application forked nothing is taken and nothing counted.
        """
        kind = logrings.ACCESS if sink >= REQUESTS else logrings.kind(False, level)
        if not self.mine:
            return False
        if len(line) > self._longest:
            kind, wait = logrings.LONG, 0.0
        lock = self._lock
        lock.acquire()
        if self._busy:
            # A signal's handler that logs, in the middle of a write of its own thread.
            self._count(kind)
            lock.release()
            return False
        self._busy = True
        try:
            taken = self._put(kind, sink, level, line)
            if taken:
                self._hopeless[kind] = False
            elif wait <= 0.0 or self._hopeless[kind]:
                wait = 0.0
                self._count(kind)
        finally:
            self._busy = False
            # An atomic operation and so a fence: the reader that said before our store of
            # HEAD that it sleeps is seen to sleep by the load below.
            lock.release()
        if self._head >= self.words[WAKE_AT] and self._bell is not None:
            self._bell.ring()
        return taken or (wait > 0.0 and self._wait(kind, sink, level, line, wait))

    def unwritten(self) -> None:
        """Count a line that went past the ring, to a file that did not take it."""
        if self.mine:
            with self._lock:
                self._count(logrings.UNWRITTEN)

    def _count(self, kind: int) -> None:
        self.words[REFUSED + kind] = (self.words[REFUSED + kind] + 1) & _WORD

    def ring_bell(self) -> None:
        """Have the reader tell of it, which else looks when a line comes."""
        if self.mine and self._bell is not None:
            self._bell.ring()

    def _put(self, kind: int, sink: int, level: int, line: bytes) -> bool:
        words, head, size = self.words, self._head, self.size
        octets = len(line)
        end = head + 24 + (octets + 7 & -8)
        if end - words[TAIL] > self._limits[kind]:
            return False
        sequence = self._sequence
        # As `_crc`, without a call: 0.1 µs of 1.
        crc = zlib.crc32(line, (sequence + (sink << 24) + (level << 16)) & 0xFFFFFFFF)
        record = _RECORD.pack(sequence, octets, crc, sink, level)
        place = head % size
        room = size - place
        if room >= 24 + octets:
            place += DATA
            self._map[place : place + 24 + octets] = record + line
        else:
            record += line
            self._map[DATA + place :] = record[:room]
            self._map[DATA : DATA + len(record) - room] = record[room:]
        self._sequence = sequence + 1
        self._head = end
        words[SEQUENCE] = sequence + 1
        words[HEAD] = end
        return True

    def _wait(self, kind: int, sink: int, level: int, line: bytes, wait: float) -> bool:
        """Look again until there is room; others may write meanwhile."""
        deadline = time.monotonic() + wait
        while (left := deadline - time.monotonic()) > 0.0:
            if self._bell is not None:
                self._bell.ring()
            time.sleep(min(_LOOK, left))
            if self._head + 31 + len(line) - self.words[TAIL] <= self._limits[kind]:
                break
        taken = self.write(sink, level, line)
        self._hopeless[kind] = not taken
        return taken

    def abandon(self) -> None:
        """In a process that the application forked: the ring is the worker's."""
        self.mine = False
        self._lock = RLock()  # another thread may have held it at the fork


class Record(NamedTuple):
    """access:  it tells of a request.  begin, end:  its positions in the ring."""

    sequence: int
    sink: int
    access: bool
    level: int
    line: bytes
    begin: int
    end: int


class Intent(NamedTuple):
    """What was going to be written: `octets` at `offset` of a file, all up to `cursor`."""

    cursor: int
    device: int
    inode: int
    offset: int
    octets: int


class RingReader(_Ring):
    """The process that empties the ring, or the successor of one that was killed."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        #: Position up to which records were read.
        self.seen = self.words[TAIL]

    def sinks(self) -> list[bytes]:
        """What the writer has registered so far, by number."""
        return list(_table(self))

    def head(self) -> int:
        """Position up to which there are records."""
        return self.words[HEAD]

    def read(self, most: int = 1 << 18) -> list[Record]:
        """The next records, up to about `most` octets of them, each only once.

        Those that their sink has taken already are left out.  Raises BadRing if what
        is there is no record: the memory was overwritten, or (not on x86) is not
        visible yet.
        """
        words, size, place = self.words, self.size, self.seen
        head = words[HEAD]
        if not 0 <= head - place <= size:
            raise BadRing(f"a log ring from {place} to {head}, of {size} octets")
        tabled = min(words[TABLED], SINKS)
        records: list[Record] = []
        until = min(head, place + most)
        while place < until:
            sequence, octets, crc, sink, level = _RECORD.unpack(self._copy(place, _RECORD.size))
            end = place + 24 + (octets + 7 & -8)
            line = self._copy(place + 24, octets) if end <= head else b""
            number, fault = sink & ~REQUESTS, ""
            if len(line) != octets or crc != _crc(line, sequence, sink, level):
                fault = f"no record at {place} of a log ring"
            elif number >= tabled:
                fault = f"a log record for sink {number} of {tabled}"
            elif (cursor := words[_OF_SINKS + _PER_SINK * number + CURSOR]) > head:
                fault = f"a log ring of {head} octets, of which {cursor} are taken"
            if fault:
                if records:
                    break
                raise BadRing(fault)
            if end > cursor:
                access = sink >= REQUESTS
                records.append(Record(sequence, number, access, level, line, place, end))
            place = self.seen = end
        return records

    def _copy(self, position: int, octets: int) -> bytes:
        place = position % self.size
        room = self.size - place
        if octets <= room:
            return self._map[DATA + place : DATA + place + octets]
        return self._map[DATA + place :] + self._map[DATA : DATA + octets - room]

    def skip(self) -> int:
        """Give up what cannot be read.  How many octets that were.

        Our own words may have been overwritten too: beyond what there is they would have all
        lines to come taken for written, and the ring for empty.
        """
        words = self.words
        lost = words[HEAD] - self.seen
        self.seen = words[HEAD]
        for at in (TAIL, *range(_OF_SINKS + CURSOR, _OF_SINKS + _PER_SINK * SINKS, _PER_SINK)):
            words[at] = min(words[at], self.seen)
        words[DAMAGED] = (words[DAMAGED] + 1) & _WORD
        return max(0, lost)

    # --- what a sink has taken ----------------------------------------------------------

    def intend(self, sink: int, intent: Intent) -> None:
        """Say, before it is written, what a file is going to get."""
        words, at = self.words, _OF_SINKS + _PER_SINK * sink
        words[at + DEVICE], words[at + INODE] = intent.device, intent.inode
        words[at + OFFSET], words[at + OCTETS] = intent.offset, intent.octets
        words[at + INTENT] = intent.cursor

    def intent(self, sink: int) -> Intent | None:
        """What was intended, and not said to be taken."""
        words, at = self.words, _OF_SINKS + _PER_SINK * sink
        if words[at + INTENT] <= words[at + CURSOR]:
            return None
        fields = (words[at + it] for it in (INTENT, DEVICE, INODE, OFFSET, OCTETS))
        found = Intent(*fields)
        return found if found.offset + found.octets <= _LONGEST_FILE else None

    def taken(self, sink: int, cursor: int) -> None:
        """Sink `sink` has all records up to `cursor`."""
        self.words[_OF_SINKS + _PER_SINK * sink + CURSOR] = cursor

    def withdraw(self, sink: int) -> None:
        """Nothing of what was intended was written."""
        self.words[_OF_SINKS + _PER_SINK * sink + INTENT] = 0

    def free(self, position: int) -> None:
        """All sinks have what is before `position`: the writer may have its place."""
        if position > self.words[TAIL]:
            self.words[TAIL] = position

    # --- sleep ---------------------------------------------------------------------------

    def sleep(self) -> None:
        """Have the next line ring the bell.  Look at `head` again before sleeping."""
        self.words[WAKE_AT] = 0

    def nap(self) -> None:
        """Have a line ring the bell only once the ring is half full."""
        self.words[WAKE_AT] = min(self.words[TAIL] + self.size // 2, _NEVER)

    def fills_up(self) -> bool:
        """Is there more than `nap` would sleep through?"""
        return self.words[HEAD] >= self.words[WAKE_AT]

    def wake(self) -> None:
        """Nobody need ring."""
        self.words[WAKE_AT] = _NEVER

    # --- what was refused ----------------------------------------------------------------

    def told(self) -> tuple[int, ...]:
        """As much of `refused` as was told of."""
        return tuple(self.words[TOLD : TOLD + len(logrings.NAMES)])

    def tell(self, counts: tuple[int, ...]) -> None:
        """So many were told of."""
        for kind, count in enumerate(counts):
            self.words[TOLD + kind] = count


def _table(ring: _Ring) -> Iterator[bytes]:
    """Raises BadRing."""
    place = HEAD_BYTES
    for _ in range(min(ring.words[TABLED], SINKS)):
        begin = place + _ENTRY.size
        if begin <= DATA:
            (octets,) = _ENTRY.unpack_from(ring._map, place)
            place = begin + octets
        if begin > DATA or place > DATA:
            raise BadRing("a log ring whose table of sinks goes beyond its end")
        yield ring._map[begin:place]
