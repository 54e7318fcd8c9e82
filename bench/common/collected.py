"""Log rings for this process or its children, and the real collector that empties them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from leeward._collector import main as collector
from leeward._core import collector_messages as c
from leeward._core import messages as m
from leeward._core.config import Config
from leeward._sys import rings
from leeward._sys.bell import Bell
from leeward._sys.channel import Channel
from leeward._sys.ring import RingReader, RingWriter


class Collected:
    """writer:  of the ring with that number, for one process.
    end:     waits until all is written; how many lines the rings have refused.
    """

    def __init__(self, fds: list[int], bell: Bell, finish: Callable[[], None]) -> None:
        self._fds, self._bell, self._finish = fds, bell, finish

    def writer(self, number: int = 0) -> RingWriter:
        return RingWriter(self._fds[number], self._bell.fd)

    def end(self) -> int:
        self._finish()
        return sum(sum(RingReader(fd).refused()) for fd in self._fds)


@contextlib.contextmanager
def collected(writers: int = 1) -> Iterator[Collected]:
    bell = Bell()
    ours, theirs = Channel.pair()
    fds = [rings.create() for _ in range(writers)]
    pid = os.fork()
    if not pid:
        ours.close()
        collector.run(theirs.detach())
    theirs.close()
    ours.send(c.Collect(Config("bench").to_json(), m.Descriptor(bell.fd), writers))
    for number, fd in enumerate(fds):
        ours.send(c.Ring(number + 1, number, 1, m.Descriptor(fd)))

    def finish() -> None:
        ours.send(c.Finish(30.0))
        os.waitpid(pid, 0)

    yield Collected(fds, bell, finish)
    ours.close()
    bell.close()
    for fd in fds:
        os.close(fd)
