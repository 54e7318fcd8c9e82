"""Failure 5, clients that vanish: seven ways to go, and whom the server still has afterwards.

The same clients against bare Tornado, where they are left behind, and under leeward, where
nobody is.  All ways and kinds of client at once: one run shows them all.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from process.clients import Http, address_of
from process.nets import Net, network
from process.support import APPS, PATIENCE, until

from leeward.testing import serve

KINDS = ("ws", "session", "poll", "events")
EACH = 2
VANISHER = Path(__file__).with_name("vanisher.py")
FLAGS = ("--ws-ping-interval", "1s", "--ws-ping-timeout", "2s", "--peer-timeout", "4s")

#: By way: what is done with the process whose clients they are.
WAYS: dict[str, Callable[[Net, Vanisher], None]] = {
    "stays": lambda net, it: None,
    "closes": lambda net, it: it.signal(signal.SIGTERM),
    "resets": lambda net, it: it.signal(signal.SIGUSR1),
    "killed": lambda net, it: it.signal(signal.SIGKILL),
    "frozen": lambda net, it: it.signal(signal.SIGSTOP),
    "hole": lambda net, it: net.swallow(it.source),
    "leaves": lambda net, it: it.signal(signal.SIGUSR1),
    "raises": lambda net, it: None,
}

#: Of bare Tornado.
LEFT_BEHIND = {
    *((kind, "hole") for kind in KINDS),
    *((kind, "frozen") for kind in KINDS),
    *((kind, way) for kind in ("ws", "session") for way in ("leaves", "raises")),
}
#: A frozen client acknowledges, and nobody asks it anything: only a maximum age would see it.
UNSEEN = {("poll", "frozen")}


class Vanisher:
    def __init__(self, net: Net, port: int, way: str) -> None:
        self.way, self.source, self.said = way, net.client(), b""
        paths = [f"/{kind}/{way}" for kind in KINDS for _ in range(EACH)]
        self.process = subprocess.Popen(
            net.command(
                *(sys.executable, str(VANISHER), net.SERVER, str(port), self.source, *paths)
            ),
            stdout=subprocess.PIPE,
        )

    def heard(self, line: bytes) -> None:
        assert self.process.stdout is not None
        while line not in self.said:
            assert select.select([self.process.stdout], [], [], PATIENCE)[0], f"no {line!r}"
            news = os.read(self.process.stdout.fileno(), 100)
            assert news, f"it ended, without {line!r}"
            self.said += news

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()


def drive(net: Net, port: int, *, pinged: bool) -> dict[tuple[str, str], int]:
    """Whom the server has at the end, by kind and way.

    pinged:  does the server ping all WebSockets?  Then it is waited for, once.
    """
    with contextlib.ExitStack() as stack:
        crowd = []
        for way in WAYS:
            crowd.append(Vanisher(net, port, way))
            stack.callback(crowd[-1].end)
        for it in crowd:
            it.heard(b"ready")
            if it.way == "leaves":  # while it is prepared for
                WAYS[it.way](net, it)
        if pinged:
            for it in crowd:
                if it.way in ("stays", "frozen"):
                    it.heard(b"pinged")
        for it in crowd:
            if it.way != "leaves":
                WAYS[it.way](net, it)

        def count() -> dict[tuple[str, str], int]:
            with net.inside(lambda: Http((net.SERVER, port))) as client:
                found = client.get("/count", "Connection: close").json
            return {(kind, way): n for name, n in found.items() for kind, way in [name.split("/")]}

        def settled() -> dict[tuple[str, str], int] | None:
            found = count()
            left = {cell for cell, n in found.items() if n and cell[1] != "stays"}
            return found if left <= UNSEEN else None

        with contextlib.suppress(AssertionError):
            return until(settled, "all who vanished to be forgotten", 25.0 if pinged else 12.0)
        return count()


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with network() as found:
        yield found


@pytest.fixture(scope="module")
def bare(net: Net) -> dict[tuple[str, str], int]:
    program = str(APPS / "loses_clients.py")
    with subprocess.Popen(
        net.command(sys.executable, program, net.SERVER, "8000"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            assert server.stdout is not None and server.stdout.readline()
            return drive(net, 8000, pinged=False)
        finally:
            server.kill()


@pytest.fixture(scope="module", params=["leeward", "tornado"])
def sheltered(
    request: pytest.FixtureRequest, net: Net, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], int]:
    python = net.python(tmp_path_factory.mktemp("net"))
    flags = (*FLAGS, "--engine", request.param)
    bind = f"{net.SERVER}:0"
    with serve("loses_clients", *flags, cwd=APPS, bind=bind, python=python) as service:
        port = address_of(service.wait_ready())[1]
        found = drive(net, port, pinged=True)
        service.signal(signal.SIGQUIT)
        service.wait()
    print(json.dumps({"/".join(cell): n for cell, n in found.items()}))
    return found


@pytest.mark.parametrize("cell", sorted(LEFT_BEHIND), ids="-".join)
def test_bare_tornado_keeps(cell: tuple[str, str], bare: dict[tuple[str, str], int]) -> None:
    """Each of them is still a client to it, for ever or for a quarter of an hour."""
    assert bare[cell] == EACH


@pytest.mark.parametrize("way", [it for it in WAYS if it != "stays"])
@pytest.mark.parametrize("kind", KINDS)
def test_leeward_keeps_nobody(kind: str, way: str, sheltered: dict[tuple[str, str], int]) -> None:
    """Who vanished is forgotten, whatever its kind."""
    if (kind, way) in UNSEEN:
        pytest.skip("a frozen long poll is seen by a maximum age only")
    assert sheltered[kind, way] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_who_stays_is_kept(kind: str, sheltered: dict[tuple[str, str], int]) -> None:
    """In the middle of all that."""
    assert sheltered[kind, "stays"] == EACH
