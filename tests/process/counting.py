"""What each worker of a running service has at the moment, by asking `counts_itself.py`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from process.clients import Http, WebSocket
from process.support import PATIENCE, until

from leeward._sys import procfs

#: Objects of one type that may stay: what is remembered is bounded.
SOME = 40


class Probes:
    """A connection to each worker."""

    def __init__(self, clients: dict[int, Http]) -> None:
        self._clients = clients
        self.counts()  # what is made once, by the first question, is there
        self.base = self.counts()

    @property
    def pids(self) -> list[int]:
        return list(self._clients)

    def counts(self) -> dict[int, dict[str, Any]]:
        """By pid."""
        found = {}
        for pid, client in self._clients.items():
            found[pid] = client.get("/counts").json
            assert found[pid]["pid"] == pid
        return found

    def until_base(self, timeout: float = PATIENCE) -> None:
        """Returns once each worker has what it had at first."""
        more: list[str] = []

        def look() -> bool:
            more[:] = self.more()
            return not more

        try:
            until(look, "what was there at first", timeout)
        except AssertionError:
            raise AssertionError(f"left behind: {more}") from None

    def more(self) -> list[str]:
        """What there is now and was not at first, in words."""
        found = []
        for pid, counts in self.counts().items():
            base = self.base[pid]
            for what in ("handlers", "tasks", "descriptors"):
                if counts[what] > base[what]:
                    found.append(f"{what} of {pid}: {counts[what]}, were {base[what]}")
                    if what == "descriptors":
                        found += sorted(set(counts["open"]) - set(base["open"]))
            for kind, count in counts["kinds"].items():
                if count > (was := base["kinds"].get(kind, 0)) + SOME:
                    found.append(f"{kind} of {pid}: {count}, were {was}")
        return found


@contextlib.contextmanager
def probes(connect: Callable[[], Http], workers: int) -> Iterator[Probes]:
    """Opens connections until each worker has one."""
    with contextlib.ExitStack() as stack:
        clients: dict[int, Http] = {}
        with contextlib.ExitStack() as spare:
            while len(clients) < workers:
                client = connect()
                pid = client.get("/counts").json["pid"]
                (spare if pid in clients else stack).enter_context(client)
                clients.setdefault(pid, client)
        yield Probes(clients)


class Metronome(WebSocket):
    """Answers the server's pings, and is ticked by them."""

    def tick(self) -> None:
        opcode, payload = self._frame()
        while opcode != 9:
            opcode, payload = self._frame()
        self._send(10, payload)


def cpu_between_pings(clock: Metronome, pids: list[int], timeout: float) -> tuple[float, float]:
    """CPU seconds of all of them, and the seconds that it took for a ping to follow another."""
    with clock:
        clock.sock.settimeout(timeout)
        clock.tick()
        begun, before = time.monotonic(), cpu(pids)
        clock.tick()
        return cpu(pids) - before, time.monotonic() - begun


def cpu(pids: list[int]) -> float:
    return sum(procfs.cpu_seconds(pid) or 0.0 for pid in pids)


def forget_peaks(pids: list[int]) -> None:
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def peaks(pids: list[int]) -> int:
    """Bytes: the sum of what each had at most since `forget_peaks`."""
    return sum(_status(pid, "VmHWM") for pid in pids)


def sizes(pids: list[int]) -> int:
    """Bytes that they have now."""
    return sum(_status(pid, "VmRSS") for pid in pids)


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"pid {pid} has no {name}")
