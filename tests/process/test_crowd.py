"""Crowds are spread evenly however they come, and leave nothing behind however they go.

SOAK_CROWD=10000 is the long form (`make soak`): so many WebSockets and as many keep-alive
clients, with the default deadlines.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import resource
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from process.clients import Http, address_of
from process.counting import Metronome, Probes, cpu_between_pings, forget_peaks, peaks, probes
from process.nets import Net, network
from process.rows import rows
from process.support import APPS, PATIENCE, until
from process.test_accept import waits

from leeward._core.admission import BRIEF
from leeward.testing import Service, serve

WORKERS = 4
WAVES = ("paced", "burst", "serial")
#: WebSockets, and as many keep-alive clients.
SIZE = int(os.environ.get("SOAK_CROWD", "1000"))
LONG = SIZE > 1000
#: They are divided among these: each needs a descriptor for each of its own.
PROCESSES = 4
#: Evenness needs processes that run (see test_accept.py), so an uneven wave may come again.
TRIES = 5
EVEN = 1.05
#: Seconds that a worker waits to run during a wave before nothing can be said of evenness.  On
#: two cores that do nothing else it is 0.1 to 0.5 for a thousand.
STARVED = SIZE / 1000
#: Peak memory of the last wave, in parts of the first one's.
GROWTH = 1.03 if LONG else 1.10
#: Of one core, by all workers together, once all are gone.  Ten milliseconds are one tick.
QUIET, TICKS = 0.02, 0.05
#: The defaults take too long for a short test.
DEADLINES = () if LONG else ("--ws-ping-interval=2s", "--ws-ping-timeout=4s", "--peer-timeout=3s")
#: By when a peer that has said nothing must be noticed, and how long a ping may be away.
DEADLINE, PING = (75.0, 45.0) if LONG else (PATIENCE, PATIENCE)
COMING = 60.0 + SIZE / 20
LOOP = "uvloop" if importlib.util.find_spec("uvloop") else "asyncio"

T = TypeVar("T")

pytestmark = pytest.mark.timeout(300 if not LONG else 3600)


class Wave:
    """Processes full of clients."""

    def __init__(
        self, address: tuple[str, int], sources: list[str], arrival: str, under: list[str]
    ) -> None:
        count = 2 * SIZE // len(sources)
        script = str(Path(__file__).with_name("audience.py"))
        self._processes = [
            subprocess.Popen(
                [*under, sys.executable, script, *map(str, (*address, source, count, arrival))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for source in sources
        ]

    def wait_here(self) -> Wave:
        for it in self._processes:
            assert it.stdout is not None
            assert select.select([it.stdout], [], [], COMING)[0], "not all have been answered"
            assert it.stdout.readline() == b"here\n", "a client was not answered"
        return self

    def reset(self) -> None:
        for it in self._processes:
            it.communicate(b"\n", COMING)

    def kill(self) -> None:
        for it in self._processes:
            it.kill()
        for it in self._processes:
            it.communicate(timeout=COMING)


class Place:
    """Where a service and its clients live: this machine's network, or one of the test's own."""

    def __init__(self, net: Net | None) -> None:
        self.net = net
        self._numbers = iter(range(2, 250))
        self.under = net.command() if net else []

    def sources(self) -> list[str]:
        """Addresses for the processes of one wave."""
        if self.net is not None:
            return [self.net.client() for _ in range(PROCESSES)]
        return [f"127.0.0.{next(self._numbers)}" for _ in range(PROCESSES)]

    def inside(self, call: Callable[[], T]) -> T:
        """What it returns; sockets that it makes are in this network."""
        return self.net.inside(call) if self.net else call()


def descriptors() -> None:
    """As many as are allowed; the test is skipped where they are not enough."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Of a worker, uneven as it may be in a try, with what it keeps in reserve.
    needed = 2 * (2 * SIZE // WORKERS) + 200
    if 0 <= hard < needed:
        pytest.skip(f"{needed} descriptors of a process are needed, {hard} allowed (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextlib.contextmanager
def ground(way: str, flags: tuple[str, ...], directory: Path) -> Iterator[tuple[Service, Place]]:
    """A service that is ready, on ground where clients can go in this way."""
    with contextlib.ExitStack() as stack:
        net = stack.enter_context(network()) if way == "hole" else None
        where = {"bind": f"{net.SERVER}:0", "python": net.python(directory)} if net else {}
        # Nobody is sent away for being quiet while the others still come.
        flags = ("-w", str(WORKERS), "--idle-timeout=1h", "--backlog=4096", *flags, *DEADLINES)
        service = stack.enter_context(serve("counts_itself", *flags, cwd=APPS, **where))
        yield service.wait_ready(WORKERS), Place(net)


@pytest.mark.parametrize(
    ("way", "engine", "loop"),
    [
        ("reset", "leeward", LOOP),
        ("killed", "leeward", "asyncio"),
        ("hole", "leeward", LOOP),
        ("killed", "tornado", LOOP),
    ],
)
def test_crowd(way: str, engine: str, loop: str, tmp_path: Path) -> None:
    """Three waves, each even when it has come, and nothing of it there when it has gone.

    reset:   all at once, by RST.
    killed:  the processes, by SIGKILL: the kernel says it for them.
    hole:    their network: nobody says anything.
    """
    descriptors()
    with ground(way, ("--engine", engine, "--loop", loop), tmp_path) as (service, place):
        address = address_of(service)
        with probes(lambda: place.inside(lambda: Http(address)), WORKERS) as probe:
            show = Show(service, place, probe)
            tops = [show.wave(arrival, way) for arrival in WAVES]
            assert tops[-1] <= GROWTH * tops[0], f"peaks of memory: {tops}"
            clock = place.inside(lambda: Metronome(address))
            used, seconds = cpu_between_pings(clock, probe.pids, PING)
            assert used <= QUIET * seconds + TICKS, f"{used} s of CPU in {seconds:.1f} s"
        print(f"{way}, {engine} on {loop}: peaks {tops}, CPU {used:.2f} s in {seconds:.1f} s")
        assert "Traceback" not in service.log, service.log


class Show:
    def __init__(self, service: Service, place: Place, probe: Probes) -> None:
        self.service, self.place, self.probe = service, place, probe
        self.address = address_of(service)

    def wave(self, arrival: str, way: str) -> int:
        """They come and go.  The workers' peak memory, in bytes."""
        starved = 0
        for _ in range(TRIES):
            forget_peaks(self.probe.pids)
            before = waits(self.service)
            counts = self._once(arrival, way)
            delays = [b - a for a, b in zip(before, waits(self.service), strict=True)]
            print(arrival, counts, delays)
            starved += max(delays) > STARVED
            if max(counts) * WORKERS <= EVEN * sum(counts):
                return peaks(self.probe.pids)
        if starved == TRIES:
            pytest.skip(f"the machine is busy: a worker waited {max(delays):.3f} s to run")
        pytest.fail(f"{arrival}: {TRIES} times uneven, the last time {counts}")

    def _once(self, arrival: str, way: str) -> list[int]:
        """How many connections each worker had."""
        sources = self.place.sources()
        crowd = Wave(self.address, sources, arrival, self.place.under)
        try:
            with rows(self.service) as page:
                crowd.wait_here()
                counts = self.connections()
                # Those who leave sooner are brief ones, beside whom nobody is spread evenly: a
                # quick machine has the whole wave here and counted in 0.15 s.
                time.sleep(2 * BRIEF)
                assert sum(counts) == 2 * SIZE + WORKERS, counts
                if way == "reset":
                    crowd.reset()
                elif way == "killed":
                    crowd.kill()
                else:
                    assert self.place.net is not None
                    for source in sources:
                        self.place.net.swallow(source)
                until(lambda: sum(page.open()) == WORKERS, "all to be gone", DEADLINE)
            self.probe.until_base()
        finally:
            crowd.kill()
        assert self.connections() == [1] * WORKERS
        return counts

    def connections(self) -> list[int]:
        return [it["connections"] for it in self.service.workers()]
