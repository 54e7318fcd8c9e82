"""Clients that leave: what bare Tornado keeps of them, and leeward does not."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

import pytest
from failures.bare import Address, bare
from process.clients import Gate, Http, address_of, get
from process.support import APPS, until

from leeward._sys.procfs import cpu_seconds
from leeward.testing import serve

CLIENTS = 20
POLLS = APPS / "polls.py"


def leave(address: Address, path: str) -> None:
    """Clients that ask, are heard, and leave: every second by a reset."""
    clients = [Http(address) for _ in range(CLIENTS)]
    for client in clients:
        client.send(path)
    until(lambda: get(address).json["tasks"] == CLIENTS, "all handlers to wait")
    for number, client in enumerate(clients):
        if number % 2:
            linger = struct.pack("ii", 1, 0)
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        client.close()


@pytest.mark.parametrize("path", ["/poll", "/old"])
def test_bare_tornado_keeps_handlers_that_wait(path: str) -> None:
    with bare(POLLS) as (address, _):
        leave(address, path)
        # A request that comes after them: they have been heard to leave.
        assert get(address).json["tasks"] == CLIENTS
        assert get(address).json["handlers"] == CLIENTS


@pytest.mark.parametrize("path", ["/poll", "/old"])
def test_leeward_does_not(path: str) -> None:
    with serve("polls", "--abandon-after", "200ms", cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        leave(address, path)
        nothing: Callable[[], bool] = lambda: (  # noqa: E731 - asked again and again
            {name: get(address).json[name] for name in ("tasks", "handlers")}
            == {"tasks": 0, "handlers": 0}
        )
        until(nothing, "all that waits to be gone")
        until(lambda: service.log.count(f"GET {path} over") == CLIENTS, "each to say so")
        assert "Traceback" not in service.log


def test_bare_tornado_answers_nobody_while_a_handler_blocks() -> None:
    with bare(POLLS) as (address, _), Gate() as gate:
        with Http(address) as client:
            gate.hold(client, "block")
        with Http(address) as other:
            other.sock.settimeout(1.0)
            with pytest.raises(TimeoutError):
                other.get()


def test_leeward_goes_on_while_a_handler_blocks() -> None:
    """Its client has left: nobody spins for it, the others are served, nothing stays."""
    with serve("polls", "-w", "2", cwd=APPS) as service:
        address = address_of(service.wait_ready(2))
        with Gate() as gate:
            with Http(address) as client:
                held = gate.hold(client, "block")
            others = [it["pid"] for it in service.workers() if it["pid"] != held.pid]
            before = cpu_seconds(others[0])
            answers = [get(address).json["pid"] for _ in range(20)]
            assert set(answers) == set(others)
            with Http(address) as poll:  # time goes by, and the sibling has nothing to do
                poll.send("/poll")
                poll.sock.settimeout(2.0)
                with pytest.raises(TimeoutError):
                    poll.sock.recv(1)
                # By a reset: who says FIN may still want its answer, and is kept for 15 s.
                poll.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            after = cpu_seconds(others[0])
            assert before is not None and after is not None and after - before < 1.0
            held.release()
        service.wait_line("GET /block/.* finished 200")
        connections = lambda: sum(it["connections"] for it in service.workers())  # noqa: E731
        until(lambda: connections() == 0, "no connection to be left")
        assert "Traceback" not in service.log
