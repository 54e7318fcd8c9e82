"""All rings, and where their lines go.  No clock and no sleep of its own: see `main`."""

from __future__ import annotations

import os
from _thread import allocate_lock
from collections.abc import Callable, Mapping

from leeward._collector.datagrams import MessageLane, Socket
from leeward._collector.files import File
from leeward._collector.lanes import Lane
from leeward._collector.shrink import Shrinker
from leeward._collector.streams import Stream
from leeward._collector.terminals import Terminal
from leeward._core import logrings
from leeward._core.record import Struct, field
from leeward._core.sinks import JOURNAL, SYSLOG, BadSpec, Spec
from leeward._sys.ring import BadRing, Record, RingReader

#: How often a record that cannot be read is looked at again, before it is given up: on
#: machines that reorder stores it may not be complete yet.
_LOOKS = 50

Say = Callable[[str, str], None]


class Source(Struct):
    """One ring.

    worker:  as the supervisor numbers it.
    who:     for messages.
    slot:    -1 for the supervisor's own.
    misled:  it was said that a sink's lines go to stderr, as nothing describes it.
    """

    worker: int
    who: str
    slot: int
    reader: RingReader
    ended: bool = False
    lanes: dict[int, Lane] = field(default_factory=dict)
    looks: int = 0
    told: tuple[int, ...] = ()
    misled: bool = False

    def waiting(self) -> int:
        return sum(it.waiting() for it in self.lanes.values())


class Intake:
    """say:    called with (level, text) of what the operator must know.
    quick:  what `terminals.opened` has found.
    """

    def __init__(self, say: Say, quick: Mapping[int, int] | None = None) -> None:
        self._quick = dict(quick or {})
        self.sources: dict[int, Source] = {}
        self.shrinker = Shrinker()
        self._say = say
        self._streams: dict[str, Stream] = {}
        self._decides: dict[str, int] = {}
        self._troubled: dict[str, str] = {}
        self._tell_at = 0.0
        #: By worker: rings that are forgotten, and not told of.
        self._done: list[int] = []
        self._turns = 0
        #: An atomic operation between saying that we sleep and looking once more: see
        #: `RingWriter.write` for the other half.
        self._fence = allocate_lock()
        #: Given (worker, slot, records) of all that was written.
        self.tap: Callable[[int, int, list[Record]], None] = lambda worker, slot, records: None

    # --- rings ---------------------------------------------------------------------------------

    def add(self, worker: int, slot: int, who: str, fd: int) -> None:
        """Take a ring over, from nobody or from a collector that died.  Closes `fd`."""
        try:
            reader = RingReader(fd)
        except BadRing as error:
            self._say("error", f"{who}: {error}")
            self._done.append(worker)
            return
        finally:
            os.close(fd)
        source = self.sources[worker] = Source(worker, who, slot, reader, told=reader.told())
        self._try(source, self._recover)

    def _recover(self, source: Source) -> None:
        """Read all that there is, and find out what a predecessor has written of it."""
        while self._read(source):
            pass
        for sink in range(len(source.reader.sinks())):
            lane = self._lane_of(source, sink)
            try:
                lane.stream.tidy()
                lane.recover()
            except OSError as error:
                self._say("error", f"{lane.stream.name}: cannot be looked at: {error}")
        self._free(source)

    def end(self, worker: int) -> None:
        """Nobody writes into this one any more."""
        if worker in self.sources:
            self.sources[worker].ended = True

    def give_up(self, worker: int) -> bool:
        """Lose what waits of this one, and say how much.  False if it is not here."""
        source = self.sources.get(worker)
        if source is None:
            return False

        def read(source: Source) -> None:
            while self._read(source):
                pass

        if self._try(source, read):
            self._give_up(source, "too much waits for what takes no lines")
        return True

    def drained(self) -> list[int]:
        """Rings without a writer that are empty, or were given up; they are forgotten here.

        Not while files are compressed: whoever takes the ring over tidies up at once.
        """
        if self.shrinker:
            return []
        done = [
            it
            for it in self.sources.values()
            if it.ended and it.reader.seen >= it.reader.head() and not it.waiting()
        ]
        for source in done:
            if self._try(source, self._tell):
                self._forget(source)
        found, self._done = self._done, []
        return found

    def _forget(self, source: Source) -> None:
        del self.sources[source.worker]
        source.reader.close()
        self._done.append(source.worker)

    def _try(self, source: Source, step: Callable[[Source], object]) -> bool:
        """Did it, and has `source` not had to be given up?

        An application may scribble over its ring.  What nothing was prepared for ends that one
        alone: with it would go the lines of all workers, as each successor meets the same.
        """
        try:
            step(source)
        except RecursionError as error:  # what it was given is nested that deep
            self._give_up(source, _why(error))
            return False
        except (MemoryError, OSError, RuntimeError):
            raise  # the machine's want: a successor may have what there was none of
        except Exception as error:
            self._give_up(source, _why(error))
            return False
        return True

    def _give_up(self, source: Source, why: str) -> None:
        lost = source.waiting()
        waiting = f", and {lost} lines that wait" if lost else ""
        text = f"{source.who}: {why}; its log ring is given up: what it logs{waiting} is lost"
        self._say("error", text)
        for lane in source.lanes.values():
            lane.abandon()
        source.reader.wake()  # nobody need ring: its lines are not read any more
        self._forget(source)

    def waiting(self) -> int:
        """Lines that were read and not written."""
        return sum(it.waiting() for it in self.sources.values())

    def wake(self) -> None:
        """Nobody need ring: we are here."""
        for source in self.sources.values():
            source.reader.wake()

    def nap(self) -> bool:
        """Have the bell rung when a ring is half full.  False if one is already."""
        for source in [*self.sources.values()]:
            self._try(source, lambda it: it.reader.nap())
        with self._fence:
            return not any(it.reader.fills_up() for it in self.sources.values())

    def sleep(self) -> bool:
        """Have the bell rung by the next line.  False if there is one already."""
        for source in self.sources.values():
            source.reader.sleep()
        with self._fence:
            return not self.behind()

    def behind(self) -> bool:
        """Is there anything in any ring that was not even read?"""
        return any(it.reader.head() > it.reader.seen for it in self.sources.values())

    # --- a turn --------------------------------------------------------------------------------

    def turn(self, now: float) -> bool:
        """Read and write a little of everything.  Was there anything to do?"""
        moved = False

        def move(source: Source) -> None:
            nonlocal moved
            moved = self._read(source) or moved
            for lane in source.lanes.values():
                if lane.flush(now):
                    moved = True
            self._free(source)

        for source in self._in_order():
            if not self._try(source, move):
                moved = True
        if self.shrinker:
            self.shrinker.step()
            moved = True
        while self.shrinker.errors:
            path, error = self.shrinker.errors.pop()
            self._say("warning", f"{path}: cannot be compressed: {error.strerror}")
        if now >= self._tell_at and self._has_news():
            self._tell_at = now + logrings.TELL_EVERY
            self._tell_troubles()
            for source in [*self.sources.values()]:
                self._try(source, self._tell)
        return moved

    def _in_order(self) -> list[Source]:
        """The supervisor's (slot -1) comes last: it tells of what the workers have done.  Of
        those each is the first in its turn: a sink may have no room for more than one.
        """
        workers = [it for it in self.sources.values() if it.slot >= 0]
        self._turns += 1
        first = self._turns % len(workers) if workers else 0
        others = [it for it in self.sources.values() if it.slot < 0]
        return workers[first:] + workers[:first] + others

    def next_try(self) -> float | None:
        """When a lane that is held, or a telling, is due; None if nothing is."""
        held = [
            it.held_until
            for source in self.sources.values()
            for it in source.lanes.values()
            if it.waiting()
        ]
        if self._has_news():
            held.append(self._tell_at)
        return min(held, default=None)

    def reopen(self) -> None:
        for stream in self._streams.values():
            if stream.owner is None:
                stream.reopen()

    def _read(self, source: Source) -> bool:
        """Did it come any further?"""
        before = source.reader.seen
        try:
            records = source.reader.read()
        except BadRing as error:
            source.looks += 1
            if source.looks < _LOOKS and not source.ended:
                return False
            lost = source.reader.skip()
            self._say("error", f"{source.who}: {error}; {lost} octets of it are lost")
            return True
        source.looks = 0
        for record in records:
            self._lane_of(source, record.sink).put(record)
        return source.reader.seen > before

    def _lane_of(self, source: Source, sink: int) -> Lane:
        lane = source.lanes.get(sink)
        if lane is None:
            lane = source.lanes[sink] = self._lane(source, sink)
        return lane

    def _lane(self, source: Source, sink: int) -> Lane:
        try:
            spec = Spec.from_json(source.reader.sinks()[sink])
        except BadSpec as error:
            if not source.misled:  # a table that was overwritten may have 64 of them
                source.misled = True
                self._say("error", f"{source.who}: {error}; its lines go to stderr")
            spec = Spec("stderr")
        stream = self.stream(spec, source.worker)

        def tap(records: list[Record]) -> None:
            self.tap(source.worker, source.slot, records)

        if isinstance(stream, Socket):
            return MessageLane(source.reader, sink, stream, spec, tap)
        return Lane(source.reader, sink, stream, tap)

    def stream(self, spec: Spec, worker: int) -> Stream:
        """The one of this kind and path: the youngest worker decides how a file is rotated."""
        key = f"{spec.kind}:{spec.path}"
        if key not in self._streams:
            self._streams[key], self._decides[key] = self._make(spec), worker
        stream = self._streams[key]
        if isinstance(stream, File) and worker > self._decides[key]:
            self._decides[key] = worker
            stream.want(spec)
        return stream

    def _make(self, spec: Spec) -> Stream:
        if spec.kind == "file":
            return File(spec, self.shrinker, say=self._say)
        if spec.kind in (SYSLOG, JOURNAL):
            return Socket(spec, self._say)
        fd = 1 if spec.kind == "stdout" else 2
        return Terminal(fd, self._quick[fd]) if fd in self._quick else Stream(fd)

    def _free(self, source: Source) -> None:
        begins = [it.begins() for it in source.lanes.values()]
        source.reader.free(min((it for it in begins if it is not None), default=source.reader.seen))

    # --- telling -------------------------------------------------------------------------------

    def _troubles(self) -> dict[str, str]:
        """What sinks are held by."""
        return {
            lane.stream.name: lane.error.strerror or str(lane.error)
            for source in self.sources.values()
            for lane in source.lanes.values()
            if lane.error is not None
        }

    def _has_news(self) -> bool:
        refused = any(it.told != it.reader.refused() for it in self.sources.values())
        return refused or self._troubles() != self._troubled

    def _tell_troubles(self) -> None:
        """Once what a sink is held by, and once that it goes on."""
        before, self._troubled = self._troubled, self._troubles()
        for name, why in self._troubled.items():
            if before.get(name) != why:
                text = f"{name}: {why}; lines wait, and are refused once their ring is full"
                self._say("error", text)
        for name in before.keys() - self._troubled.keys():
            self._say("info", f"{name}: can be written again")

    def _tell(self, source: Source) -> None:
        refused = source.reader.refused()
        if refused != source.told:
            new = tuple(now - old for now, old in zip(refused, source.told, strict=True))
            source.told = refused
            source.reader.tell(refused)
            self._say("warning", f"{source.who}: {logrings.telling(new)}")


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, BadRing) else f"{type(error).__name__}: {error}"
