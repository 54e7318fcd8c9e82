"""Log files that several processes write: what rotates is lost bare, and whole under leeward."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from leeward.testing import serve

APPS = Path(__file__).resolve().parents[1] / "apps"
PROCESSES = 4
#: In all 114 kB, in files of 45 kB of which four are kept: rotated in turn, all are there.
LINES = 500
needs_loguru = pytest.mark.skipif(find_spec("loguru") is None, reason="loguru is not installed")


@dataclass(frozen=True)
class Verdict:
    lost: int
    doubled: int
    torn: int
    files: int
    first: tuple[str, ...] = ()  #: of those that are lost


def judge(folder: Path) -> Verdict:
    """Each line that was written, against each that is there, in whichever file."""
    found: Counter[str] = Counter()
    files = list(folder.iterdir())
    for path in files:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
        found.update(text.splitlines())
    wanted = {
        f"{who}:{number}:{'x' * (20 + number % 60)}."
        for who in range(PROCESSES)
        for number in range(LINES)
    }
    return Verdict(
        lost=len(wanted - found.keys()),
        first=tuple(sorted(wanted - found.keys())[:3]),
        doubled=sum(number - 1 for line, number in found.items() if line in wanted),
        torn=sum(number for line, number in found.items() if line not in wanted),
        files=len(files),
    )


def environment(folder: Path, gate: Path, handler: str, more: dict[str, str]) -> dict[str, str]:
    folder.mkdir(parents=True)
    log = str(folder / "app.log")
    return {"HANDLER": handler, "LOG_FILE": log, "GATE": str(gate), "COUNT": str(LINES), **more}


def loses(tmp_path: Path, handler: str, **more: str) -> int:
    """Lines that the bare program loses, in the first of a few tries that loses any: a race."""
    tries = (bare(tmp_path / str(number), handler, **more).lost for number in range(5))
    return next(filter(None, tries), 0)


def bare(tmp_path: Path, handler: str, **more: str) -> Verdict:
    folder = tmp_path / "bare"
    subprocess.run(
        [sys.executable, str(APPS / "rotates_logs.py")],
        env=os.environ | environment(folder, tmp_path, handler, more),
        stderr=subprocess.DEVNULL,
        timeout=40,
        check=True,
    )
    return judge(folder)


def under_leeward(tmp_path: Path, handler: str, *flags: str, **more: str) -> tuple[Verdict, str]:
    folder, gate = tmp_path / "log", tmp_path / "gate"
    env = environment(folder, gate, handler, more)
    with serve("rotates_logs:make_app", "-w", str(PROCESSES), *flags, cwd=APPS, env=env) as service:
        service.wait_ready()
        gate.touch()
        for who in range(PROCESSES):
            service.wait_line(rf"^written by {who}$")
    return judge(folder), service.log


def place(text: str) -> str:
    """File and number of the application's one line that has this text."""
    lines = (APPS / "rotates_logs.py").read_text(encoding="utf-8").splitlines()
    [number] = [number for number, line in enumerate(lines, 1) if text in line]
    return f"rotates_logs.py:{number};"


def whole(verdict: Verdict) -> bool:
    return (verdict.lost, verdict.doubled, verdict.torn) == (0, 0, 0)


def test_by_size(tmp_path: Path) -> None:
    """RotatingFileHandler: siblings rotate each other's files away; the collector does not."""
    assert loses(tmp_path, "rotating") > 0
    verdict, log = under_leeward(tmp_path, "rotating")
    assert whole(verdict) and verdict.files == 3, verdict
    assert "(RotatingFileHandler): written by the collector, for all workers" in log
    assert "LW150" not in log


def test_by_time(tmp_path: Path) -> None:
    """TimedRotatingFileHandler by the second: up to 3.12 each rotation destroys the last one's."""
    if sys.version_info < (3, 13):
        assert loses(tmp_path, "timed", PAUSE="0.07") > 0
    verdict, log = under_leeward(tmp_path, "timed", PAUSE="0.07")
    assert whole(verdict) and verdict.files >= 2, verdict
    assert "(TimedRotatingFileHandler): written by the collector, for all workers" in log


def test_by_code_of_the_application(tmp_path: Path) -> None:
    """A namer and a rotator that compresses: old files are its own, and whole."""
    assert loses(tmp_path, "gzip") > 0
    verdict, log = under_leeward(tmp_path, "gzip", WHERE="factory")
    assert whole(verdict) and verdict.files == 3, verdict
    assert {it.suffix for it in (tmp_path / "log").iterdir()} == {".log", ".gz"}
    assert "rotated by its own code, in one worker at a time" in log


def test_a_file_that_each_would_empty(tmp_path: Path) -> None:
    """Mode w, made by each worker: nobody empties what a sibling has written."""
    assert loses(tmp_path, "mode-w", WHERE="factory") > 0
    verdict, _ = under_leeward(tmp_path, "mode-w", WHERE="factory")
    assert whole(verdict) and verdict.files == 1, verdict


@needs_loguru
def test_loguru(tmp_path: Path) -> None:
    """A sink with rotation, imported once for all workers."""
    assert loses(tmp_path, "loguru") > 0
    verdict, log = under_leeward(tmp_path, "loguru")
    assert whole(verdict) and verdict.files == 3, verdict
    assert "(loguru): written by the collector, for all workers" in log


@pytest.mark.skipif(find_spec("loguru") is None, reason="loguru is not installed")
def test_loguru_by_its_own_code(tmp_path: Path) -> None:
    """A compression that is a function: old files are its own, and whole."""
    verdict, log = under_leeward(tmp_path, "loguru-own")
    assert whole(verdict) and verdict.files == 3, verdict
    assert {it.suffix for it in (tmp_path / "log").iterdir()} == {".log", ".gz"}
    assert "(loguru): rotated by its own code, in one worker at a time" in log


def test_a_listener_from_before_the_fork(tmp_path: Path) -> None:
    """QueueListener: its thread is in none of the children, and all is lost; here it is seen,
    and each worker imports the application, and starts the listener, for itself."""
    assert bare(tmp_path, "queue").lost == PROCESSES * LINES
    verdict, log = under_leeward(tmp_path, "queue")
    assert whole(verdict), verdict
    assert f"LW103 a QueueListener of logging runs ({place('listener.start()')} " in log


@pytest.mark.parametrize("handler", ["queue", "queue-stopped"])
def test_what_a_listener_has_not_come_to(tmp_path: Path, handler: str) -> None:
    """Written at the end of its worker, whether or not the application stops its listener: the
    interpreter ends without it, at each reload."""
    verdict, _ = under_leeward(tmp_path, handler, WHERE="factory", PAUSE="0")
    assert whole(verdict), verdict


def test_a_file_of_each_workers_own(tmp_path: Path) -> None:
    """--log-files per-worker: app.w0.log to app.w3.log, each rotated by its worker's handler."""
    verdict, log = under_leeward(tmp_path, "rotating", "--log-files", "per-worker")
    assert whole(verdict), verdict
    names = {it.name.removesuffix(".1") for it in (tmp_path / "log").iterdir()}
    assert {f"app.w{slot}.log" for slot in range(PROCESSES)} <= names
    assert "app.w0.log (RotatingFileHandler)" in log


@pytest.mark.parametrize(
    ("handler", "by", "made"),
    [
        ("rotating", "a RotatingFileHandler", "return rotating("),
        ("timed", "a TimedRotatingFileHandler", 'return timed(PATH, when="S"'),
        pytest.param("loguru", "loguru", "logger.add(", marks=needs_loguru),
    ],
)
def test_as_it_is(tmp_path: Path, handler: str, by: str, made: str) -> None:
    """--log-files as-is: each writes for itself, and is told where that was said in the code."""
    _, log = under_leeward(tmp_path, handler, "--log-files", "as-is")
    [told] = [line for line in log.splitlines() if "LW150" in line and " zygote " in line]
    path = tmp_path / "log" / "app.log"
    assert f"LW150 {path} is rotated by {by}, held by " in told and f"({place(made)} " in told
    assert "log file" not in log


def test_as_it_is_lines_are_lost(tmp_path: Path) -> None:
    """As everywhere: it is what LW150 tells of."""
    flags = ("--log-files", "as-is")
    tries = (under_leeward(tmp_path / str(n), "rotating", *flags)[0].lost for n in range(5))
    assert any(tries)  # a race, as in `loses`


def test_what_appends(tmp_path: Path) -> None:
    """FileHandler is right as it is, bare and here, and left alone."""
    assert whole(bare(tmp_path, "plain"))
    verdict, log = under_leeward(tmp_path, "plain")
    assert whole(verdict) and "log file" not in log
