"""Accepted lines are written, exactly once and whole, whoever is killed and whenever.

SOAK_LOGS=1000 is the long form (`make soak`): so many kills, half of them of writers and half
of collectors, and a disk that is full for 10 s.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from collector.harness import ACCEPTED, LINE, Scene, old_files

from leeward._core import collector_messages as c
from leeward._core.sinks import Spec

KILLS = int(os.environ.get("SOAK_LOGS", "80"))
#: Octets of log files; above that the oldest are looked at and removed.
MOST_OCTETS = 100_000_000
#: Seconds for which a disk is full.
FULL = 10.0 if "SOAK_LOGS" in os.environ else 1.5
SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 30)))

pytestmark = pytest.mark.timeout(180 + 2 * KILLS)


@pytest.fixture
def scenes() -> Iterator[Callable[..., Scene]]:
    print(f"SEED={SEED}")
    made: list[Scene] = []

    def make(spec: Spec, **settings: object) -> Scene:
        made.append(Scene(spec, Random(SEED), **settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for it in made:
        it.close()


def pause(rng: Random, most: float) -> None:
    """The moment of the next kill; there is no event to wait for."""
    time.sleep(rng.random() * most)


def octets(directory: Path) -> int:
    """Of all its files; the collector renames and removes them meanwhile."""
    total = 0
    for it in directory.iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += it.stat().st_size
    return total


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("begun", [False, True], ids=["numbers", "begun"])
def test_kills_of_writers_and_collectors_in_the_middle_of_rotation(
    tmp_path: Path, scenes: Callable[..., Scene], compress: bool, begun: bool
) -> None:
    """Four writers in bursts at full rate, lines of 30 octets to 150 kB, files of 1 MB; old files
    are called by numbers, or as loguru does.

    An eighth of all kills are those of collectors, an eighth those of writers; the others are
    the test's other forms.
    """
    path = tmp_path / "app.log"
    spec = Spec("file", str(path), rotate_bytes=1_000_000, compress=compress, begun=begun)
    sizes = (*(20, 60, 100, 250, 1000, 4000) * 8, 20_000, 150_000)
    scene = scenes(spec, sizes=sizes, bursts=True)
    scene.collect()
    alive = [scene.write() for _ in range(4)]
    rng = scene.rng
    killed = 0

    def kill_a_writer() -> None:
        scene.kill(alive.pop(rng.randrange(len(alive))))
        alive.append(scene.write())

    for _ in range(KILLS // 8):
        # While a collector works, and while there is none.
        before = rng.random() < 0.5
        pause(rng, 0.05)
        if before:
            kill_a_writer()
            pause(rng, 0.02)
        scene.kill_collector()
        pause(rng, 0.01)
        if not before:
            kill_a_writer()
        killed += 1
        if octets(tmp_path) > MOST_OCTETS:
            scene.take_oldest(5)
        scene.collect()
    for it in alive:
        scene.kill(it)
    scene.wait_drained()
    scene.finish()
    accepted, refused = scene.check()
    print(f"{accepted} lines accepted, {refused} refused,", end=" ")
    print(f"{scene.kills} collectors and {killed} writers killed in the midst")
    assert scene.kills == killed == KILLS // 8
    assert accepted > 10 * KILLS
    # In the short form a busy machine keeps the collector from its core for a good part of it.
    assert accepted > (2 if KILLS >= 1000 else 0.5) * refused, "that was a test of refusals"
    assert len(list(tmp_path.iterdir())) > 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    where = tmp_path / "disk"
    where.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(where)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    yield where
    subprocess.run(["umount", "--lazy", str(where)], check=True)


def fill(ballast: Path) -> None:
    """Take every page that is left."""
    with open(ballast, "ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass


def test_a_disk_that_is_full_for_a_while(small_disk: Path, scenes: Callable[..., Scene]) -> None:
    """Lines wait, then are refused and counted; what was accepted is there afterwards.

    Not a page is left meanwhile, files of 50 kB rotate before and after it, and collectors and
    writers are killed in the middle of the trouble.
    """
    path = small_disk / "app.log"
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 600_000)
    spec = Spec("file", str(path), rotate_bytes=50_000)
    scene = scenes(spec, size=1 << 16, sizes=(20, 100, 1000, 5000), bursts=True)
    scene.collect()
    alive = [scene.write() for _ in range(2)]
    words = os.strerror(errno.ENOSPC)
    scene.wait_complaint(words)
    scene.wait_complaint("refused by a full ring")
    fill(ballast)
    before = [it.name for it in old_files(path)]
    began, kills = time.monotonic(), 0
    while time.monotonic() - began < FULL:
        assert os.statvfs(small_disk).f_bavail == 0
        scene.kill_collector()
        if kills < 3:  # their rings stay until there is room, and each needs 64 KiB of it
            scene.kill(alive.pop(0))
            alive.append(scene.write())
        kills += 1
        scene.complaints.clear()
        scene.collect()
        scene.wait_complaint(words)
        scene.wait_complaint("refused by a full ring")
        fill(ballast)  # what a writer or a collector has given back
    full = time.monotonic() - began
    assert [it.name for it in old_files(path)] == before, "it rotates though nothing is written"
    for it in alive:
        scene.kill(it)
    ballast.unlink()
    scene.wait_drained()
    scene.wait_complaint("can be written again")
    scene.finish()
    accepted, refused = scene.check()
    print(f"{accepted} lines accepted, {refused} refused, full for {full:.1f} s, {kills} kills")
    assert accepted > 100 and refused > 0
    assert len(old_files(path)) > len(before) > 2


def test_a_write_that_is_cut_short(tmp_path: Path, scenes: Callable[..., Scene]) -> None:
    """The kernel takes half a batch: that half is taken back, and written whole later."""
    limit = 100_000
    scene = scenes(Spec("file", str(tmp_path / "app.log")), sizes=(700,))
    scene.first = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    scene.end(scene.write(500))
    scene.collect()
    scene.wait_complaint(os.strerror(errno.EFBIG))
    data = (tmp_path / "app.log").read_bytes()
    assert len(data) <= limit and (not data or data.endswith(b">\n"))
    infinity = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(scene.collector, resource.RLIMIT_FSIZE, infinity)
    scene.wait_drained()
    scene.finish()
    assert scene.check() == (500, 0)


def test_dev_full(scenes: Callable[..., Scene]) -> None:
    """It never takes anything: everything is kept until the ring is full, then counted."""
    scene = scenes(Spec("file", "/dev/full"), size=1 << 16)
    scene.collect()
    it = scene.write(5000)
    scene.wait_complaint(os.strerror(errno.ENOSPC))
    scene.end(it)
    scene.wait_complaint("refused by a full ring")
    scene.finish(0.2)
    states = it.states()
    assert len(states) == 5000
    accepted = states.count(ACCEPTED)
    assert 0 < accepted < 5000
    assert sum(it.reader.refused()) == 5000 - accepted
    assert f"{accepted} log lines could not be written" in scene.complaints


def test_a_reader_that_is_slow(tmp_path: Path, scenes: Callable[..., Scene]) -> None:
    """A pipe with a name: nothing is lost or torn, and the collector sleeps meanwhile."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    scene = scenes(Spec("file", str(path)), sizes=(100, 3000, 20_000))
    scene.collect()
    it = scene.write(300)
    scene.wait_complaint(os.strerror(errno.ENXIO))  # nobody has opened it
    got = b""
    with open(path, "rb", buffering=0) as pipe:
        while got.count(b"\n") < 20:
            got += pipe.read(1000)
        scene.end(it)
        kept = it.states().count(ACCEPTED)
        while got.count(b"\n") < kept:
            got += pipe.read(1 << 16)
        scene.wait_drained()
    lines = got.splitlines(keepends=True)
    assert len(lines) == kept and all(map(LINE.fullmatch, lines))
    scene.finish()


def test_somebody_else_writes_to_the_file(tmp_path: Path, scenes: Callable[..., Scene]) -> None:
    """A shell that appends, and logrotate that renames: nothing is lost, whoever dies."""
    path = tmp_path / "app.log"
    scene = scenes(Spec("file", str(path)), sizes=(100,))
    scene.collect()
    alive = [scene.write(4000) for _ in range(2)]
    for n in range(6):
        pause(scene.rng, 0.02)
        with open(path, "ab") as file:
            file.write(b"somebody else\n")
        if n % 2:
            os.rename(path, f"{path}.{9 - n}")
        scene.kill_collector()
        scene.collect()
    for it in alive:
        scene.end(it)
    scene.wait_drained()
    scene.finish()
    for old in tmp_path.iterdir():
        old.write_bytes(old.read_bytes().replace(b"somebody else\n", b""))
    accepted, refused = scene.check()
    assert accepted + refused == 8000


def test_it_sleeps_when_nothing_comes(tmp_path: Path, scenes: Callable[..., Scene]) -> None:
    """Not one turn while nobody writes, and awake at the first line."""
    scene = scenes(Spec("file", str(tmp_path / "app.log")))
    scene.collect()
    scene.end(scene.write(10))
    scene.wait_drained()
    quiet = scene.write(0)  # alive, as it were: its ring stays
    os.waitpid(quiet.pid, 0)
    quiet.alive = False
    before = switches(scene.collector)
    time.sleep(0.5)
    assert switches(scene.collector) - before <= 1  # it may have been on its way to sleep
    late = scene.write(1)
    scene.end(late)
    scene.tell(c.RingEnds(quiet.number))
    scene.wait_drained()
    scene.finish()
    assert scene.check() == (11, 0)


def switches(pid: int) -> int:
    """How often a process has gone to sleep."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("\nvoluntary_ctxt_switches:")[1].split()[0])
