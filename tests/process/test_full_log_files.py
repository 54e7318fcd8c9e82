"""The application's own log files on a full disk, and while workers and collectors are killed: what
is not in them was refused, and counted."""

from __future__ import annotations

import errno
import gzip
import os
import re
import signal
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from random import Random

import pytest
from process.support import APPS
from process.test_log_files import collector_of

from leeward._sys import procfs
from leeward.testing import Service, serve

needs_loguru = pytest.mark.skipif(find_spec("loguru") is None, reason="loguru is not installed")
OWN = "rotated by its own code, in one worker at a time"
COLLECTORS = "written by the collector, for all workers"
WORKERS = 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB."""
    where = tmp_path / "disk"
    where.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(where)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    yield where
    subprocess.run(["umount", "--lazy", str(where)], check=True)


def environment(tmp_path: Path, folder: Path, handler: str) -> dict[str, str]:
    (tmp_path / "counted").mkdir()
    return {
        "HANDLER": handler,
        "LOG_FILE": str(folder / "app.log"),
        "GATE": str(tmp_path / "gate"),
        "COUNTED": str(tmp_path / "counted"),
    }


def kill_a_worker(service: Service, rng: Random) -> None:
    mark = service.mark()
    os.kill(rng.choice(service.workers())["pid"], signal.SIGKILL)
    service.wait_line(r"worker=\d .* ready", mark)


def kill_the_collector(service: Service) -> None:
    before = collector_of(service)
    os.kill(before, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while before in procfs.children_of(service.process.pid) or not collector_of(service):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def reckon(folder: Path, counted: Path) -> tuple[int, int]:
    """(lines, missing of them); none is there twice, or in part.

    Of a worker that was killed the last may be there though it was not counted.
    """
    found: Counter[tuple[int, int]] = Counter()
    for path in folder.iterdir():
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
        for line in text.splitlines():
            match = re.fullmatch(r"(\d+):(\d+):(x+)\.", line)
            assert match and len(match[3]) == 20 + int(match[2]) % 80, f"torn: {line!r:.200}"
            found[int(match[1]), int(match[2])] += 1
    assert max(found.values()) == 1, "doubled"
    said = {int(it.name): struct.unpack("<Q", it.read_bytes())[0] for it in counted.iterdir()}
    assert all(number <= said[pid] for pid, number in found), "out of nowhere"
    missing = [(pid, n) for pid, count in said.items() for n in range(count)]
    return len(missing), sum(it not in found for it in missing)


def refused(log: str) -> int:
    return sum(map(int, re.findall(r"(\d+) log lines? refused", log)))


@pytest.mark.parametrize(
    ("handler", "way", "tries"),
    [
        ("subclass", OWN, "lines are refused"),
        pytest.param("loguru-own", OWN, "lines are refused", marks=needs_loguru),
        pytest.param("loguru", COLLECTORS, "lines wait, and are refused", marks=needs_loguru),
    ],
)
def test_a_disk_that_is_full_for_a_while(
    small_disk: Path, tmp_path: Path, handler: str, way: str, tries: str
) -> None:
    """Workers and the collector are killed meanwhile: the count of what was refused is exact, but
    for a line that a killed worker was in the middle of; no line is torn, no traceback said."""
    rng = Random(handler)
    env = environment(tmp_path, small_disk, handler)
    with serve("counts_its_lines:make_app", "-w", str(WORKERS), cwd=APPS, env=env) as service:
        service.wait_line(rf"log file {re.escape(env['LOG_FILE'])} \(\w+\): {way}")
        service.wait_ready(WORKERS)
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"x" * (62 << 20))
        (tmp_path / "gate").touch()
        service.wait_line(f"{os.strerror(errno.ENOSPC)}; {tries}", timeout=60)
        service.wait_line("log lines? refused", timeout=60)
        for _ in range(3):
            kill_a_worker(service, rng)
            kill_the_collector(service)
        service.wait_line("log lines? refused", service.mark())
        mark = service.mark()
        ballast.unlink()
        service.wait_line("can be written again", mark)
        assert service.stop() == 0
    lines, missing = reckon(small_disk, tmp_path / "counted")
    assert lines > 1000 and missing > 0
    assert missing <= refused(service.log) <= missing + 3
    assert "Traceback" not in service.log and "--- Logging error" not in service.log
    assert service.log.count(f"{os.strerror(errno.ENOSPC)}; ") < 40


@needs_loguru
@pytest.mark.parametrize("handler", ["loguru", "loguru-gz"])
def test_kills_in_the_middle_of_loguru_s_rotations(tmp_path: Path, handler: str) -> None:
    """Each line that a sink has accepted is in one of its files, once and whole."""
    rng = Random(handler)
    folder = tmp_path / "log"
    folder.mkdir()
    env = environment(tmp_path, folder, handler)
    with serve("counts_its_lines:make_app", "-w", str(WORKERS), cwd=APPS, env=env) as service:
        service.wait_line(rf"log file .* \(loguru\): {COLLECTORS}")
        service.wait_ready(WORKERS)
        (tmp_path / "gate").touch()
        for _ in range(5):
            kill_a_worker(service, rng)
            kill_the_collector(service)
        assert service.stop() == 0
    lines, missing = reckon(folder, tmp_path / "counted")
    assert (missing, refused(service.log)) == (0, 0)
    assert lines > 1000 and len(list(folder.iterdir())) > 3
