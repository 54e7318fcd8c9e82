"""How fast is a dead worker replaced, and what does a worker cost that dies at birth?

* kills: two workers under a load of new connections (100 a second); a random one
  gets SIGKILL, 200 times over.  From each kill on more connections are made until
  a process that was not there before has answered: that is the figure.  Requests
  that fail were in the hands of the worker that died.
* crash loop: the service has served; from then on every worker ends the moment it
  is born.  Counted are the births of ten seconds.  Is the listener still there?
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import time
from collections import defaultdict
from dataclasses import dataclass, field

from common import contenders as c
from common import telling
from common.measure import answered, median, percentile, pin, wait_pids, zombies

WORKERS = 2
PATIENCE = 30.0
#: Seconds between two requests of the load, and between two that look for the new one.
PACE, SEARCH = 0.01, 0.002
_REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"


@dataclass
class Kills:
    """What was seen during a number of kills."""

    replaced: list[float] = field(default_factory=list)  # ms
    requests: int = 0
    failed: int = 0
    lasted: float = 0.0
    zombies: int = 0


@dataclass
class Assassin:
    """The client and the killer in one loop."""

    server: c.Server
    living: set[int]
    random: random.Random
    seen: Kills = field(default_factory=Kills)
    newcomer: asyncio.Future[int] | None = None
    known: set[int] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def ask(self) -> None:
        self.seen.requests += 1
        writer = None
        try:
            async with asyncio.timeout(PATIENCE):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
                writer.write(_REQUEST)
                pid = answered(await reader.read())
        except (OSError, ValueError, TimeoutError):
            self.seen.failed += 1
            return
        finally:
            if writer is not None:
                writer.close()
        if pid not in self.known:
            self.known.add(pid)
            self.living.add(pid)
            if self.newcomer is not None and not self.newcomer.done():
                self.newcomer.set_result(pid)

    def begin(self) -> None:
        """One request that nobody waits for."""
        task = asyncio.create_task(self.ask())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def load(self) -> None:
        while True:
            self.begin()
            await asyncio.sleep(PACE)

    async def search(self, newcomer: asyncio.Future[int]) -> None:
        """More requests until a process that we do not know has answered one."""
        async with asyncio.timeout(PATIENCE):
            while not newcomer.done():
                self.begin()
                await asyncio.wait([newcomer], timeout=SEARCH)

    async def kill(self, kills: int) -> Kills:
        self.known |= self.living
        begun = time.monotonic()
        load = asyncio.create_task(self.load())
        rest = self.server.contender.rest
        try:
            for _ in range(kills):
                await asyncio.sleep(rest * self.random.uniform(0.5, 1.0) if rest < 1 else rest)
                victim = self.random.choice(sorted(self.living))
                self.newcomer = asyncio.get_running_loop().create_future()
                start = time.monotonic()
                os.kill(victim, signal.SIGKILL)
                self.living.discard(victim)
                await self.search(self.newcomer)
                self.seen.replaced.append((time.monotonic() - start) * 1000)
            await asyncio.sleep(0.5)  # whoever is to be reaped has been by now
        finally:
            load.cancel()
            await asyncio.gather(load, *self.tasks, return_exceptions=True)
        self.seen.lasted = time.monotonic() - begun
        self.seen.zombies = zombies(self.server.pid)
        return self.seen


def kills(it: c.Contender, count: int, module: str, cpus: set[int], seed: int) -> Kills:
    with c.run(it, module, WORKERS, cpus) as server:
        living = wait_pids(server.port, WORKERS, time.monotonic() + PATIENCE)
        return asyncio.run(Assassin(server, living, random.Random(seed)).kill(count))


def crash_loop(it: c.Contender, seconds: float, cpus: set[int]) -> tuple[int, str]:
    """(births, "kept" or what became of the listener)."""
    with c.run(it, "light", WORKERS, cpus) as server:
        workers = wait_pids(server.port, WORKERS, time.monotonic() + PATIENCE)
        births = server.directory / "births"
        (server.directory / "births.die").touch()
        before = births.stat().st_size
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        # The length of the window, not a wait for anything.
        with contextlib.suppress(Exception):
            server.process.wait(seconds)
        if server.process.poll() is not None:
            return births.stat().st_size - before, "master ended"
        try:
            socket.create_connection(("127.0.0.1", server.port), timeout=2).close()
            listener = "kept"
        except OSError:
            listener = "closed"
        return births.stat().st_size - before, listener


def main() -> None:
    parser = telling.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--kills", type=int, default=200, help="of leeward, in all rounds")
    parser.add_argument("--peer-kills", type=int, default=30, help="of each other contender")
    parser.add_argument("--loop", type=float, default=10.0, help="seconds of crash loop; 0: none")
    parser.add_argument("--module", default="light", help="light, heavy or large")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    _, cpus = pin()
    contenders = telling.chosen(c.ALL, options.only)
    seen: dict[str, list[Kills]] = defaultdict(list)
    for turn in range(options.rounds):
        for it in contenders:
            count = options.kills if it is c.LEEWARD else options.peer_kills
            count = min(count // options.rounds, int(12 / it.rest) if it.rest > 1 else count)
            seen[it.name].append(kills(it, count, options.module, cpus, options.seed + turn))
    report = telling.Report(
        "How fast is a dead worker replaced?",
        {"workers": WORKERS, "application": options.module, "seed": options.seed},
    )
    for it in contenders:
        rounds = seen[it.name]
        times = [value for part in rounds for value in part.replaced]
        row = {
            "": it.name,
            "kills": len(times),
            "req/s": sum(r.requests for r in rounds) / sum(r.lasted for r in rounds),
            "replaced p50 (ms)": median(times),
            "p99": percentile(times, 99),
            "max": max(times),
            "failed requests": sum(r.failed for r in rounds),
            "zombies": sum(r.zombies for r in rounds),
        }
        if options.loop:
            births, listener = crash_loop(it, options.loop, cpus)
            row |= {f"births in {options.loop:g} s of crash loop": births, "listener": listener}
        report.rows.append(row)
    ours = seen[c.LEEWARD.name]
    for it in contenders:
        if it is not c.LEEWARD and ours:
            report.ratio(
                f"replaced p50: {it.name} / leeward",
                [median(part.replaced) for part in ours],
                [median(part.replaced) for part in seen[it.name]],
            )
    if ours:
        row = next(row for row in report.rows if row[""] == c.LEEWARD.name)
        report.contracts = [
            telling.Contract("replacement answers, p99", row["p99"], 50, "ms"),
            telling.Contract("load", row["req/s"], 50, "/s", at_least=True),
            telling.Contract("zombies", row["zombies"], 0),
        ]
    telling.finish(report, "crash", options.keep)


if __name__ == "__main__":
    main()
