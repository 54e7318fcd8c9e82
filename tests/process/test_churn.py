"""Clients come and go in every way there is; nothing is left of them, and nobody is disturbed.

SOAK_CHURN=1000000 is the long form (`make soak`), with the default deadlines.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from process.canaries import Canaries, Chatter
from process.clients import Gate, Http, address_of
from process.counting import Probes, probes, sizes
from process.rows import rows
from process.support import APPS, until
from process.wires import Wire, wire

from leeward.testing import Service, serve

T = TypeVar("T")

WORKERS = 2
#: Connects of the whole test, and in how many rounds.
CONNECTS = int(os.environ.get("SOAK_CHURN", "2400"))
LONG = CONNECTS > 100_000
ROUNDS = 20 if LONG else 2
#: Packets that are lost, and clients that vanish, in parts of all.
LOSS, VANISH = 0.05, 0.2
#: How the others go (see churner.py): with those that vanish, a fifth of all in the middle.
WAYS = "wwwwwwfr"
#: Resident memory may differ by so much between the first round's end and the last one's.
STEADY = 0.10
#: The defaults take too long for a short test.  A peer behind this wire lives: ten seconds are
#: six losses of the same packet, or of five probes.
DEADLINES = (
    ()
    if LONG
    else (
        *("--header-timeout=6s", "--body-timeout=6s", "--peer-timeout=10s"),
        *("--ws-ping-interval=2s", "--ws-ping-timeout=8s", "--abandon-after=1s"),
    )
)
DEADLINE = 100.0 if LONG else 40.0
COMING = 120.0 + CONNECTS / ROUNDS / 20
LOOP = "uvloop" if importlib.util.find_spec("uvloop") else "asyncio"
SEED = random.SystemRandom().randrange(1 << 30)

pytestmark = pytest.mark.timeout(7200 if LONG else 300)


class Ground:
    """Where a service and its clients live.  wire: between them, or None."""

    def __init__(self, service: Service, wire: Wire | None) -> None:
        self.service, self.wire = service, wire
        self.address = address_of(service)

    def near(self, call: Callable[[], T]) -> T:
        """As the service does."""
        return self.wire.near.inside(call) if self.wire else call()

    def far(self, call: Callable[[], T]) -> T:
        """As its clients do."""
        return self.wire.far.inside(call) if self.wire else call()

    def source(self) -> str:
        return self.wire.client() if self.wire else "127.0.0.2"


class Churner:
    """A process of clients (see churner.py)."""

    def __init__(self, ground: Ground, seed: int) -> None:
        self.source = ground.source()
        script = str(Path(__file__).with_name("churner.py"))
        words = [script, *map(str, (*ground.address, self.source, seed))]
        under = ground.wire.far.command() if ground.wire else []
        self._process = subprocess.Popen(
            [*under, sys.executable, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def begin(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")

    def wait(self) -> str:
        assert self._process.stdout is not None
        assert select.select([self._process.stdout], [], [], COMING)[0], "a churner hangs"
        return self._process.stdout.readline().strip()

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextlib.contextmanager
def ground(lossy: bool, directory: Path, *flags: str) -> Iterator[Ground]:
    with contextlib.ExitStack() as stack:
        found = stack.enter_context(wire(LOSS, SEED)) if lossy else None
        where: dict[str, Any] = {}
        if found:
            where = {"bind": f"{found.SERVER}:0", "python": found.near.python(directory)}
        flags = ("-w", str(WORKERS), *flags, *DEADLINES)
        service = stack.enter_context(serve("counts_itself", *flags, cwd=APPS, **where))
        yield Ground(service.wait_ready(WORKERS), found)


@pytest.mark.parametrize(
    ("engine", "loop", "lossy"),
    [
        pytest.param("leeward", LOOP, True, id="leeward-lossy"),
        pytest.param("leeward", "asyncio", False, id="leeward"),
        pytest.param("tornado", LOOP, False, id="tornado"),
    ],
)
def test_churn(engine: str, loop: str, lossy: bool, tmp_path: Path) -> None:
    """Some leave in the middle, some vanish; memory, descriptors and tasks are as before.

    lossy:  packets get lost, and clients vanish by their network; else by FIN and RST only.
    """
    print(f"seed {SEED}")
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(
            ground(lossy, tmp_path, "--engine", engine, "--loop", loop, "--idle-timeout=12h")
        )
        probe = stack.enter_context(probes(lambda: place.far(lambda: Http(place.address)), WORKERS))
        churn(place, probe)
        assert "Traceback" not in place.service.log, place.service.log


def churn(place: Ground, probe: Probes) -> None:
    """All rounds, with canaries."""
    with contextlib.ExitStack() as stack:
        crowd = Churner(place, SEED)
        stack.callback(crowd.end)
        doomed = None
        if place.wire:
            doomed = Churner(place, SEED + 1)
            stack.callback(doomed.end)
        gate = stack.enter_context(place.near(Gate))
        canaries = stack.enter_context(
            Canaries(
                lambda: place.far(lambda: Http(place.address)),
                lambda: place.far(lambda: Chatter(place.address)),
                gate,
                DEADLINE,
            )
        )
        after: list[int] = []
        for _ in range(ROUNDS):
            one_round(place, crowd, doomed, WORKERS + 4)
            assert not canaries.errors, canaries.errors
            after.append(sizes(probe.pids))
        assert abs(after[-1] - after[0]) <= STEADY * after[0], f"resident memory: {after}"
        print(f"resident {after}, canaries {canaries.answers}")
    probe.until_base()


def one_round(place: Ground, crowd: Churner, doomed: Churner | None, stay: int) -> None:
    """Returns once no more than `stay` connections are left."""
    count = CONNECTS // ROUNDS
    vanish = int(count * VANISH) if doomed else 0
    crowd.begin(f"{count - vanish} {WAYS}")
    if doomed:
        doomed.begin(f"{vanish} v")
    for it in filter(None, (crowd, doomed)):
        # Behind the wire one is lost so often, now and then, that its deadline comes first.
        failed = int(it.wait().split()[1])
        most = 1 + count // 10_000 if place.wire else 0
        assert failed <= most, f"{failed} clients were not answered"
    if doomed:
        assert place.wire is not None
        place.wire.cut(doomed.source)
    with rows(place.service) as page:
        until(lambda: sum(page.open()) <= stay, "all to be gone", DEADLINE)
    if doomed:
        assert place.wire is not None
        doomed.begin("let go")
        assert doomed.wait() == "done"
        place.wire.cut()
