"""Many write, one ring: threads, signal handlers, and processes that were forked."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from leeward._sys import funnel, ring


@pytest.fixture
def pair() -> Iterator[tuple[ring.RingWriter, ring.RingReader]]:
    fd = ring.create(1 << 16)
    writer, reader = ring.RingWriter(fd), ring.RingReader(fd)
    os.close(fd)
    yield writer, reader
    funnel.attach(None)
    writer.close()
    reader.close()


class Interrupted:
    """A writer in whose middle somebody logs through the same funnel: a signal's handler."""

    def __init__(self, writer: ring.RingWriter, lines: int) -> None:
        self.size = writer.size
        self.sink = writer.sink
        self.unwritten, self.ring_bell = writer.unwritten, writer.ring_bell
        self.writer = writer
        self.lines = lines
        self.funnel: funnel.Funnel

    def write(self, sink: int, level: int, line: bytes, wait: float = 0.0) -> bool:
        with self.writer._lock:  # as the interrupted write holds it
            lines, self.lines = self.lines, 0
            for number in range(lines):
                assert self.funnel.put(sink, level, b"inner %d\n" % number)
        return self.writer.write(sink, level, line, wait)


def test_a_line_within_a_line_is_kept_for_after_it(
    pair: tuple[ring.RingWriter, ring.RingReader],
) -> None:
    """Neither a deadlock nor a loss, however many the handler says."""
    writer, reader = pair
    interrupted = Interrupted(writer, 200)
    it = interrupted.funnel = funnel.Funnel(interrupted)
    assert it.put(it.sink(b"{}"), 20, b"outer\n")
    assert [record.line for record in reader.read()] == [
        b"outer\n",
        *(b"inner %d\n" % number for number in range(200)),
    ]
    assert sum(writer.refused()) == 0


def test_a_storm_of_signals_loses_nothing(
    pair: tuple[ring.RingWriter, ring.RingReader],
) -> None:
    """A handler that logs, interrupting a thread that logs at any of its instructions."""
    writer, reader = pair
    it = funnel.Funnel(writer)
    sink = it.sink(b"{}")
    told: list[bytes] = []

    def handler(signum: int, frame: object) -> None:
        line = b"signal %d\n" % len(told)
        told.append(line)
        it.put(sink, 20, line)

    before = signal.signal(signal.SIGPROF, handler)
    signal.setitimer(signal.ITIMER_PROF, 0.0005, 0.0005)
    lines: list[bytes] = []
    lines_read: list[bytes] = []
    try:
        for number in range(6000):
            line = b"line %d\n" % number
            lines.append(line)
            assert it.put(sink, 20, line)
            if number % 200 == 0:
                lines_read += [record.line for record in reader.read()]
                reader.free(reader.seen)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    lines_read += [record.line for record in reader.read()]
    assert sorted(lines_read) == sorted(lines + told)


def test_threads_share_it(pair: tuple[ring.RingWriter, ring.RingReader]) -> None:
    """Each thread's lines come whole and in its order."""
    writer, reader = pair
    it = funnel.Funnel(writer)
    sink = it.sink(b"{}")

    def work(name: int) -> None:
        for number in range(200):
            assert it.put(sink, 20, b"%d %d\n" % (name, number))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    got = [tuple(map(int, record.line.split())) for record in reader.read()]
    for name in range(4):
        assert [number for who, number in got if who == name] == list(range(200))


def test_the_ring_is_asked_for_when_the_first_line_comes(
    pair: tuple[ring.RingWriter, ring.RingReader],
) -> None:
    """And once; a process without one has none."""
    asked: list[int] = []

    def make() -> ring.RingWriter:
        asked.append(1)
        return pair[0]

    funnel.attach(make)
    assert asked == []
    assert funnel.current() is funnel.current() is not None
    assert asked == [1]
    funnel.attach(lambda: None)
    assert funnel.current() is None
    funnel.attach(None)
    assert funnel.current() is None
