"""`--rebalance`: idle keep-alive connections move to a worker that has just begun, nobody else."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import pytest
from process.clients import Http, WebSocket, address_of
from process.support import APPS, until
from process.test_set import set_

from leeward.testing import Service, serve


def counts(service: Service) -> list[int]:
    return [it["connections"] for it in service.workers()]


@pytest.mark.parametrize("engine", ["leeward", "tornado"])
def test_idle_ones_move_when_it_is_asked_for(engine: str) -> None:
    """By `leeward set`, and only then; WebSockets stay where they are."""
    with (
        serve("held", "-w", "1", "--engine", engine, cwd=APPS) as service,
        contextlib.ExitStack() as stack,
    ):
        address = address_of(service.wait_ready(1))
        sockets = [stack.enter_context(WebSocket(address)) for _ in range(6)]
        clients = [stack.enter_context(Http(address)) for _ in range(30)]
        for it in clients:
            assert it.get("/").status == 200
        assert service.leeward("scale", "2").returncode == 0
        service.wait_ready(2)
        until(lambda: counts(service) == [36, 0], "nobody to be closed unasked")
        set_(service, "rebalance=20")

        def even() -> bool:
            for at, it in enumerate(clients):
                if gone(it):
                    clients[at] = stack.enter_context(Http(address))
                    assert clients[at].get("/").status == 200
            found = counts(service)
            return sum(found) == 36 and max(found) - min(found) <= 6

        until(even, "both to have about as many")
        for number, socket in enumerate(sockets):
            socket.say(f"here {number}")
            assert f"here {number}" in (socket.hear(), socket.hear())


def test_nobody_makes_room_for_a_stopped_worker() -> None:
    """It has few and takes none: one look's worth is closed, and then no more."""
    with (
        serve("held", "-w", "2", "--rebalance", "4", cwd=APPS) as service,
        contextlib.ExitStack() as stack,
    ):
        address = address_of(service.wait_ready(2))
        stopped = service.workers()[1]["pid"]
        os.kill(stopped, signal.SIGSTOP)
        stack.callback(os.kill, stopped, signal.SIGCONT)
        clients = [stack.enter_context(Http(address)) for _ in range(30)]
        for it in clients:
            assert it.get("/").status == 200
        closed = 0

        def again() -> int:
            nonlocal closed
            for at, it in enumerate(clients):
                if gone(it):
                    closed += 1
                    clients[at] = stack.enter_context(Http(address))
                    assert clients[at].get("/").status == 200
            return closed

        # It cannot be waited for that nothing happens: the first look finds nobody idle for long,
        # the next may close four.
        ends = time.monotonic() + 5.5
        until(lambda: again() > 4 or time.monotonic() > ends, "five looks")
        assert closed <= 4


def gone(client: Http) -> bool:
    """Has the server closed it?"""
    client.sock.setblocking(False)
    try:
        return client.sock.recv(1) == b""
    except BlockingIOError:
        return False
    finally:
        client.sock.settimeout(20)
