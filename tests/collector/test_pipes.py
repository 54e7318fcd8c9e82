"""Lines longer than PIPE_BUF into a pipe that others write to as well: each in one piece."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import select
from pathlib import Path
from random import Random

import pytest
from collector.harness import ACCEPTED, LINE, Scene

from leeward._collector.captures import Capture, Captures
from leeward._collector.streams import Stream
from leeward._core.captured import PARTIAL, Exact
from leeward._core.sinks import Spec
from leeward._sys import whole

SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 30)))


STRANGER = b"somebody else, who says a little of this and of that\n"


def test_a_stranger_never_comes_in_between(tmp_path: Path) -> None:
    """Who writes all the time, while the reader takes a little and much."""
    print(f"SEED={SEED}")
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    strange = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.set_blocking(reading, True)
    sizes = (50, 9000, 60_000)
    scene = Scene(Spec("file", str(path)), Random(SEED), sizes=sizes, size=1 << 23)
    rng = Random(SEED)
    try:
        writer = scene.write(40)
        scene.end(writer)
        scene.collect()
        got = b""
        while got.count(b">\n") < 40:
            for _ in range(rng.randrange(1, 60)):
                os.write(strange, STRANGER)
            got += os.read(reading, rng.choice((5000, 1 << 16)))
        assert writer.states().count(ACCEPTED) == 40
    finally:
        scene.close()
        os.close(strange)
        os.close(reading)
    lines = got[: got.rindex(b">\n") + 2].splitlines(keepends=True)
    ours = [it for it in lines if it != STRANGER]
    assert all(map(LINE.fullmatch, ours)), [it[:100] for it in ours if not LINE.fullmatch(it)]
    assert len(ours) == 40 < len(lines)


def test_somebody_who_leaves_no_room_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the line goes in pieces, and none of it twice."""
    reading, writing = os.pipe()
    try:
        stream = Stream(writing)
        monkeypatch.setattr(whole, "PATIENCE", 0.0)
        os.set_blocking(writing, False)
        line = b"<" + b"x" * 50_000 + b">\n"
        place, rest, got = stream.begin(len(line)), line, b""
        while rest:
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(writing, b"." * 4096)
            got += os.read(reading, 10_000)
            rest = rest[stream.append(rest, place) :]
        got += os.read(reading, 1 << 21)
        assert got.replace(b".", b"") == line
    finally:
        os.close(reading)
        os.close(writing)


def test_many_short_lines_at_once_are_no_long_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one worker has printed: all that there is room for goes, in whole lines."""
    monkeypatch.setattr(whole, "SIZES", ())  # a pipe that may not be enlarged
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    try:
        stream = Stream(writing)
        data = b"".join(b"%06d %s\n" % (n, b"x" * (n % 190)) for n in range(2000))
        data = data[:70_000] + b"L" * 9000 + b"\n" + data[70_000:]
        rest, got = data, b""
        for _ in range(100):
            sent = stream.append(rest, stream.begin(len(rest)))
            assert sent > 0
            rest = rest[sent:]
            got += os.read(reading, 1 << 20)
            if not rest:
                break
        assert got == data
    finally:
        os.close(reading)
        os.close(writing)


def test_who_waits_for_room_for_a_long_line_sleeps() -> None:
    """The pipe is writable, only not for all of it: that wakes nobody at once."""
    reading, writing = os.pipe()
    printing, printed = os.pipe()
    os.set_blocking(printing, False)
    captures = Captures(lambda level, text: None, lambda slot, level, lines: None)
    try:
        size = fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 1 << 20)
        os.write(writing, b"." * (size - (1 << 17)))
        os.write(printed, b"L" * 9999 + b"\n")
        captures.add(Capture(1, 2, "worker 0", 0, 0, printing, Stream(writing), Exact()))
        for _ in range(5):
            captures.turn(100.0)
        assert captures.left() == 10_000
        assert not select.select([captures.fileno()], [], [], 0)[0]
        os.read(reading, 1 << 20)
        assert captures.turn(101.0) and captures.left() == 0
    finally:
        os.close(printed)
        while not captures.ended():
            captures.turn(102.0)
        for fd in (reading, writing, captures.fileno()):
            os.close(fd)


def test_a_line_waits_for_its_end_from_when_it_began() -> None:
    """Not from when the one before it did, whose end came with its beginning."""
    reading, writing = os.pipe()
    printing, printed = os.pipe()
    for fd in (printing, reading):
        os.set_blocking(fd, False)
    captures = Captures(lambda level, text: None, lambda slot, level, lines: None)
    captures.add(Capture(1, 2, "worker 0", 0, 0, printing, Stream(writing), Exact()))
    try:
        for later, text in ((0.0, b"one"), (0.75, b" line\nanother")):
            os.write(printed, text)
            captures.turn(100.0 + later * PARTIAL)
        captures.turn(100.0 + 1.5 * PARTIAL)
        assert os.read(reading, 100) == b"one line\n"
        assert captures.next_try() == pytest.approx(100.0 + 1.75 * PARTIAL)
        captures.turn(100.0 + 1.8 * PARTIAL)
        assert os.read(reading, 100) == b"another"
    finally:
        os.close(printed)
        while not captures.ended():
            captures.turn(101.0)
        for fd in (reading, writing, captures.fileno()):
            os.close(fd)


def test_no_hole_where_a_file_was_cut_back(tmp_path: Path) -> None:
    """A shell's `> file` does not append: our place in it stays behind the end."""
    with open(tmp_path / "out", "wb", buffering=0) as file:
        stream = Stream(file.fileno())
        for line in (b"first\n", b"x" * 8000 + b"\n"):
            assert stream.append(line, stream.begin(len(line))) == len(line)
        os.truncate(tmp_path / "out", 6)  # a full disk, or logrotate
        assert stream.append(b"again\n", stream.begin(6)) == 6
    assert (tmp_path / "out").read_bytes() == b"first\nagain\n"


@pytest.mark.parametrize("octets", [5000, 50_000, 500_000])
def test_all_or_nothing(octets: int) -> None:
    """Where there is no room for all of a line, nothing of it is written, nor is it waited."""
    reading, writing = os.pipe()
    try:
        stream = Stream(writing)
        place = stream.begin(octets)
        line = b"x" * (octets - 1) + b"\n"
        sent = 0
        while (taken := stream.append(line, place)) == octets:
            sent += octets
        assert taken == 0 and sent > 0
        held = fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ)
        assert sent < held <= 1 << 20
        assert len(os.read(reading, 1 << 21)) == sent
        assert stream.append(line, place) == octets
    finally:
        os.close(reading)
        os.close(writing)
