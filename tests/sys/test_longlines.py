"""What is too long for a pipe: which pipes are known, and in which order lines go."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from leeward._sys import funnel, longlines, ring
from leeward._sys.ring import RingReader, RingWriter


@pytest.fixture
def reader() -> Iterator[RingReader]:
    """Of this process's ring."""
    fd = ring.create(1 << 16)
    writer = RingWriter(fd)
    funnel.attach(lambda: writer)
    reader = RingReader(fd)
    yield reader
    funnel.attach(None)
    longlines.forget()
    reader.close()
    writer.close()
    os.close(fd)


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[tuple[int, str]]:
    """Opened, and its path."""
    path = str(tmp_path / "fifo")
    os.mkfifo(path)
    fd = os.open(path, os.O_RDWR)
    yield fd, path
    os.close(fd)


def test_lines_follow_those_that_went_before(reader: RingReader, fifo: tuple[int, str]) -> None:
    """As long as the collector has not written one, what comes next goes that way too."""
    pipe = longlines.of(*fifo)
    assert pipe is not None and longlines.of(fifo[0]) is pipe
    assert not longlines.behind() and not pipe.is_behind()
    for n in range(3):
        assert pipe.put(20, b"line %d\n" % n)
        assert longlines.behind() and pipe.is_behind()
    records = reader.read()
    assert [it.line for it in records] == [b"line 0\n", b"line 1\n", b"line 2\n"]
    reader.taken(0, records[1].end)
    assert pipe.is_behind()
    reader.taken(0, records[2].end)
    assert not pipe.is_behind() and not longlines.behind()


def test_without_a_ring(fifo: tuple[int, str]) -> None:
    """In what a worker forks, and before: nothing is taken."""
    try:
        pipe = longlines.of(*fifo)
        assert pipe is not None and not pipe.put(20, b"line\n") and not pipe.is_behind()
    finally:
        longlines.forget()


def test_what_no_ring_takes(reader: RingReader, fifo: tuple[int, str]) -> None:
    pipe = longlines.of(*fifo)
    assert pipe is not None
    assert not pipe.put(20, b"x" * 100_000) and not longlines.behind()
    while pipe.put(20, b"x" * 5000, wait=0.0) and not sum(reader.refused()):
        pass
    assert sum(reader.refused()) == 1


def test_only_what_the_collector_can_open(tmp_path: Path) -> None:
    """A file is none, nor is a pipe without a name that is not of the whole instance."""
    try:
        reading, writing = os.pipe()
        assert longlines.of(writing) is None and longlines.of(writing, str(tmp_path)) is None
        longlines.watch(os.getpid())
        assert longlines.of(writing) is None
        os.close(reading)
        os.close(writing)
        assert longlines.of(writing) is None and longlines.identity(writing) is None
        with open(tmp_path / "file", "wb") as file:
            assert longlines.of(file.fileno(), file.name) is None
    finally:
        longlines.forget()


def test_pieces_of_whole_lines() -> None:
    lines = [b"a" * 3000 + b"\n", b"b" * 1000 + b"\n", b"c\n", b"d" * 9000 + b"\n", b"e\n", b"f"]
    made = longlines.pieces(b"".join(lines))
    assert made == [lines[0] + lines[1] + lines[2], lines[3], lines[4] + lines[5]]
    assert longlines.pieces(b"") == []
