"""What a worker's application has started ends with that worker, and with no other."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from process.clients import Address, address_of, get
from process.support import APPS, marks, until, watching

from leeward.testing import Service, serve

MODES = ("zygote", "spawn")
#: Every way in which applications start processes.
WAYS = (
    "subprocess",
    "own-session",
    "shell",
    "polite",
    "stubborn",
    "fork",
    "fork-in-thread",
    "multiprocessing",
    "daemon",
    "forked-daemon",
)
#: Between TERM and KILL, and what a busy machine takes on top.
PATIENCE = 2.0 + 3.0


class Children:
    """Processes that one worker's application has started, by the way it was done."""

    def __init__(self, address: Address, stack: ExitStack, worker: int) -> None:
        self.worker = worker
        self.pids: dict[str, int] = {}
        self._ended = {}
        for way in WAYS:
            while way not in self.pids:
                # Which worker answers is not ours to choose: others get the same.
                pid = int(get(address, f"/start-in/{worker}/{way}").body)
                if pid:
                    self.pids[way] = pid
                    self._ended[way] = stack.enter_context(watching(pid))

    def alive(self) -> set[str]:
        return {way for way in WAYS if not self._ended[way](0)}

    def all_end(self) -> bool:
        late = [way for way in WAYS if not self._ended[way](PATIENCE)]
        assert not late, f"still there: {late}"
        return True


@contextmanager
def started(workers: int, mode: str, directory: Path) -> Iterator[tuple[Service, list[Children]]]:
    """A service, and for each of its workers one child of every kind."""
    env = {"MARKS": str(directory)}
    flags = ("-w", str(workers), "--start", mode)
    with serve("starts_children", *flags, cwd=APPS, env=env) as service, ExitStack() as stack:
        service.wait_ready(workers)
        pids = [it["pid"] for it in service.workers()]
        yield service, [Children(address_of(service), stack, pid) for pid in pids]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("end", ["crash", "reload", "stop"])
def test_what_a_worker_started_ends_with_it(end: str, mode: str, tmp_path: Path) -> None:
    """TERM, and KILL for who ignores it: after a crash, a reload and a stop; no fork is left."""
    with started(1, mode, tmp_path) as (service, [children]):
        assert children.alive() == set(WAYS)
        if end == "crash":
            os.kill(children.worker, signal.SIGKILL)
        elif end == "reload":
            assert service.leeward("reload").returncode == 0
        else:
            service.signal(signal.SIGTERM)
        assert children.all_end()
        assert marks(tmp_path, "term") == {children.pids["polite"]: 1}
        for way in ("subprocess", "own-session", "stubborn", "daemon"):
            service.wait_line(rf"pid={children.pids[way]} outlived its worker: ")
        if end == "stop":
            assert service.wait() == 0
        else:
            assert get(address_of(service)).status == 200


def test_what_the_import_started_lives_as_long_as_its_zygote(tmp_path: Path) -> None:
    """It ends by no worker's death, but with the generation; the new one has its own."""
    log = tmp_path / "started"
    flags = ("--start", "zygote", "--settle", "0s")
    env = {"STARTED": str(log)}
    with serve("starts_at_import", *flags, cwd=APPS, env=env) as service, ExitStack() as stack:
        service.wait_ready(1)
        old = [stack.enter_context(watching(int(pid))) for pid in log.read_text().split()]
        assert len(old) == 3
        (worker,) = service.workers()
        os.kill(worker["pid"], signal.SIGKILL)
        service.wait_line(rf"worker=0 gen=1 pid=(?!{worker['pid']})\d+ ready")
        assert service.leeward("reload").returncode == 0
        assert all(ended(PATIENCE) for ended in old)
        # Named after whichever of the two was reaped last.
        words = "outlived its (zygote|worker): "
        until(lambda: len(re.findall(words, service.log)) >= len(old), "a line about each")
        told = [number for number, it in enumerate(service.lines) if re.search(words, it)]
        (gone,) = [number for number, it in enumerate(service.lines) if "zygote gone" in it]
        assert len(told) == len(old) and gone < told[0]
        new = [stack.enter_context(watching(int(pid))) for pid in log.read_text().split()[3:]]
        assert len(new) == 3 and not any(ended(0) for ended in new)


@pytest.mark.parametrize("mode", MODES)
def test_a_siblings_death_ends_nobody_elses_children(mode: str, tmp_path: Path) -> None:
    """One worker is killed: its children end, those of the other do not notice."""
    with started(2, mode, tmp_path) as (_, [mine, others]):
        os.kill(mine.worker, signal.SIGKILL)
        assert mine.all_end()
        assert others.alive() == set(WAYS)
