"""How long does it take until a new worker answers?

Two questions, each for an application that takes some 300 ms to import:

* cold: from the command until each of two workers has answered;
* replacement: SIGKILL the only worker, and one client that connects at once.  Its
  connection waits in the listener until the replacement takes it.  (uvicorn has
  no supervisor with one worker: its second one is stopped meanwhile.)

The request itself asks for nothing but a pid: what an application computes for its
first answer is its own (3 ms more if it groups a small table with pandas).

The contract is "fork → first answer".  What a client sees of a kill is more: the
kernel takes the dead worker apart first (3-4 ms for this application), which is
measured too and left out, and the supervisor hears of it and asks for a new one
(1 ms), which is in the figure.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections import defaultdict

from common import contenders as c
from common import telling
from common.measure import median, percentile, pin, wait_answer, wait_pids

from leeward._sys import procfs

#: Seconds that anything may take before it counts as broken.
PATIENCE = 30.0


def import_ms(module: str, cpus: set[int]) -> float:
    """What a fresh interpreter needs to import the application."""
    import subprocess

    code = f"import time; t = time.monotonic(); import {module}; print(time.monotonic() - t)"
    done = subprocess.run(
        ["taskset", "-c", ",".join(map(str, cpus)), sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": c.python_path()},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout) * 1000


def replacements(
    server: c.Server, workers: set[int], kills: int
) -> tuple[list[float], list[float]]:
    """Milliseconds from each kill to the replacement's answer, and to the death itself."""
    answers, deaths = [], []
    victim, *others = sorted(workers)
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    # The first of the pool is the victim each time: uvicorn asks its workers one
    # after the other and waits 5 s for the stopped one.
    rest = server.contender.rest
    for _ in range(max(1, min(kills, int(8 / rest)))):
        time.sleep(rest)  # kills in a row are another benchmark
        death = os.pidfd_open(victim)
        with contextlib.closing(os.fdopen(death)):
            start = time.monotonic()
            os.kill(victim, signal.SIGKILL)
            select.select([death], [], [], PATIENCE)
            dead = time.monotonic()
            victim = wait_answer(server.port, start + PATIENCE, "/pid")
        answers.append((time.monotonic() - start) * 1000)
        deaths.append((dead - start) * 1000)
    for pid in others:
        if procfs.state_of(pid) is not None:
            os.kill(pid, signal.SIGCONT)
    return answers, deaths


def cold_fresh(module: str, cpus: set[int]) -> float:
    with c.run(c.FRESH, module, 0, cpus) as server:
        wait_answer(server.port, time.monotonic() + PATIENCE, "/pid")
        return (time.monotonic() - server.started) * 1000


def main() -> None:
    parser = telling.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=8, help="in each round")
    parser.add_argument("--module", default="large")
    options = parser.parse_args()
    _, cpus = pin()
    contenders = telling.chosen(c.ALL, options.only)
    cold: dict[str, list[float]] = defaultdict(list)
    answer: dict[str, list[list[float]]] = defaultdict(list)
    death: dict[str, list[float]] = defaultdict(list)
    fresh, imports = [], []
    for _ in range(options.rounds):
        imports.append(import_ms(options.module, cpus))
        fresh.append(cold_fresh(options.module, cpus))
        for it in contenders:
            with c.run(it, options.module, 2, cpus) as server:
                wait_pids(server.port, 2, time.monotonic() + PATIENCE)
                cold[it.name].append((time.monotonic() - server.started) * 1000)
            with c.run(it, options.module, it.fewest, cpus) as server:
                pids = wait_pids(server.port, it.fewest, time.monotonic() + PATIENCE)
                answers, deaths = replacements(server, pids, options.kills)
                answer[it.name].append(answers)
                death[it.name] += deaths
    report = telling.Report(
        "How long until a new worker answers?",
        {
            "application imports in (ms)": round(median(imports)),
            "rounds": options.rounds,
            "kills": options.rounds * options.kills,
        },
    )
    report.rows.append({"": "fresh interpreter", "cold (ms)": median(fresh)})
    for it in contenders:
        every = [value for part in answer[it.name] for value in part]
        report.rows.append(
            {
                "": it.name,
                "cold (ms)": median(cold[it.name]),
                "kill → answer p50": median(every),
                "p99": percentile(every, 99),
                "max": max(every),
                "of it dying p50": median(death[it.name]),
            }
        )
    ours = [median(part) for part in answer[c.LEEWARD.name]]
    if ours:
        for it in contenders:
            theirs = [median(part) for part in answer[it.name]]
            if it is not c.LEEWARD:
                report.ratio(f"kill → answer: {it.name} / leeward", ours, theirs)
        kills = [value for part in answer[c.LEEWARD.name] for value in part]
        born = [a - d for a, d in zip(kills, death[c.LEEWARD.name], strict=True)]
        report.ratio("fresh interpreter, cold / leeward, death → answer", [median(born)], fresh)
        report.contracts = [
            telling.Contract("death → first answer, median", median(born), 15, "ms"),
            telling.Contract(
                "times faster than a fresh interpreter", median(fresh) / median(born), 20, "×", True
            ),
        ]
    telling.finish(report, "start", options.keep)


if __name__ == "__main__":
    main()
