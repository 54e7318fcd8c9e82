"""This worker's way into its log ring, for whatever writes log lines in the application.

There is none in a process that is no worker, and in what a worker's application forks: the
ring has one writer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import Protocol

from leeward._core import logrings

#: Lines of a signal's handler that wait for the line that it interrupted.
_DEFERRED = 256


class Writer(Protocol):
    """What is needed of `leeward._sys.ring.RingWriter`."""

    @property
    def size(self) -> int: ...

    def sink(self, spec: bytes, access: bool = False) -> int: ...

    def write(self, sink: int, level: int, line: bytes, wait: float = 0.0) -> bool: ...

    def unwritten(self) -> None: ...

    def ring_bell(self) -> None: ...


class Funnel:
    """Lines of all threads, of signal handlers and of finalisers go through it into the ring."""

    def __init__(self, writer: Writer) -> None:
        self.longest = logrings.longest(writer.size)
        #: Counts a line that a file has refused: where it is counted outlives this process.
        self.unwritten, self.ring_bell = writer.unwritten, writer.ring_bell
        self._writer = writer
        self._inside: set[int] = set()
        self._deferred: deque[tuple[int, int, bytes]] = deque()

    def sink(self, spec: bytes) -> int:
        """The number of the sink that `spec` describes.  Raises `ring.TableFull`."""
        return self._writer.sink(spec)

    def put(self, sink: int, level: int, line: bytes) -> bool:
        """Take `line`, whole.  False: there was no room, and the ring has counted it.

        Waits for room up to `logrings.patience(level)`.
        """
        me, inside = get_ident(), self._inside
        if me in inside and len(self._deferred) < _DEFERRED:
            # A signal's handler or a finaliser, in the middle of a line of its own thread.
            self._deferred.append((sink, level, line))
            return True
        inside.add(me)
        try:
            taken = self._writer.write(sink, level, line, logrings.patience(level))
            while self._deferred:
                self._put_deferred()
        finally:
            inside.discard(me)
        if self._deferred:  # of a signal that came after the last look
            self.put(*self._deferred.popleft())
        return taken

    def _put_deferred(self) -> None:
        try:
            sink, level, line = self._deferred.popleft()
        except IndexError:  # another thread was faster
            return
        self._writer.write(sink, level, line, logrings.patience(level))


_make: Callable[[], Writer | None] | None = None
_funnel: Funnel | None = None


def attach(make: Callable[[], Writer | None] | None) -> None:
    """From now on this process has the ring whose writer is `make()`, asked when the first
    line comes; None: it has none.
    """
    global _make, _funnel
    _make, _funnel = make, None


def current() -> Funnel | None:
    global _make, _funnel
    if _funnel is None and _make is not None:
        writer, _make = _make(), None
        if writer is not None:
            _funnel = Funnel(writer)
    return _funnel
