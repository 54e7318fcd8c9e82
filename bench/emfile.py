"""What does a server do whose worker has no descriptor left?

One worker may open 64 files.  A client has a connection and uses it, 200 others connect and
keep silent.  For some seconds: the processor time of the server, what it writes to its log,
and whether the first client is still answered.  Then the silent ones leave: how long until
a new connection is answered?
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections import defaultdict
from dataclasses import replace
from typing import Any

from common import contenders as c
from common import telling
from common.measure import answered, cpu_seconds, descendants, median, pin, wait_answer

FILES, CLIENTS = 64, 200
PATIENCE = 30.0
ALL = (c.LEEWARD, c.TORNADO, c.GUNICORN, c.UVICORN, c.GRANIAN)
_KEEP = b"GET /pid HTTP/1.1\r\nHost: bench\r\n\r\n"


def limited(it: c.Contender) -> c.Contender:
    def command(module: str, port: int, workers: int) -> list[str]:
        return ["prlimit", f"--nofile={FILES}:{FILES}", "--", *it.command(module, port, workers)]

    return replace(it, command=command)


def asked(sock: socket.socket) -> bool:
    try:
        sock.sendall(_KEEP)
        data = b""
        while not re.search(rb"\r\n\r\n[^\r]*\d", data):
            part = sock.recv(65536)
            if not part:
                return False
            data += part
        answered(data)
    except (OSError, ValueError):
        return False
    return True


def crowd(server: c.Server, seconds: float) -> dict[str, float]:
    port = server.port
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as regular:
        regular.settimeout(2.0)
        asked(regular)
        with contextlib.ExitStack() as stack:
            for _ in range(CLIENTS):
                sock = stack.enter_context(socket.socket())
                sock.setblocking(False)
                sock.connect_ex(("127.0.0.1", port))
            time.sleep(0.5)  # all have come
            pids = [server.pid, *descendants(server.pid)]
            log = server.directory / "log"
            cpu, size, begun = cpu_seconds(pids), log.stat().st_size, time.monotonic()
            rounds = served = 0
            while time.monotonic() - begun < seconds:
                rounds += 1
                served += asked(regular)
                time.sleep(0.1)  # the client's own pace
            spent = time.monotonic() - begun
            found = {
                "cpu (%)": 100 * (cpu_seconds(pids) - cpu) / spent,
                "log (kB/s)": (log.stat().st_size - size) / spent / 1000,
                "served (%)": 100 * served / rounds,
            }
        begun = time.monotonic()
        with contextlib.suppress(TimeoutError):
            wait_answer(port, begun + 10, "/pid")
        return found | {"recovers (ms)": 1000 * (time.monotonic() - begun)}


def main() -> None:
    parser = telling.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    _, cpus = pin()
    seen: dict[str, list[dict[str, float]]] = defaultdict(list)
    contenders = telling.chosen(ALL, options.only)
    for _ in range(options.rounds):
        for it in contenders:
            with c.run(limited(it), "light", max(1, it.fewest), cpus) as server:
                wait_answer(server.port, time.monotonic() + PATIENCE, "/pid")
                seen[it.name].append(crowd(server, options.seconds))
    report = telling.Report(
        "What does a server do whose worker has no descriptor left?",
        {"files": FILES, "silent clients": CLIENTS, "cores": len(os.sched_getaffinity(0))},
    )
    for it in contenders:
        row: dict[str, Any] = {"": it.name, "workers": max(1, it.fewest)}
        for key in seen[it.name][0]:
            row[key] = median(found[key] for found in seen[it.name])
        report.rows.append(row)
    ours = next((row for row in report.rows if row[""] == c.LEEWARD.name), None)
    if ours is not None:
        report.contracts = [
            telling.Contract("processor time", ours["cpu (%)"], 5.0, "%"),
            telling.Contract("log, a line a second", ours["log (kB/s)"], 0.4, "kB/s"),
            telling.Contract("existing connection", ours["served (%)"], 100, "%", at_least=True),
            telling.Contract("recovers", ours["recovers (ms)"], 1000, "ms"),
        ]
    telling.finish(report, "emfile", options.keep)


if __name__ == "__main__":
    main()
