"""64 files and 200 silent clients: bare Tornado burns a core and shouts; under leeward, neither.

The same application, the same client: one that has a connection and asks on it, 200 that
connect and keep silent, and one that comes when those have gone.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from process.support import free_port, waited

from leeward._sys import procfs
from leeward.testing import serve

EXAMPLE = Path(__file__).parents[2] / "examples" / "failures" / "full_of_descriptors.py"
CLIENTS = 200
#: Requests of the one client while the others are there, and their pace: a length of time
#: over which processor time can be told.
REQUESTS, PACE = 20, 0.1
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
#: Of a core: leeward takes 2 %.
RESTS = 0.1
#: Seconds until somebody new is answered, as in bench/emfile.py: leeward takes 0.01.
AGAIN = 1.0
#: Bytes of tracebacks in these two seconds: Tornado writes 6 MB a second on a core of its own.
SHOUTS = 100_000


@dataclass
class Seen:
    answered: int
    cores: float
    afterwards: float  # seconds until somebody new is answered
    starved: float  # those of them in which the worker, or we, were ready to run and did not


def ask(client: socket.socket) -> bool:
    client.sendall(REQUEST)
    data = b""
    with contextlib.suppress(OSError):
        while not data.endswith(b"hello\n"):
            part = client.recv(65536)
            if not part:
                break
            data += part
    return b" 200 OK" in data


def crowd(address: tuple[str, int], pid: int) -> Seen:
    with socket.create_connection(address, 10) as regular:
        assert ask(regular)
        with contextlib.ExitStack() as stack:
            for _ in range(CLIENTS):
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(address)
            cpu, begun = procfs.cpu_seconds(pid) or 0.0, time.monotonic()
            answered = 0
            for _ in range(REQUESTS):
                answered += ask(regular)
                select.select([], [], [], PACE)
            spent = time.monotonic() - begun
            cores = ((procfs.cpu_seconds(pid) or 0.0) - cpu) / spent
    begun, starved = time.monotonic(), waited(pid) + waited(os.getpid())
    with socket.create_connection(address, 20) as late:
        assert ask(late)
    afterwards = time.monotonic() - begun
    return Seen(answered, cores, afterwards, waited(pid) + waited(os.getpid()) - starved)


@contextlib.contextmanager
def bare(log: Path) -> Iterator[tuple[tuple[str, int], int]]:
    port = free_port()
    command = [sys.executable, str(EXAMPLE), "--serve", str(port)]
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as program,
    ):
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == "listening\n"
            yield ("127.0.0.1", port), program.pid
        finally:
            program.kill()


def test_the_bare_framework_has_the_fault(tmp_path: Path) -> None:
    """The listener stays readable, the loop spins and shouts."""
    with bare(tmp_path / "log") as (address, pid):
        crowd(address, pid)
    assert (tmp_path / "log").stat().st_size > SHOUTS


@pytest.mark.parametrize("engine", ["leeward", "tornado"])
def test_leeward_takes_it_away(engine: str, tmp_path: Path) -> None:
    """All are answered who are there, a few lines are said, and new ones come in a second."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nulimit -n 64\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    with serve(f"{EXAMPLE}:make_app", "--engine", engine, python=str(python)) as service:
        found = service.wait_ready(1).wait_line(r"http://([\d.]+):(\d+)")
        pid = int(service.workers()[0]["pid"])
        seen = crowd((found[1], int(found[2])), pid)
        assert seen.answered == REQUESTS
        assert seen.cores < RESTS
        told = [line for line in service.lines if "tornado.access" not in line]
        assert len(told) < 40
        assert "Traceback" not in service.log
        if seen.afterwards - seen.starved <= AGAIN < seen.afterwards:
            pytest.skip(f"the machine is busy: {seen.starved:.3f} s went by in waiting to run")
        assert seen.afterwards <= AGAIN
