"""What went wrong with clients and could not be mended is in `ps --json`, for each worker."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest
from process.clients import Gate, Http, WebSocket, address_of
from process.rows import rows
from process.support import APPS, until

from leeward.testing import Service, serve

ENGINES = pytest.mark.parametrize("engine", ["leeward", "tornado"])
PING, PONG = 9, 10
#: The intervals of a busy machine; a ping is asked for, and each end is waited for.
SHORT = ("--ws-ping-interval", "500ms", "--ws-ping-timeout", "2s")


def told(service: Service, key: str) -> dict[str, Any]:
    (worker,) = service.ps()["workers"]
    return dict(worker[key])


def asked(client: WebSocket, *, answers: bool) -> None:
    opcode, payload = client._frame()
    assert opcode == PING, (opcode, payload)
    if answers:
        client._send(PONG, payload)


@ENGINES
def test_pings_that_fail(engine: str) -> None:
    """Each by its cause: who is lost without a word, who resets, and who never answers."""
    with serve("held", *SHORT, "--engine", engine, cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        none = {"no_answer": 0, "reset": 0, "deaf": 0}
        with rows(service) as page, WebSocket(address) as deaf, WebSocket(address) as frozen:
            (row,) = page.accepting()
            deaf.hear()
            frozen.hear()
            assert told(service, "ping_failures") == none
            asked(frozen, answers=True)
            asked(frozen, answers=False)
            assert frozen.close_code(answer=False) == 1011
            until(lambda: row.ping_deaf, "the other to be told of")
            assert told(service, "ping_failures") == none | {"no_answer": 1, "deaf": 1}
            with WebSocket(address) as resets:
                resets.hear()
                asked(resets, answers=False)
                linger = struct.pack("ii", 1, 0)
                resets.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            until(lambda: row.ping_reset, "the reset to be told of")
            assert told(service, "ping_failures") == {"no_answer": 1, "reset": 1, "deaf": 1}
            assert (row.ping_no_answer, row.ping_reset, row.ping_deaf) == (1, 1, 1)


@ENGINES
def test_handlers_that_cannot_be_ended(engine: str) -> None:
    """One that catches each CancelledError, and one whose thread works on."""
    flags = ("--on-disconnect=cancel", "--abandon-after=1s", "--graceful-timeout=1s")
    with serve("held", *flags, "--engine", engine, cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        with Gate() as gate, rows(service) as page:
            (row,) = page.accepting()
            with Http(address) as client:
                gate.hold(client, "threaded")
                assert told(service, "orphans") == {"stubborn": 0, "in_threads": 0}
            until(lambda: row.in_threads, "the thread to be left behind")
            with Http(address) as client:
                gate.hold(client, "stubborn")
            until(lambda: row.stubborn, "it to be given up")
            assert told(service, "orphans") == {"stubborn": 1, "in_threads": 1}


def test_requests_that_are_refused() -> None:
    """Counted, and each named by its rule in the log."""
    with serve("held", cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        (worker,) = service.ps()["workers"]
        assert worker["refused"] == 0
        for request, rule in (
            (b"GET / HTTP/1.1\r\n\r\n", "host"),
            (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: " + b"a" * 70_000, "header-size"),
        ):
            with socket.create_connection(address) as client:
                client.sendall(request)
                assert client.recv(100).startswith(b"HTTP/1.1 4")
            service.wait_line(rf"\[{rule}")
        (worker,) = service.ps()["workers"]
        assert worker["refused"] == 2
