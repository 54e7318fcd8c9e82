"""leeward.cli.strays: what a dead instance left is ended, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

import leeward
from leeward.cli import strays


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for child in started:
        child.kill()
        child.wait(10)
        assert child.stdout is not None
        child.stdout.close()


def start(
    children: list[subprocess.Popen[bytes]], mark: str, code: str = "pass"
) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(
        [sys.executable, "-c", f"import signal; {code}; print(1, flush=True); signal.pause()"],
        env={**os.environ, "LEEWARD_INSTANCE": mark},
        stdout=subprocess.PIPE,
    )
    children.append(child)
    assert child.stdout is not None
    assert child.stdout.readline() == b"1\n"
    return child


def test_only_those_of_the_dead_supervisor_are_ended(
    children: list[subprocess.Popen[bytes]], capsys: pytest.CaptureFixture[str]
) -> None:
    path = f"/run/leeward/t{os.getpid()}.sock"
    ours = start(children, f"{path}:4711")
    grandchild = start(children, f"{path}:4711:4999")
    others = [start(children, mark) for mark in (f"{path}:47111", "/other.sock:4711", "")]
    strays.end(path, 4711)
    assert ours.wait(5) == -signal.SIGTERM
    assert grandchild.wait(5) == -signal.SIGTERM
    assert [child.poll() for child in others] == [None, None, None]
    said = capsys.readouterr().err
    assert len(said.strip().split("\n")) == 2
    assert f"(pid {ours.pid}), left over from pid 4711" in said


def test_one_that_ignores_term_is_killed_within_the_bound(
    children: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strays, "PATIENCE", 0.1)
    path = f"/run/leeward/t{os.getpid()}.sock"
    deaf = start(children, f"{path}:4711", "signal.signal(15, signal.SIG_IGN)")
    strays.end(path, 4711)
    assert deaf.wait(5) == -signal.SIGKILL


def test_whoever_starts_us_is_spared_even_if_it_is_an_old_child(
    children: list[subprocess.Popen[bytes]],
) -> None:
    path = f"/run/leeward/t{os.getpid()}.sock"
    inner = f"from leeward.cli import strays; strays.end({path!r}, 4711)"
    root = os.path.dirname(os.path.abspath(leeward.__path__[0]))
    code = (
        f"import os, subprocess, sys; os.environ['PYTHONPATH'] = {root!r};"
        f"subprocess.run([sys.executable, '-c', {inner!r}], check=True)"
    )
    restarter = start(children, f"{path}:4711", code)
    assert restarter.poll() is None


def test_a_first_start_has_none() -> None:
    strays.end("/run/leeward/x.sock", 0)
