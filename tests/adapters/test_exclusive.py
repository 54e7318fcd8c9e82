"""One process at a time in a directory of log files."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from pathlib import Path

import pytest

from leeward.adapters.logfiles import exclusive


def child_that_holds(path: str) -> tuple[int, int]:
    """(pid, descriptor that ends when it does): it has the directory of `path` for itself."""
    told, ours = os.pipe()
    pid = os.fork()
    if pid == 0:
        with exclusive.directory(path).alone():
            os.write(ours, b"!")
            signal.pause()
    os.close(ours)
    assert os.read(told, 1) == b"!"
    return pid, told


def end(pid: int, told: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(told)


def test_who_is_killed_lets_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is left behind in the directory."""
    monkeypatch.setattr(exclusive, "PATIENCE", 0.02)
    path = str(tmp_path / "app.log")
    pid, told = child_that_holds(path)
    with exclusive.directory(path).alone() as mine:
        assert not mine
    end(pid, told)
    with exclusive.directory(path).alone() as mine:
        assert mine
    assert list(tmp_path.iterdir()) == []


def test_who_is_stopped_is_waited_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second record finds out at once that it is not to be had."""
    monkeypatch.setattr(exclusive, "PATIENCE", 0.05)
    path = str(tmp_path / "app.log")
    pid, told = child_that_holds(path)
    kept = exclusive.directory(path)
    with kept.alone() as mine:
        assert not mine
    monkeypatch.setattr(exclusive, "PATIENCE", 60.0)
    began = time.monotonic()
    for _ in range(3):
        with kept.alone() as mine:
            assert not mine
    assert time.monotonic() - began < 30
    end(pid, told)
    with kept.alone() as mine:
        assert mine


def test_a_record_within_a_record(tmp_path: Path) -> None:
    """A rotator that logs to another file of the same directory does not wait for itself."""
    one = exclusive.directory(str(tmp_path / "one.log"))
    assert exclusive.directory(str(tmp_path / "two.log")) is one
    with one.alone() as first, one.alone() as second:
        assert first and second
    with one.alone() as again:
        assert again


def test_threads_take_turns_too(tmp_path: Path) -> None:
    """Two threads of one process are never in it together."""
    directory = exclusive.directory(str(tmp_path / "app.log"))
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(50):
            with directory.alone():
                inside.append(1)
                most.append(len(inside))
                select.select([], [], [], 0)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert max(most) == 1 and len(most) == 200


def test_a_forked_process_has_a_lock_of_its_own(tmp_path: Path) -> None:
    """It shares its parent's open file, and with it the lock: it must open the directory anew."""
    path = str(tmp_path / "app.log")
    kept = exclusive.directory(path)
    with kept.alone() as mine:
        assert mine
        pid = os.fork()
        if pid == 0:
            exclusive.PATIENCE = 0.02
            with exclusive.directory(path).alone() as mine:
                os._exit(1 if mine else 0)
        assert os.waitpid(pid, 0)[1] == 0
