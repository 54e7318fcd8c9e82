"""Clients that have said FIN and may have left, while their worker drains."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import time

import pytest
from process.clients import Gate, Http, address_of, all_drain
from process.support import APPS

from leeward.testing import Service, serve

ENGINES = ("leeward", "tornado")
#: More than anybody may be waited for here, in seconds.
GRACEFUL = 30
FLAGS = ("--graceful-timeout", f"{GRACEFUL}s")


def ask(service: Service, client: Http, line: str) -> None:
    """Send a request, and wait until it is in hand."""
    mark = service.mark()
    client.sock.sendall(f"{line} HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n".encode())
    service.wait_line(f"{line.split()[0]} waits", after=mark)


def statuses(service: Service) -> list[str]:
    return sorted(re.findall(r"tornado\.access: (\d+) POST", service.log))


@pytest.mark.parametrize(("order", "line"), [("stop", "POST /"), ("reload", "GET /wsgi")])
def test_whoever_gave_up_holds_no_drain(order: str, line: str) -> None:
    """A time-out of the client's: by then its FIN has come, and nothing else ever will."""
    with serve("never_answers:make_app", *FLAGS, cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        with Http(address) as client:
            ask(service, client, line)
        service.wait_line(f"{line.split()[0]} left")
        begun = time.monotonic()
        if order == "stop":
            service.signal(signal.SIGTERM)
            assert service.wait() == 0
        else:
            service.signal(signal.SIGHUP)
            all_drain(service, 1, 1)
            service.wait_line("gen=1 .* gone")
        assert time.monotonic() - begun < GRACEFUL / 2
        service.wait_line("closing 1 connection of clients that have said FIN")
        assert statuses(service) == (["499"] if line == "POST /" else [])


def test_whoever_gives_up_amid_a_drain_holds_it_no_longer() -> None:
    with serve("never_answers:make_app", *FLAGS, cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        with Http(address) as client:
            ask(service, client, "POST /")
            service.signal(signal.SIGTERM)
            service.wait_line("draining")
        begun = time.monotonic()
        assert service.wait() == 0
        assert time.monotonic() - begun < GRACEFUL / 2
        assert statuses(service) == ["499"]


def test_whoever_has_only_said_all_gets_the_answer_amid_a_drain() -> None:
    with serve("polls", *FLAGS, cwd=APPS) as service, Gate() as gate:
        address = address_of(service.wait_ready(1))
        with Http(address) as client:
            path = f"/work/{gate.port}"
            client.sock.sendall(f"POST {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
            held = gate.arrival()
            client.sock.shutdown(socket.SHUT_WR)
            service.wait_line(f"POST {path} left")
            service.signal(signal.SIGTERM)
            service.wait_line("draining")
            held.release()
            assert client.answer().status == 200
            assert client.at_end()
        assert service.wait() == 0


def test_whoever_has_only_said_all_is_told_at_the_end() -> None:
    """It might still read."""
    with serve("never_answers:make_app", *FLAGS, cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        with Http(address) as client:
            ask(service, client, "POST /")
            client.sock.shutdown(socket.SHUT_WR)
            service.wait_line("POST left")
            service.signal(signal.SIGTERM)
            assert client.answer().status == 503
        assert service.wait() == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_at_the_deadline_the_log_tells_what_each_was_told(engine: str) -> None:
    """503 for who stayed and got that; 499, and no error of the server's, for who had left."""
    flags = ("--engine", engine, "--graceful-timeout", "2s")
    with serve("never_answers:make_app", *flags, cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        with contextlib.ExitStack() as stack:
            stays = stack.enter_context(Http(address))
            ask(service, stays, "POST /")
            with Http(address) as leaves:
                ask(service, leaves, "POST /")
            service.wait_line("POST left")
            service.signal(signal.SIGTERM)
            assert stays.answer().status == 503
        assert service.wait() == 0
        assert statuses(service) == ["499", "503"]
