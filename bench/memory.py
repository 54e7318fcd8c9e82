"""What does an instance cost in memory?

Four workers of an application that imports and uses numpy and pandas, after 1000
requests and one full garbage collection in each worker.  Counted is the PSS of
the whole tree: master, zygote, helpers, workers.  Pages that are shared count
once, however many processes map them.

The supervisor's own share, and how much a worker's private memory grows by a full
collection: without gc.freeze it would write into each object that it shares.
"""

from __future__ import annotations

import time
from collections import defaultdict

from common import contenders as c
from common import telling
from common.measure import (
    MIB,
    Memory,
    descendants,
    median,
    memory,
    pin,
    tree_memory,
    wait_pids,
)

WORKERS = 4
PATIENCE = 60.0
#: Seconds of quiet before the last look: leeward's zygote gives back what it does
#: not need when nobody has asked it for 0.1 s.
QUIET = 2.0


def requests(port: int, count: int) -> None:
    """`count` requests, some at a time, each on a new connection."""
    import asyncio

    async def one(turns: int) -> None:
        for _ in range(turns):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
            assert b" 200 " in answer.split(b"\r\n", 1)[0], answer[:100]
            writer.close()

    async def all_of_them() -> None:
        await asyncio.wait_for(
            asyncio.gather(*(one(count // 8) for _ in range(8))), timeout=PATIENCE
        )

    asyncio.run(all_of_them())


def measure(server: c.Server, count: int) -> tuple[Memory, Memory, float, int]:
    """(the tree, its first process, growth of the workers' USS by a collection, processes)."""
    deadline = time.monotonic() + PATIENCE
    workers = wait_pids(server.port, WORKERS, deadline)
    requests(server.port, count)
    before = sum((memory(pid).uss for pid in workers), 0)
    wait_pids(server.port, WORKERS, deadline, "/gc", pause=0.005)
    after = sum((memory(pid).uss for pid in workers), 0)
    time.sleep(QUIET)
    processes = 1 + len(descendants(server.pid))
    return tree_memory(server.pid), memory(server.pid), after / before, processes


def main() -> None:
    parser = telling.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=1000)
    options = parser.parse_args()
    _, cpus = pin()
    contenders = telling.chosen(c.ALL, options.only)
    trees: dict[str, list[Memory]] = defaultdict(list)
    firsts: dict[str, list[Memory]] = defaultdict(list)
    growths: dict[str, list[float]] = defaultdict(list)
    processes: dict[str, int] = {}
    for _ in range(options.rounds):
        for it in contenders:
            with c.run(it, "heavy", WORKERS, cpus) as server:
                tree, first, growth, processes[it.name] = measure(server, options.requests)
            trees[it.name].append(tree)
            firsts[it.name].append(first)
            growths[it.name].append(growth)
    report = telling.Report(
        "What does an instance cost in memory?",
        {"workers": WORKERS, "requests": options.requests, "rounds": options.rounds},
    )
    for it in contenders:
        report.rows.append(
            {
                "": it.name,
                "tree PSS (MiB)": median(m.pss for m in trees[it.name]) / MIB,
                "processes": processes[it.name],
                "first's RSS": median(m.rss for m in firsts[it.name]) / MIB,
                "its private dirty": median(m.private_dirty for m in firsts[it.name]) / MIB,
                "workers' USS after gc": median(growths[it.name]),
            }
        )
    ours = [m.pss for m in trees[c.LEEWARD.name]]
    for it in contenders:
        if it is not c.LEEWARD:
            report.ratio(f"tree PSS: leeward / {it.name}", [m.pss for m in trees[it.name]], ours)
    if ours:
        supervisors, used = firsts[c.LEEWARD.name], growths[c.LEEWARD.name]
        share = report.ratios.get("tree PSS: leeward / uvicorn", {}).get("median", float("nan"))
        dirty, rss = max(m.private_dirty for m in supervisors), max(m.rss for m in supervisors)
        report.contracts = [
            telling.Contract("tree PSS, share of uvicorn's", share, 0.45, "×"),
            telling.Contract("supervisor's private dirty", dirty / MIB, 8, "MiB"),
            telling.Contract("supervisor's RSS", rss / MIB, 16, "MiB"),
            telling.Contract("workers' USS after a full gc", max(used), 1.05, "×"),
        ]
    telling.finish(report, "memory", options.keep)


if __name__ == "__main__":
    main()
