"""Lines longer than PIPE_BUF into a pipe that several processes write to: whole, and bounded."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from leeward._sys import whole

SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 30)))
LINE = re.compile(rb"<(\d+) \d+ (x*)>")

WRITERS = """
import functools, logging, os, random, sys
if sys.argv[1] == "whole":
    from leeward._sys import whole
    # On a busy machine the reader stands still for longer than a line waits.
    whole.room = functools.partial(whole.room, patience=20.0)
    whole.take_stdio()
logging.basicConfig(format="%(message)s")
for who in range(4):
    if os.fork() == 0:
        rng = random.Random(f"{sys.argv[2]} {who}")
        for number in range(250):
            octets = rng.choice([20, 300, 3000, 6000, 20_000, 100_000])
            logging.error("<%d %d %s>", who, number, "x" * octets)
        os._exit(0)
for who in range(4):
    os.wait()
"""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    whole._in_vain.clear()
    yield reader, writer
    for fd in (reader, writer):
        with contextlib.suppress(OSError):
            os.close(fd)


def torn(how: str) -> int:
    """Lines of four processes, read in pieces by somebody who is not fast, that are none."""
    command = [sys.executable, "-c", WRITERS, how, str(SEED)]
    got = bytearray()
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        while piece := os.read(process.stderr.fileno(), 1 << 16):
            got += piece
    lines = bytes(got).splitlines()
    if how == "whole":
        assert len(lines) == 1000
    return sum(not LINE.fullmatch(it) for it in lines)


def test_lines_of_four_processes() -> None:
    """As they are they are torn; in this way none is."""
    print(f"SEED={SEED}")
    assert torn("bare") > 0
    assert torn("whole") == 0


def fill(writer: int, leave: int) -> None:
    """A pipe with room for so many octets, in whole slots."""
    size = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 1 << 20)
    assert os.write(writer, b"." * (size - leave)) == size - leave


def test_no_room_is_waited_for_and_not_for_ever(pipe: tuple[int, int]) -> None:
    fill(pipe[1], 1 << 17)
    with whole.room(pipe[1], 10_000, 0.0) as free:
        assert not free
    begun = time.monotonic()
    with whole.room(pipe[1], 10_000, 0.1) as free:
        assert not free and time.monotonic() - begun >= 0.05
    whole.write(pipe[1], b"x" * 5000)  # in spite of it
    os.read(pipe[0], 1 << 20)
    with whole.room(pipe[1], 10_000, 0.0) as free:
        assert free


def test_who_has_waited_in_vain_does_not_wait_again(pipe: tuple[int, int]) -> None:
    """A worker would stand still for each of its lines; until there was room once."""
    fill(pipe[1], 1 << 17)
    with whole.room(pipe[1], 10_000, 0.01) as free:
        assert not free
    begun = time.monotonic()
    for _ in range(3):
        with whole.room(pipe[1], 10_000, 3600) as free:
            assert not free
    assert time.monotonic() - begun < 60
    os.read(pipe[0], 1 << 20)
    with whole.room(pipe[1], 10_000, 0.0) as free:
        assert free
    fill(pipe[1], 1 << 17)
    begun = time.monotonic()
    with whole.room(pipe[1], 10_000, 0.05) as free:
        assert not free and time.monotonic() - begun >= 0.02


def test_a_line_that_never_fits_is_not_waited_with(pipe: tuple[int, int]) -> None:
    with whole.room(pipe[1], 2 << 20, 3600) as free:
        assert not free


def test_what_is_no_pipe_has_room(tmp_path: Path) -> None:
    with open(tmp_path / "file", "w") as file, whole.room(file.fileno(), 2 << 20, 3600) as free:
        assert free
    with open(os.devnull, "w") as file:
        fd = file.fileno()
    with whole.room(fd, 10_000, 3600) as free:
        assert free  # it is closed, and the write tells


def holder(writer: int) -> tuple[int, int]:
    """A process that has its turn at the pipe, and the end that tells so."""
    told, tells = os.pipe()
    pid = os.fork()
    if pid == 0:
        with whole.room(writer, 10_000):
            os.write(tells, b"!")
            time.sleep(60)
        os._exit(0)
    os.close(tells)
    assert os.read(told, 1) == b"!"
    return pid, told


def test_a_turn_ends_with_the_process_that_is_killed(pipe: tuple[int, int]) -> None:
    """While it stands still nobody else has one, for as long as they have patience."""
    pid, told = holder(pipe[1])
    try:
        with whole.room(pipe[1], 10_000, 0.05) as free:
            assert not free
        assert whole.write(pipe[1], b"short\n") == 6  # they wait for nobody
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(told)
    with whole.room(pipe[1], 10_000, 0.0) as free:
        assert free


def test_who_must_not_wait_comes_again(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at once, or nothing; None once it has waited enough."""
    reader, writer = pipe
    lines = whole.LongLines()
    fill(writer, 1 << 15)
    assert lines.offer(writer, b"x" * 9000) == 0
    monkeypatch.setattr(whole, "PATIENCE", 0.0)
    assert lines.offer(writer, b"x" * 9000) is None
    os.read(reader, 1 << 20)
    assert lines.offer(writer, b"x" * 9000) == 9000
    monkeypatch.undo()
    fill_up(writer)
    assert lines.offer(writer, b"x" * 9000) == 0  # its own patience, from its beginning
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        whole.write(writer, b"x" * 9000)


def fill_up(writer: int) -> None:
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"." * 4096)
    os.set_blocking(writer, True)


def test_kernels_that_cannot_write_without_waiting(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pipes before Linux 6.4."""

    def refuse(*args: object) -> int:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "pwritev", refuse)
    assert whole.LongLines().offer(pipe[1], b"x" * 9000) == 9000


def test_somebody_who_may_have_no_larger_pipe(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What there is has to do: half of it is kept for nobody."""
    monkeypatch.setattr(whole, "SIZES", ())
    size = fcntl.fcntl(pipe[1], fcntl.F_GETPIPE_SZ)
    with whole.room(pipe[1], size // 2, 0.0) as free:
        assert free
    os.write(pipe[1], b"." * (size // 2))
    with whole.room(pipe[1], size // 2, 0.0) as free:
        assert not free


STREAMS = """
import json, sys
from leeward._sys import whole
def told(it):
    return [it.name, it.mode, it.encoding, it.errors, it.newlines, it.line_buffering,
            it.write_through, it.fileno(), it.isatty()]
print("before", end=";")
sys.stderr.isatty = lambda: True
olds = [sys.stdout, sys.stderr]
were = [told(it) for it in olds]
whole.take_stdio()
news = [sys.stdout, sys.stderr]
are = [told(it) for it in news]
if len(sys.argv) > 2:  # python -u: whole lines into a pipe all the same
    were = [was if new is old else [*was[:5], True, False, *was[7:]]
            for was, new, old in zip(were, news, olds)]
assert [sys.__stdout__, sys.__stderr__] == news
same = [new is old for new, old in zip(news, olds)]
print("after")
print(json.dumps([were == are, same, [type(it.buffer.raw).__name__ if hasattr(it.buffer, "raw")
                                      else type(it.buffer).__name__ for it in news]]),
      file=open(sys.argv[1], "w"))
"""


@pytest.mark.parametrize("flags", [(), ("-u",)])
@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_streams_are_as_they_were(tmp_path: Path, kind: str, flags: tuple[str, ...]) -> None:
    """Names, encodings, buffering but for `-u`, what somebody has put on them; files are left."""
    verdict = tmp_path / "verdict"
    path = tmp_path / "out"
    out: int | IO[str] = subprocess.PIPE if kind == "pipe" else path.open("w+")
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, *flags, "-c", STREAMS, str(verdict), *flags],
        env=env,
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
        timeout=20,
    )
    if not isinstance(out, int):
        out.seek(0)
        said = out.read()
        out.close()
    else:
        said = done.stdout
    assert done.returncode == 0, done.stderr
    assert said == "before;after\n"
    ours = "true" if kind == "file" else "false"
    first = "FileIO" if kind == "file" else "Whole"
    assert verdict.read_text() == f'[true, [{ours}, false], ["{first}", "Whole"]]\n'


def test_a_line_and_its_end_are_written_as_one() -> None:
    """With `python -u` too, as images of containers set it: siblings' lines came between."""
    reader, writer = os.pipe2(os.O_DIRECT)  # each write is read by itself
    code = (
        "import sys; from leeward._sys import whole; whole.take_stdio();"
        "print('a', 1); print('b', 2, file=sys.stderr); sys.stdout.buffer.write(b'c');"
        "print('d', end='', flush=True); print('e')"
    )
    done = subprocess.run(
        [sys.executable, "-u", "-c", code], stdout=writer, stderr=writer, timeout=20
    )
    os.close(writer)
    try:
        assert done.returncode == 0
        packets = [os.read(reader, 100) for _ in range(6)]
        assert packets == [b"a 1\n", b"b 2\n", b"c", b"d", b"e\n", b""]
    finally:
        os.close(reader)


def test_nobody_reads_what_was_printed_already() -> None:
    """By a .pth file, say: it is no reason not to start."""
    reader, writer = os.pipe()
    os.close(reader)
    code = (
        "import os, sys; print('early'); from leeward._sys import whole; whole.take_stdio();"
        "print('started', file=sys.stderr); os._exit(0)"
    )
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, stdout=writer, stderr=subprocess.PIPE, timeout=20
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"started\n")


def test_a_fifo_that_somebody_has_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    reading = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    try:
        old = (tmp_path / "fifo").open("a", encoding="latin-1", errors="replace")
        old.write("first ")
        with whole.in_place_of(old) as new:
            assert old.closed and isinstance(new.buffer.raw, whole.Whole)  # type: ignore[attr-defined]
            assert not os.get_inheritable(new.fileno())
            assert (new.encoding, new.errors) == ("latin-1", "replace")
            new.write("ü€\n")
        assert os.read(reading, 100) == b"first \xfc?\n"
        assert os.read(reading, 100) == b""  # nobody has it open any more
    finally:
        os.close(reading)


def test_a_file_stays_itself(tmp_path: Path) -> None:
    with open(tmp_path / "file", "a") as file:
        assert whole.in_place_of(file) is file
    assert isinstance(file, io.TextIOWrapper)
