"""The page that the supervisor and its workers share: numbers, one writer per word.

A memfd of a head and `ROWS` rows, each of 256 bytes (cache lines of their own, so that
neighbours do not disturb each other: adjacent lines are fetched in pairs), and a table of jobs.
The supervisor writes the head, a worker its own row, everybody may read all; an aligned 8-byte
store is never torn on the machines that Linux runs Python on, so there is no lock.

What an increment costs (x86-64, Python 3.11, 3.12, 3.13; ns, loop deducted):
``row.requests += 1`` 85, 86, 92; ``row.add_requests()`` 52, 56, 67;
``words[REQUESTS] += 1`` on a local `row.words` 36, 41, 43.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import sys

from leeward._sys.posix import memfd_create

ROWS = 1024
ROW_BYTES = 256
#: Behind the rows, a table of periodic jobs (`leeward._sys.schedule`).
JOBS_BYTES = 8 * ROW_BYTES
JOBS_AT = (1 + ROWS) * ROW_BYTES
PAGE_BYTES = JOBS_AT + JOBS_BYTES
_WORDS = ROW_BYTES // 8
#: Nobody may shrink the file: reading a page that has gone is SIGBUS, in the supervisor too.
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW

# Places of the words in a row.
PID, SLOT, GENERATION, OPEN, ACCEPTED, REQUESTS, IN_FLIGHT, BUSY_SINCE, TURNS, BEATS = range(10)
NEW, UPGRADED, CLOSING = range(10, 13)
ACCEPTS, WOKEN, BRIEF, EVICTED, SHED = range(13, 18)
PING_NO_ANSWER, PING_RESET, PING_DEAF, STUBBORN, IN_THREADS = range(18, 23)
REFUSED = 23
# And in the head.
AWAKE, USED = range(2)
# What ACCEPTS says: not (starting, draining, aside, gone), yes, or not while it is full.
OUT, TAKES, FULL = range(3)


class Row:
    """One worker's numbers.  Each is an integer from 0 to 2**64 - 1."""

    __slots__ = ("words",)

    def __init__(self, words: memoryview[int]) -> None:
        #: For the hottest paths: `words[REQUESTS] += 1`.
        self.words = words

    @property
    def pid(self) -> int:
        return self.words[PID]

    @pid.setter
    def pid(self, value: int) -> None:
        self.words[PID] = value

    @property
    def slot(self) -> int:
        return self.words[SLOT]

    @slot.setter
    def slot(self, value: int) -> None:
        self.words[SLOT] = value

    @property
    def generation(self) -> int:
        return self.words[GENERATION]

    @generation.setter
    def generation(self, value: int) -> None:
        self.words[GENERATION] = value

    @property
    def open(self) -> int:
        """Connections that are open now."""
        return self.words[OPEN]

    @open.setter
    def open(self, value: int) -> None:
        self.words[OPEN] = value

    @property
    def accepted(self) -> int:
        """Connections accepted since the worker started."""
        return self.words[ACCEPTED]

    @accepted.setter
    def accepted(self, value: int) -> None:
        self.words[ACCEPTED] = value

    @property
    def requests(self) -> int:
        """Requests begun since the worker started."""
        return self.words[REQUESTS]

    @requests.setter
    def requests(self, value: int) -> None:
        self.words[REQUESTS] = value

    @property
    def in_flight(self) -> int:
        """Requests begun and not finished."""
        return self.words[IN_FLIGHT]

    @in_flight.setter
    def in_flight(self, value: int) -> None:
        self.words[IN_FLIGHT] = value

    @property
    def busy_since(self) -> int:
        """When the loop woke (monotonic, ns) to the turn that it is in; 0 while it sleeps."""
        return self.words[BUSY_SINCE]

    @busy_since.setter
    def busy_since(self, value: int) -> None:
        self.words[BUSY_SINCE] = value

    @property
    def turns(self) -> int:
        """Turns, or beats, of the loop since the worker started."""
        return self.words[TURNS]

    @turns.setter
    def turns(self, value: int) -> None:
        self.words[TURNS] = value

    @property
    def beats(self) -> int:
        """1 if a timer of the loop writes the two above, and not the loop's own turn."""
        return self.words[BEATS]

    @beats.setter
    def beats(self, value: int) -> None:
        self.words[BEATS] = value

    @property
    def new(self) -> int:
        """Connections that have not sent a byte."""
        return self.words[NEW]

    @new.setter
    def new(self, value: int) -> None:
        self.words[NEW] = value

    @property
    def upgraded(self) -> int:
        """Connections that the application has taken over: WebSockets."""
        return self.words[UPGRADED]

    @upgraded.setter
    def upgraded(self, value: int) -> None:
        self.words[UPGRADED] = value

    @property
    def closing(self) -> int:
        """Connections that we have ended, and whose last bytes are on their way."""
        return self.words[CLOSING]

    @closing.setter
    def closing(self, value: int) -> None:
        self.words[CLOSING] = value

    @property
    def idle(self) -> int:
        """Connections between two requests: what the others leave of those that are open.

        Reckoned, and so for a moment wrong while a worker changes several of the others.
        """
        words = self.words
        others = words[NEW] + words[IN_FLIGHT] + words[UPGRADED] + words[CLOSING]
        return max(0, words[OPEN] - others)

    @property
    def accepts(self) -> int:
        """`OUT`, `TAKES` or `FULL`.  Of a dead worker the supervisor says `OUT`."""
        return self.words[ACCEPTS]

    @accepts.setter
    def accepts(self, value: int) -> None:
        self.words[ACCEPTS] = value

    @property
    def woken(self) -> int:
        """How often a listener has woken it."""
        return self.words[WOKEN]

    @woken.setter
    def woken(self, value: int) -> None:
        self.words[WOKEN] = value

    @property
    def brief(self) -> int:
        """Connections that ended soon (`leeward._core.admission.BRIEF`)."""
        return self.words[BRIEF]

    @brief.setter
    def brief(self, value: int) -> None:
        self.words[BRIEF] = value

    @property
    def evicted(self) -> int:
        """Connections closed to make room for others."""
        return self.words[EVICTED]

    @evicted.setter
    def evicted(self, value: int) -> None:
        self.words[EVICTED] = value

    @property
    def shed(self) -> int:
        """Clients and requests that were refused because there were too many."""
        return self.words[SHED]

    @shed.setter
    def shed(self, value: int) -> None:
        self.words[SHED] = value

    @property
    def ping_no_answer(self) -> int:
        """WebSocket peers lost as they did not answer a ping."""
        return self.words[PING_NO_ANSWER]

    @ping_no_answer.setter
    def ping_no_answer(self, value: int) -> None:
        self.words[PING_NO_ANSWER] = value

    @property
    def ping_reset(self) -> int:
        """WebSocket peers lost as they reset the connection when they were asked."""
        return self.words[PING_RESET]

    @ping_reset.setter
    def ping_reset(self, value: int) -> None:
        self.words[PING_RESET] = value

    @property
    def ping_deaf(self) -> int:
        """WebSocket peers that have never answered a ping; they stay."""
        return self.words[PING_DEAF]

    @ping_deaf.setter
    def ping_deaf(self, value: int) -> None:
        self.words[PING_DEAF] = value

    @property
    def stubborn(self) -> int:
        """Orphans that were told to end as often as any is, and are not any more."""
        return self.words[STUBBORN]

    @stubborn.setter
    def stubborn(self, value: int) -> None:
        self.words[STUBBORN] = value

    @property
    def in_threads(self) -> int:
        """Orphans that were ended while work of theirs went on in a thread."""
        return self.words[IN_THREADS]

    @in_threads.setter
    def in_threads(self, value: int) -> None:
        self.words[IN_THREADS] = value

    @property
    def refused(self) -> int:
        """Requests that were refused by a rule of `leeward.engine.rules`."""
        return self.words[REFUSED]

    @refused.setter
    def refused(self, value: int) -> None:
        self.words[REFUSED] = value

    def add_open(self, by: int = 1) -> None:
        self.words[OPEN] += by

    def add_accepted(self, by: int = 1) -> None:
        self.words[ACCEPTED] += by

    def add_requests(self, by: int = 1) -> None:
        self.words[REQUESTS] += by

    def add_in_flight(self, by: int = 1) -> None:
        self.words[IN_FLIGHT] += by

    def clear(self) -> None:
        """All words 0, before another worker gets the row."""
        for place in range(_WORDS):
            self.words[place] = 0


class Page:
    """The whole page; owns the descriptor `fd` until `close()`."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        if sys.version_info >= (3, 13):
            self._map = mmap.mmap(fd, PAGE_BYTES, trackfd=False)
        else:
            self._map = mmap.mmap(fd, PAGE_BYTES)  # holds a second descriptor of its own
        self._words = memoryview(self._map).cast("Q")
        self._rows: dict[int, Row] = {}
        #: For the hottest path: `head[AWAKE]`.
        self.head = self._words[:_WORDS]
        #: Of the jobs; written under a lock.
        self.jobs = self._words[JOBS_AT // 8 :]

    @property
    def awake(self) -> int:
        """Does the supervisor look at the rows by itself?  0: it sleeps, and wants to be woken."""
        return self.head[AWAKE]

    @awake.setter
    def awake(self, value: int) -> None:
        self.head[AWAKE] = value

    @property
    def used(self) -> int:
        """Rows that were ever given to a worker: the first so many."""
        return self.head[USED]

    @used.setter
    def used(self, value: int) -> None:
        self.head[USED] = value

    @classmethod
    def create(cls) -> Page:
        """A new page, all zeros.  Raises OSError."""
        fd = memfd_create("leeward-page")
        try:
            os.truncate(fd, PAGE_BYTES)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
            return cls(fd)
        except BaseException:
            os.close(fd)
            raise

    @classmethod
    def attach(cls, fd: int) -> Page:
        """The page behind `fd`, which belongs to the new `Page` from now on.

        Raises OSError or ValueError for a descriptor that is no page, and then
        leaves it to the caller.
        """
        if (
            os.fstat(fd).st_size != PAGE_BYTES
            or fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SEALS != _SEALS
        ):
            raise ValueError(f"descriptor {fd} is no page of {PAGE_BYTES} sealed bytes")
        os.set_inheritable(fd, False)
        return cls(fd)

    def row(self, index: int) -> Row:
        """Row `index`, always the same object.  Raises IndexError."""
        row = self._rows.get(index)
        if row is None:
            if not 0 <= index < ROWS:
                raise IndexError(f"row {index} of a page of {ROWS}")
            start = (1 + index) * _WORDS
            row = self._rows[index] = Row(self._words[start : start + _WORDS])
        return row

    def close(self) -> None:
        """Unmap and close; the rows that were handed out raise ValueError from now on."""
        if self.fd < 0:
            return
        for row in self._rows.values():
            row.words.release()
        self.head.release()
        self.jobs.release()
        self._words.release()
        self._map.close()
        os.close(self.fd)
        self.fd = -1
