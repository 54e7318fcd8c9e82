"""A collector that takes over from one that was killed, told by the supervisor's side of it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from collector.harness import Scene, fork

from leeward._collector.main import run
from leeward._core.config import Config
from leeward._core.sinks import Spec
from leeward._supervisor.guard import Guard
from leeward._supervisor.loop import Loop
from leeward._supervisor.rings import Rings
from leeward._supervisor.say import Voice
from leeward._sys.channel import Channel
from leeward._sys.posix import Posix
from leeward._sys.ring import Intent, RingReader, RingWriter

LONG = 20.0


class Children:
    """Starts collectors that are forked from the test, and counts them."""

    def __init__(self) -> None:
        self.collectors: list[int] = []
        self.first: Callable[[], object] = lambda: None

    def start_collector(self, config: Config) -> tuple[int, Channel]:
        ours, theirs = Channel.pair()

        def body() -> None:
            self.first()
            fd = os.dup(theirs.fileno())
            ours.close()
            run(fd)

        self.collectors.append(fork(body))
        theirs.close()
        return self.collectors[-1], ours

    def signal(self, pid: int, signum: int) -> None:
        os.kill(pid, signum)


class House:
    """The supervisor's rings, and their workers, who are we.  said: what went to its stderr."""

    def __init__(self, path: Path, said: Path) -> None:
        self.path = path
        self.said = said
        self.children = Children()
        self._err = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.voice = Voice("pretty", "info", self._err)
        self.loop = Loop(Guard(self.voice, time.monotonic))
        self.posix = Posix()
        self.config = Config("nothing", log_file=str(path))
        children: Any = self.children
        self.rings = Rings(children, self.loop, self.posix, self.voice, lambda: self.config)
        self.spec = Spec("file", str(path)).to_json()

    def write(self, worker: int, *lines: str) -> None:
        """A worker that writes these; it lives on, as far as the supervisor knows."""
        descriptors = self.rings.ring(worker, worker - 1, 1)
        writer = RingWriter(*map(int, descriptors))
        sink = writer.sink(self.spec)
        for line in lines:
            assert writer.write(sink, 20, line.encode())
        writer.close()

    def turn_until(self, done: Callable[[], bool]) -> None:
        by = time.monotonic() + LONG
        while not done():
            now = time.monotonic()
            assert now < by, self.said.read_text()
            self.rings.tick(now)
            due = self.rings.next_deadline()
            self.loop.turn(0.05 if due is None else min(0.05, max(0.0, due - now)))

    def text(self) -> str:
        return self.path.read_text() if self.path.exists() else ""

    def close(self) -> None:
        self.rings.finish()
        self.loop.close()
        os.close(self._err)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    it = House(tmp_path / "app.log", tmp_path / "said")
    yield it
    it.close()


def test_a_supervisor_that_dies_before_its_collector_has_read_a_word(tmp_path: Path) -> None:
    """More rings than it reads in one go: what is in them is written, and it ends."""
    scene = Scene(Spec("file", str(tmp_path / "app.log")), Random(1))
    scene.first = lambda: os.kill(os.getpid(), signal.SIGSTOP)
    try:
        for _ in range(70):
            scene.write(3, here=True)
        scene.collect()
        os.waitpid(scene.collector, os.WUNTRACED)
        assert scene.channel is not None and not scene.channel.wants_write
        scene.channel.close()
        scene.channel = None
        os.kill(scene.collector, signal.SIGCONT)
        assert os.waitpid(scene.collector, 0)[1] == 0
        assert scene.check() == (210, 0)
    finally:
        scene.close()


def test_a_batch_that_was_torn_in_one_of_many_rings(house: House) -> None:
    """Killed in the middle of a write, with the batch of the last ring of 70 half in the file:
    nobody's lines come behind that half, and none is there twice."""
    for worker in range(1, 70):
        house.write(worker, f"{worker} one\n", f"{worker} two\n")
    lines = ["70 one\n", "70 two\n", "70 three\n"]
    house.write(70, *lines)
    _tear(house, 70, "".join(lines))
    house.turn_until(lambda: house.text().count("\n") >= 2 * 69 + 3)
    found = house.text().splitlines(keepends=True)
    expected = [f"{worker} {word}\n" for worker in range(1, 70) for word in ("one", "two")] + lines
    assert sorted(found) == sorted(expected)


def _tear(house: House, worker: int, text: str) -> None:
    """As a collector that dies in write(2)."""
    reader = RingReader(os.dup(house.rings.held[worker].fd))
    records = reader.read()
    house.path.write_text(text[: len(text) // 2])
    it = house.path.stat()
    reader.intend(0, Intent(records[-1].end, it.st_dev, it.st_ino, 0, len(text)))
    reader.close()


def test_all_of_many_rings_at_the_end(house: House) -> None:
    """A stop that comes before the collector has been handed all of them."""
    for worker in range(1, 71):
        house.write(worker, f"{worker} one\n")
    for worker in range(1, 71):
        house.rings.ended(worker)
    house.rings.finish()
    assert sorted(house.text().split()[::2]) == sorted(str(it) for it in range(1, 71))
    assert not house.rings.held


def test_rings_that_do_not_come_are_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines of those that have come are written after a while, and it is told."""
    monkeypatch.setattr("leeward._collector.main.WHOLE", 0.1)
    scene = Scene(Spec("file", str(tmp_path / "app.log")), Random(1))
    try:
        scene.write(3, here=True)
        scene.missing = 2
        scene.collect()
        scene.wait_complaint("2 of 3 log rings did not come in 0.1 s")
        scene.wait_drained()
        scene.finish()
        assert scene.check() == (3, 0)
    finally:
        scene.close()


# --- what is in a ring is written, whenever there is a collector -----------------------------


@pytest.fixture
def unloadable(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A deploy is under way, in whose middle a file of ours is missing; until it is undone."""
    monkeypatch.setitem(sys.modules, "leeward._supervisor.collecting", None)
    return monkeypatch


def test_a_worker_that_dies_while_no_collector_can_be_started(
    house: House, unloadable: pytest.MonkeyPatch
) -> None:
    """Its ring is kept until there is one."""
    with unloadable.context() as brief:
        brief.setattr("leeward._supervisor.rings._LOAD_AGAIN", 0.01)
        house.write(1, "one\n")
        house.rings.ended(1)
    assert "the log collector cannot be started" in house.said.read_text()
    unloadable.undo()
    house.turn_until(lambda: house.text() == "one\n" and not house.rings.held)


def test_a_stop_is_another_chance(house: House, unloadable: pytest.MonkeyPatch) -> None:
    house.write(1, "one\n")
    house.rings.ended(1)
    unloadable.undo()
    house.rings.finish()
    assert house.text() == "one\n"


def test_what_is_never_written_is_told(house: House, unloadable: pytest.MonkeyPatch) -> None:
    """Rings of the dead are kept in a bounded number."""
    unloadable.setattr("leeward._supervisor.rings._KEPT", 2)
    for worker in range(1, 5):
        house.write(worker, f"{worker}\n")
        house.rings.ended(worker)
    assert list(house.rings.held) == [3, 4]
    lost = re.compile(r"(\d+) octets of log lines are lost")
    assert lost.findall(house.said.read_text()) == ["32", "32"]
    house.rings.finish()
    assert lost.findall(house.said.read_text()) == ["32", "32", "64"]


def test_what_waits_for_a_full_disk_is_bounded(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers come and go meanwhile: the oldest of their rings are given up, which is told."""
    monkeypatch.setattr("leeward._supervisor.rings._KEPT", 4)
    house.spec = Spec("file", "/dev/full").to_json()
    before = _mapped(os.getpid())  # of other tests; the collector is forked from us
    for worker in range(1, 11):
        house.write(worker, f"{worker} one\n", f"{worker} two\n")
        house.turn_until(lambda: all(it.handed for it in house.rings.held.values()))
        house.rings.ended(worker)
    assert list(house.rings.held) == [7, 8, 9, 10]
    given_up = re.compile(r"worker (\d+) of .* its log ring is given up: .* (\d+) lines that wait")

    def told() -> list[tuple[str, ...]]:
        return given_up.findall(house.said.read_text())

    house.turn_until(lambda: len(told()) == 6)
    assert told() == [(str(it), "2") for it in range(6)]
    (collector,) = house.children.collectors
    house.turn_until(lambda: _mapped(collector) <= before + 4)


def test_what_waits_for_a_stopped_collector_is_bounded(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By octets too; what it was not told of in time it does not wait for."""
    house.write(1, "one\n")
    house.turn_until(lambda: house.text() == "one\n")
    (collector,) = house.children.collectors
    monkeypatch.setattr("leeward._supervisor.rings._KEPT_OCTETS", 100)
    os.kill(collector, signal.SIGSTOP)
    try:
        for worker in range(2, 600):
            house.write(worker, f"{worker}\n")
            house.rings.ended(worker)
            assert sum(it.ended for it in house.rings.held.values()) <= 3
    finally:
        os.kill(collector, signal.SIGCONT)
    house.turn_until(lambda: not any(it.ended for it in house.rings.held.values()))
    assert "octets of log lines are lost: no log collector takes them" in house.said.read_text()
    house.turn_until(lambda: {"597", "598", "599"} <= set(house.text().split()))


def test_the_youngest_worker_decides_how_a_file_is_rotated(house: House) -> None:
    """A release wants other limits: they hold for it, and one of before does not bring back its
    own by its first line."""

    def write(worker: int, keep: int, many: int) -> None:
        house.spec = Spec("file", str(house.path), rotate_bytes=5, keep=keep).to_json()
        house.write(worker, *(f"worker {worker}, {n}\n" for n in range(many)))
        house.turn_until(lambda: f"worker {worker}, {many - 1}\n" in house.text())

    def kept() -> list[str]:
        return sorted(it.name for it in house.path.parent.glob("app.log.*"))

    write(1, 1, 4)
    assert kept() == ["app.log.1"]
    write(3, 3, 5)
    assert kept() == ["app.log.1", "app.log.2", "app.log.3"]
    write(2, 1, 2)
    assert kept() == ["app.log.1", "app.log.2", "app.log.3"]
    assert (house.path.parent / "app.log.1").read_text() == "worker 2, 0\n"


def test_what_is_told_at_the_end_is_in_the_log_file(house: House) -> None:
    """That of a flood something was refused."""
    house.rings.open_log()
    writer = RingWriter(*map(int, house.rings.ring(1, 0, 1)))
    sink = writer.sink(house.spec)
    while writer.write(sink, 20, b"x" * 60_000 + b"\n"):
        pass
    writer.close()
    house.rings.ended(1)
    house.rings.finish()
    assert "1 log line" in house.said.read_text()
    assert "1 log line" in house.text()


def test_an_end_that_a_stopped_collector_has_no_room_for(house: House) -> None:
    """It is told again: no ring stays, in the supervisor or in the collector."""
    house.write(1, "one\n")
    house.turn_until(lambda: house.text() == "one\n")
    house.rings.ended(1)
    house.turn_until(lambda: not house.rings.held)
    (collector,) = house.children.collectors
    before = _rings_of(collector)
    # More than a channel holds: 342 small messages, half as many with a descriptor.
    many = range(2, 502)
    for worker in many:
        house.rings.ring(worker, worker, 1)
    house.turn_until(lambda: all(it.handed for it in house.rings.held.values()))
    os.kill(collector, signal.SIGSTOP)
    try:
        for worker in many:
            house.rings.ended(worker)
    finally:
        os.kill(collector, signal.SIGCONT)
    house.turn_until(lambda: not house.rings.held)
    assert house.children.collectors == [collector]
    house.turn_until(lambda: _rings_of(collector) <= before)


def _mapped(pid: int) -> int:
    """Rings that it reads."""
    return Path(f"/proc/{pid}/maps").read_text().count("leeward-log")


def _rings_of(pid: int) -> int:
    """Rings that it holds; ours too, as it was forked from us."""
    many = 0
    for it in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed since
            many += "leeward-log" in os.readlink(it)
    return many
