"""How evenly are connections spread over the workers, and who waits for a blocked one?

* evenness: long-lived connections that come one after the other (serial: each has its answer
  before the next comes), in a steady pace, or all at once.  Each then asks who serves it:
  max - min of few, max / mean of many.  Wake-ups are voluntary context switches of all
  processes, for each connection of the serial ones.
* blocked: one worker is in a handler that blocks for 500 ms, each second.  New connections
  come 100 a second and ask for a pid: p99 of their answers, against the same without it.
* short: connections of one request each, as many as go (`ab -c 32`), against the same server
  without politeness ("plain shared").  Needs ab (Debian: apache2-utils).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import socket
import subprocess
import time
from collections import Counter, defaultdict
from pathlib import Path

from common import contenders as c
from common import telling
from common.measure import answered, descendants, median, percentile, pin, wait_pids

WORKERS = 4
PATIENCE = 30.0
#: max - min that the contract allows of so many; of more it is max / mean.
FEW = {16: 2, 40: 3, 120: 4}
MANY = 1.05
PACE = {"paced": 0.005, "burst": 0.0, "serial": 0.0}
_KEEP = b"GET /pid HTTP/1.1\r\nHost: bench\r\n\r\n"
_ONCE = b"GET /pid HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
_BLOCK = b"GET /block HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"

ALL = (c.LEEWARD, c.RUDE, c.REUSEPORT, c.TORNADO, c.GUNICORN, c.UVICORN, c.GRANIAN)


# --- evenness ------------------------------------------------------------


def who(sock: socket.socket) -> int:
    sock.sendall(_KEEP)
    data = b""
    while not re.search(rb"\r\n\r\n[^\r]*\d", data):
        part = sock.recv(65536)
        if not part:
            raise ConnectionAbortedError
        data += part
    return answered(data)


def switches(pids: list[int]) -> int:
    count = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/status").read_text()
            found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M)
            assert found is not None
            count += int(found[1])
    return count


def spread(server: c.Server, count: int, arrival: str) -> tuple[list[int], float]:
    """(connections of each worker, wake-ups for each connection)."""
    pids = descendants(server.pid)
    before = switches(pids)
    with contextlib.ExitStack() as stack:
        socks: list[socket.socket] = []
        seen: Counter[int] = Counter()
        for _ in range(count):
            sock = stack.enter_context(socket.socket())
            sock.settimeout(PATIENCE)
            sock.connect(("127.0.0.1", server.port))
            socks.append(sock)
            if arrival == "serial":
                seen[who(sock)] += 1
            time.sleep(PACE[arrival])  # the pace of the arrival itself
        for sock in [] if arrival == "serial" else socks:
            seen[who(sock)] += 1
        woken = (switches(pids) - before) / count
    return [*seen.values(), *([0] * (WORKERS - len(seen)))], woken


# --- a blocked worker ------------------------------------------------------------


async def ask(port: int, request: bytes) -> float:
    """Seconds to its answer, on a connection of its own."""
    begun = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        answered(await asyncio.wait_for(reader.read(), PATIENCE))
    finally:
        writer.close()
    return time.monotonic() - begun


async def latencies(port: int, seconds: float, *, blocked: bool) -> list[float]:
    tasks: list[asyncio.Task[float]] = []
    blocks: list[asyncio.Task[float]] = []
    for number in range(int(seconds * 100)):
        if blocked and number % 100 == 0:
            blocks.append(asyncio.create_task(ask(port, _BLOCK)))
        await asyncio.sleep(0.01)
        tasks.append(asyncio.create_task(ask(port, _ONCE)))
    await asyncio.gather(*blocks)
    return [1000 * it for it in await asyncio.gather(*tasks)]


# --- short connections ------------------------------------------------------------


def short(server: c.Server, requests: int) -> float:
    """Connections a second; nan without ab."""
    if shutil.which("ab") is None:
        return float("nan")
    command = ["ab", "-q", "-c", "32", "-n", str(requests), f"http://127.0.0.1:{server.port}/pid"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r"Requests per second:\s+([\d.]+)", done.stdout)
    return float(found[1]) if found else float("nan")


# --- all of it ------------------------------------------------------------


def main() -> None:
    parser = telling.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--many", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=5.0, help="of latencies, in each round")
    parser.add_argument("--requests", type=int, default=6000, help="of ab, in each round")
    options = parser.parse_args()
    _, cpus = pin()
    contenders = telling.chosen(ALL, options.only)
    counts = (*FEW, options.many)
    worst: dict[tuple[str, int], float] = defaultdict(float)
    woken, rates = defaultdict(list), defaultdict(list)
    free: dict[str, list[float]] = defaultdict(list)
    blocked: dict[str, list[float]] = defaultdict(list)
    for _ in range(options.rounds):
        for it in contenders:
            with c.run(it, "light", WORKERS, cpus) as server:
                wait_pids(server.port, WORKERS, time.monotonic() + PATIENCE, pause=0.002)
                for count in counts:
                    for arrival in PACE:
                        time.sleep(1.2)  # what ended just now is no load any more
                        found, wakes = spread(server, count, arrival)
                        unequal = max(found) - min(found)
                        figure = unequal if count in FEW else max(found) * WORKERS / count
                        worst[it.name, count] = max(worst[it.name, count], figure)
                        if arrival == "serial" and count == options.many:
                            woken[it.name].append(wakes)
                for into, flag in ((free, False), (blocked, True)):
                    seen = asyncio.run(latencies(server.port, options.seconds, blocked=flag))
                    into[it.name].append(percentile(seen, 99))
                rates[it.name].append(short(server, options.requests))
    report = telling.Report(
        "How evenly are connections spread, and who waits for a blocked worker?",
        {"workers": WORKERS, "rounds": options.rounds, "evenness": "the worst of all"},
    )
    for it in contenders:
        row = {"": it.name}
        row |= {f"max-min of {count}": int(worst[it.name, count]) for count in FEW}
        row |= {
            f"max/mean of {options.many}": worst[it.name, options.many],
            "wake-ups": median(woken[it.name]),
            "new p99 (ms)": median(free[it.name]),
            "one blocked": median(blocked[it.name]),
            "short/s": median(rates[it.name]),
        }
        report.rows.append(row)
    name, plain = c.LEEWARD.name, c.RUDE.name
    if rates[name] and rates[plain]:
        report.ratio("short connections: leeward / plain shared", rates[plain], rates[name])
    if rates[name]:
        report.contracts = [
            telling.Contract(f"max - min of {count}", worst[name, count], most)
            for count, most in FEW.items()
        ]
        ratio = median(blocked[name]) / median(free[name])
        report.contracts += [
            telling.Contract(f"max / mean of {options.many}", worst[name, options.many], MANY),
            telling.Contract("new connections, p99: one blocked / none", ratio, 2.0, "×"),
        ]
        for it in report.ratios.values():
            report.contracts.append(
                telling.Contract("short: / plain shared", it["median"], 0.95, "×", at_least=True)
            )
    telling.finish(report, "balance", options.keep)


if __name__ == "__main__":
    main()
