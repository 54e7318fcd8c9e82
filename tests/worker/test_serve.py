"""A worker serves: ready, counts, requests, WebSockets, where it listens."""

from __future__ import annotations

import re
import socket

import pytest
from worker.conftest import EVERY_ENGINE
from worker.harness import listen, words

pytestmark = EVERY_ENGINE


@pytest.mark.parametrize("factory", ["make_app", "make_app_slowly", "on_uvloop"])
def test_it_says_ready_and_answers(serving, factory, served_by):
    """Factories may be plain or asynchronous; the application's own policy wins over --loop."""
    one = serving(factory)
    client = one.connect()
    assert client.get("/")[2] == "hello from 2"
    module = client.get("/loop")[2]
    wanted = "uvloop" if factory == "on_uvloop" else served_by["loop"]
    assert module == {"uvloop": "uvloop", "asyncio": "asyncio.unix_events"}[wanted]


def test_the_page_is_truthful(serving):
    """pid, slot, generation, open, accepted, requests and in flight, as they change."""
    one = serving()
    assert (one.row.pid, one.row.slot, one.row.generation) == (one.pid, 2, 5)
    first, second = one.connect(), one.connect()
    first.get("/")
    first.get("/")
    second.send("/hold")
    one.until(lambda row: row.in_flight == 1 and row.requests == 3)
    assert words(one.row) == {"open": 2, "accepted": 2, "requests": 3, "in_flight": 1}
    third = one.connect().upgrade()
    one.until(lambda row: row.in_flight == 1 and row.open == 3)
    first.get("/release")
    assert second.answer()[2] == "released"
    third.close()
    second.close()
    one.until(lambda row: row.open == 1 and row.in_flight == 0)
    assert (one.row.accepted, one.row.requests) == (3, 5)


def test_a_websocket_echoes(serving):
    client = serving().connect().upgrade()
    client.send_frame(1, b"ahoy")
    assert client.frame() == (1, b"ahoy")


def test_requests_that_came_in_one_packet_are_all_answered(serving):
    """Pipelined requests lie in the buffer: the second has no first byte to be seen."""
    one = serving()
    client = one.connect()
    client.sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
    assert [client.answer()[2] for _ in range(3)] == ["hello from 2"] * 3
    one.until(lambda row: row.in_flight == 0 and row.requests == 3)


def test_it_listens_on_ipv6_and_unix_sockets(serving, tmp_path):
    path = str(tmp_path / "app.sock")
    listeners = [listen(), listen(socket.AF_UNIX, path)]
    if socket.has_ipv6:
        listeners.append(listen(socket.AF_INET6, ("::1", 0)))
    one = serving(listeners=listeners)
    for listener in one.listeners:
        assert one.connect(listener).get("/")[0] == 200


def test_a_client_that_sends_rubbish_or_leaves_costs_nothing(serving):
    """Counters come back to nought after resets, half requests and no request."""
    one = serving()
    rubbish = (b"", b"GET / HT", b"rubbish\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n")
    for count, data in enumerate(rubbish, start=1):
        client = one.connect()
        client.sock.sendall(data)
        one.until(lambda row, count=count: row.accepted == count)
        client.close()
        one.until(lambda row: row.open == 0)
    assert one.row.in_flight == 0


def test_out_of_descriptors_it_pauses_and_recovers(serving):
    """No spin, one line a second at most, the connections it has are served."""
    import resource

    one = serving(limit=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50)))
    clients = [one.connect() for _ in range(60)]
    one.expect(r"full: \d+ connections, 50 descriptors allowed")
    cpu = _cpu(one.pid)
    assert clients[0].get("/")[0] == 200
    for client in clients[1:]:
        client.send("/")
    served = [client for client in clients[1:] if not client.silent()]
    for client in clients[:30]:
        client.close()
    for client in clients[30:]:
        assert client.answer()[2] == "hello from 2"
    assert len(served) < 60
    assert _cpu(one.pid) - cpu < 0.5
    assert len(re.findall(" full: |by 503", one.log())) <= 5


def _cpu(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
