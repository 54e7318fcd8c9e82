"""Lines longer than PIPE_BUF into a pipe that others write to as well: each in one piece."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
from pathlib import Path
from random import Random

import pytest
from collector.harness import ACCEPTED, LINE, Scene

from leeward._collector.streams import Stream
from leeward._core.sinks import Spec

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


def test_somebody_who_leaves_no_room_ever() -> None:
    """Then the line goes in pieces, and none of it twice."""
    reading, writing = os.pipe()
    try:
        stream = Stream(writing)
        stream.patience = 0.0
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
