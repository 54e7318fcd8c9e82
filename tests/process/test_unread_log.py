"""stderr is a pipe that nobody reads: the application's records hold nothing up."""

from __future__ import annotations

import os
import re
import select
from collections import Counter
from pathlib import Path

import pytest
from process.clients import Http
from process.support import APPS, until
from process.test_limits import serves, starting_with

from leeward.testing import Service, serve

#: Of each worker: 7 MB, where its memory and the pipe hold half of that.
LINES = 40_000
LOST = re.compile(r"pid=(\d+) \d+ log lines? lost \(nobody reads\): (.*)$")
LINE = re.compile(r"pid=(\d+) flood: line (\d+) x{100}$")


def clients(service: Service, workers: int) -> dict[bytes, Http]:
    """One of each worker, which has begun to log.  Its log cannot be asked where it listens."""
    at = service.ps()["listeners"][0].removeprefix("http://").split(":")
    found: dict[bytes, Http] = {}

    def all_found() -> bool:
        client = Http((at[0], int(at[1])))
        pid = client.get("/begin").body
        if pid in found:
            client.close()
        return found.setdefault(pid, client) is client and len(found) == workers

    until(all_found, "a client of each worker")
    return found


@pytest.mark.parametrize("form", ["--access-log", "--no-access-log"])
def test_a_flood_of_records(tmp_path: Path, form: str) -> None:
    """Requests are answered; what is in the log later and what it says was lost make up all."""
    path = tmp_path / "log"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    python = starting_with(tmp_path, f"2>{path}")
    env = {"LINES": str(LINES)}
    with serve("logs_a_flood", "-w", "2", form, cwd=APPS, python=python, env=env) as service:
        until(lambda: len(serves(service)) == 2, "two workers")
        of = clients(service, 2)
        pids = {int(it.get("/over").body) for it in of.values()}
        for it in of.values():
            it.close()
        told: Counter[int] = Counter()
        taken: dict[int, list[int]] = {pid: [] for pid in pids}
        rest, lines = b"", list[str]()
        while any(told[pid] + len(taken[pid]) < LINES for pid in pids):
            assert select.select([reader], [], [], 20)[0], (told, lines[-3:])
            *whole, rest = (rest + os.read(reader, 1 << 16)).split(b"\n")
            for line in whole:
                lines.append(line.decode())
                if found := LINE.search(lines[-1]):
                    taken[int(found[1])].append(int(found[2]))
                elif found := LOST.search(lines[-1]):
                    low = re.search(r"(\d+) below WARNING", found[2])
                    told[int(found[1])] += int(low[1]) if low else 0
                    assert "of WARNING" not in found[2]
        assert service.stop() == 0
    os.close(reader)
    for pid in pids:
        assert told[pid] > 0 and told[pid] + len(taken[pid]) == LINES
        assert taken[pid] == sorted(set(taken[pid]))
        mine = [it for it in lines if f"pid={pid} flood: " in it and " line " not in it]
        assert [it.partition(" flood: ")[2] for it in mine] == [
            *(f"error {n}" for n in range(20)),
            "that was all",
        ]
