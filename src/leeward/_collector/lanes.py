"""The way of lines from one ring to one sink, batch by batch, each exactly once.

    queue ─ batch ─ intend ─ append ─ taken

`intend` and `taken` are words in the ring (`leeward._sys.ring`), so whoever is killed between
two of them leaves behind where it was; `recover` goes on from there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice

from leeward._collector.streams import Stream
from leeward._sys.ring import Intent, Record, RingReader

#: Seconds until what failed is tried again: a full disk, a reader that stands still.
RETRY = 0.1
#: Lines of a batch at most.
_LINES = 4096
#: A reader is looked at so soon: it may take a pipe's worth at a time.
_SLOW_READER = 0.01


class Lane:
    """One sink of one ring.

    tap:  is given the records that were written; again by the next collector, if this one is
          killed at that moment.
    """

    def __init__(
        self, reader: RingReader, sink: int, stream: Stream, tap: Callable[[list[Record]], None]
    ) -> None:
        self._reader = reader
        self._sink = sink
        self.stream = stream
        self._tap = tap
        self._queue: deque[Record] = deque()
        self._batch: list[Record] = []
        self._rest = b""
        self._place: Intent | None = None
        #: Nothing is tried before; seconds of the monotonic clock.
        self.held_until = 0.0
        #: What it is held by.
        self.error: OSError | None = None

    def put(self, record: Record) -> None:
        self._queue.append(record)

    def begins(self) -> int | None:
        """Position of the first record that was not taken, None if all were."""
        if self._batch:
            return self._batch[0].begin
        return self._queue[0].begin if self._queue else None

    def waiting(self) -> int:
        """Lines that were not taken."""
        return len(self._batch) + len(self._queue)

    def recover(self) -> None:
        """What the collector before had begun: find out what became of it.  Raises OSError.

        Once, when all that the ring holds was put.
        """
        intent = self._reader.intent(self._sink)
        if intent is None:
            return
        begun = [it for it in self._queue if it.end <= intent.cursor]
        data = b"".join(it.line for it in begun)
        if begun and len(data) == intent.octets and self.stream.find(intent, data):
            self._tap(begun)
            self._reader.taken(self._sink, intent.cursor)
            for _ in begun:
                self._queue.popleft()
        else:
            self._reader.withdraw(self._sink)

    def flush(self, now: float) -> bool:
        """Write a batch.  False if there is none, or it cannot be written now."""
        if now < self.held_until:
            return False
        if self.stream.owner not in (None, self):
            return self._hold(now, self.error)
        if not self._batch and not self._next(now):
            return False
        assert self._place is not None
        try:
            sent = self.stream.append(self._rest, self._place)
        except OSError as error:
            if self.stream.owner is None:
                self._undo()
            return self._hold(now, error)
        self._rest = self._rest[sent:]
        if self._rest:
            self.stream.owner = self if sent or self.stream.owner else None
            if self.stream.owner is None:
                self._undo()
            return self._hold(now, None)
        self.stream.owner = None
        # Before they are taken: then a successor of ours would not come by them any more.
        self._tap(self._batch)
        self._reader.taken(self._sink, self._batch[-1].end)
        self._batch, self.error = [], None
        return True

    def _next(self, now: float) -> bool:
        """Make a batch and say what is intended."""
        queue = self._queue
        if not queue:
            return False
        octets, many = len(queue[0].line), 1
        try:
            room = self.stream.room()
        except OSError as error:
            return self._hold(now, error)
        for record in islice(queue, 1, _LINES):
            octets += len(record.line)
            if octets > room:
                octets -= len(record.line)
                break
            many += 1
        try:
            place = self.stream.begin(octets)
        except OSError as error:
            return self._hold(now, error)
        self._batch = [queue.popleft() for _ in range(many)]
        self._rest = b"".join([it.line for it in self._batch])
        self._place = place._replace(cursor=self._batch[-1].end, octets=octets)
        self._reader.intend(self._sink, self._place)
        return True

    def abandon(self) -> None:
        """Nothing is going to be written any more: others may have the stream."""
        if self.stream.owner is self:
            self.stream.owner = None

    def _undo(self) -> None:
        """Nothing of the batch was written."""
        self._reader.withdraw(self._sink)
        self._queue.extendleft(reversed(self._batch))
        self._batch, self._rest, self._place = [], b"", None

    def _hold(self, now: float, error: OSError | None) -> bool:
        self.error = error
        self.held_until = now + (_SLOW_READER if error is None else RETRY)
        return False
