"""`@leeward.on_one_worker`: in the lowest serving slot, never twice at once, and never lost."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from process.clients import address_of
from process.support import APPS, gone, until

from leeward import jobs
from leeward.testing import Service, serve


class Note(NamedTuple):
    what: str
    pid: int
    slot: int
    at: float


def journal(path: Path) -> list[Note]:
    if not path.exists():
        return []
    words = (line.split() for line in path.read_text().splitlines())
    return [Note(what, int(pid), int(slot), float(at)) for what, pid, slot, at in words]


def runs(path: Path, after: int = 0) -> list[Note]:
    return [it for it in journal(path)[after:] if it.what == "begin"]


def more(path: Path, count: int, why: str, slot: int | None = None) -> list[Note]:
    """So many runs from now on, in `slot` if one is given."""
    mark = len(journal(path))

    def enough() -> list[Note]:
        found = [it for it in runs(path, mark) if slot is None or it.slot == slot]
        return found if len(found) >= count else []

    return until(enough, f"{count} runs {why}")


def test_it_runs_in_the_lowest_slot_and_moves_with_it(tmp_path: Path) -> None:
    """Death, aside, a stopped process, a reload: the next worker takes over within seconds."""
    path = tmp_path / "journal"
    flags = ("-w", "2", "--stopped-kill", "0")
    with serve("runs_a_job", *flags, cwd=APPS, env={"JOURNAL": str(path)}) as service:
        service.wait_ready(2)
        pids = {worker["slot"]: worker["pid"] for worker in service.workers()}
        assert {it.slot for it in more(path, 3, "to see where")} == {0}
        service.wait_line(r"worker=0 .* runs job tick \(runs_a_job.py:\d+\) from now on")
        os.kill(pids[0], signal.SIGSTOP)
        more(path, 2, "while slot 0 is stopped", slot=1)
        os.kill(pids[0], signal.SIGCONT)
        more(path, 2, "when it goes on", slot=0)
        assert service.leeward("drain", "0").returncode == 0  # stands aside, and is replaced
        assert {it.pid for it in more(path, 4, "of its replacement", slot=0)[-2:]} != {pids[0]}
        assert service.leeward("reload").returncode == 0
        serving = {worker["pid"] for worker in service.workers()}
        assert more(path, 3, "of the new generation")[-1].pid in serving
        victim = next(worker["pid"] for worker in service.workers() if worker["slot"] == 0)
        os.kill(victim, signal.SIGKILL)
        assert gone(victim)
        assert victim not in {it.pid for it in more(path, 2, "after its death")}


def test_workers_that_live_shorter_than_the_interval_run_it_too(tmp_path: Path) -> None:
    """The first run is counted from the first worker that looked, and not from each one's birth."""
    path = tmp_path / "journal"
    began = time.monotonic()
    with serve("runs_a_job", cwd=APPS, env={"JOURNAL": str(path), "EVERY": "2s"}) as service:
        service.wait_ready(1)
        until(lambda: service.leeward("reload").returncode or runs(path), "a run")
        assert runs(path)[0].at - began >= 2.0, "one ran at its birth"


@pytest.mark.parametrize(
    ("how", "error"), [("raise", "ValueError: this run"), ("cancelled", r"\S*CancelledError")]
)
def test_a_run_that_raises_is_told_and_the_next_one_comes(
    how: str, error: str, tmp_path: Path
) -> None:
    """The cancellation of what it waits for is none of the job."""
    path = tmp_path / "journal"
    env = {"JOURNAL": str(path), "JOB": how}
    with serve("runs_a_job", cwd=APPS, env=env) as service:
        service.wait_ready(1)
        more(path, 3, "in spite of it")
        service.wait_line(rf"error .*job tick \(\S+:\d+\) failed: {error} \| runs_a_job.py:\d+ in ")
        assert service.stop() == 0


@pytest.fixture
def declared() -> Iterator[dict[str, jobs.Job]]:
    before = dict(jobs.DECLARED)
    jobs.DECLARED.clear()
    yield jobs.DECLARED
    jobs.DECLARED.clear()
    jobs.DECLARED.update(before)


#: A module whose jobs are made in a loop, and one more.
MODULE = """
import leeward
def sync(room):
    @leeward.on_one_worker(every=room)
    def run(): return room
    return run
made = [sync(room) for room in (1, 2, 3)]
leeward.on_one_worker(every=4)(made[0])
@leeward.on_one_worker(every=5)
def other(): pass
"""


def test_each_function_of_one_name_is_a_job(declared: dict[str, jobs.Job]) -> None:
    """The same `def` again is another job; a function, or a module, once more is the same."""
    for _ in range(2):
        exec(compile(MODULE, "made.py", "exec"), {"__name__": "made"})
        assert [(key, it.every) for key, it in declared.items()] == [
            ("made:sync.<locals>.run", 4.0),
            ("made:sync.<locals>.run#2", 2.0),
            ("made:sync.<locals>.run#3", 3.0),
            ("made:other", 5.0),
        ]
        assert [it.function() for it in declared.values()] == [1, 2, 3, None]
    assert str(declared["made:sync.<locals>.run#2"]) == "run#2 (made.py:4)"


def test_missed_runs_are_one_run(tmp_path: Path) -> None:
    """A loop that was blocked for ten intervals runs the job once, and then in its time."""
    path = tmp_path / "journal"
    with serve("runs_a_job", cwd=APPS, env={"JOURNAL": str(path)}) as service:
        address = address_of(service.wait_ready(1))
        more(path, 2, "before")
        ask(address, 1.0)
        until(lambda: "blocked" in path.read_text(), "the loop to be blocked")
        begun = next(it.at for it in journal(path) if it.what == "blocked")
        more(path, 4, "after it")
        after = [it.at for it in runs(path) if it.at > begun]
        assert after[0] - begun >= 1.0
        assert len(after) - 1 <= (after[-1] - after[0]) / 0.1 + 1.5, after


def ask(address: tuple[str, int], seconds: float) -> None:
    """Sends the request and does not wait for its answer."""
    import socket

    with socket.create_connection(address) as client:
        client.sendall(f"GET /?s={seconds} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


@pytest.mark.parametrize("start", ["zygote", "spawn"])
def test_two_never_run_at_once(start: str, tmp_path: Path) -> None:
    """A job longer than its interval, while workers are killed, stopped and reloaded."""
    path, seed = tmp_path / "journal", random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    env = {"JOURNAL": str(path), "JOB": "long"}
    with serve("runs_a_job", "-w", "3", "--start", start, cwd=APPS, env=env) as service:
        service.wait_ready(3)
        for _ in range(3):
            more(path, 1, "in the weather")
            disturb(service, chance)
        more(path, 2, "at the end")
        assert service.stop() == 0
    check_alone(journal(path))


def disturb(service: Service, chance: random.Random) -> None:
    pid = chance.choice(service.workers())["pid"]
    how = chance.choice(["kill", "stop", "reload"])
    if how == "reload":
        service.leeward("reload")
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP if how == "stop" else signal.SIGKILL)
        if how == "stop":
            service.leeward("ps")  # takes its time, in which another may take over
            os.kill(pid, signal.SIGCONT)


def check_alone(notes: list[Note]) -> None:
    """From each begin to its end, or to its process's last word, nobody else begins."""
    last = {it.pid: number for number, it in enumerate(notes)}
    for number, it in enumerate(notes):
        if it.what != "begin":
            continue
        end = next(
            (n for n in range(number + 1, len(notes)) if notes[n].pid == it.pid), last[it.pid]
        )
        between = [other for other in notes[number + 1 : end] if other.what == "begin"]
        assert not between, (it, between)
