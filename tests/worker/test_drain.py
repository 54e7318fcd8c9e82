"""A worker that is told to leave ends each connection in the way that hurts nobody."""

from __future__ import annotations

import os
import resource
import select
import signal
import time

import pytest
from worker.conftest import EVERY_ENGINE, SLACK

pytestmark = EVERY_ENGINE


@pytest.mark.parametrize("reason", ["reload", "stop"])
def test_with_nothing_to_do_it_leaves_at_once(serving, reason):
    one = serving()
    at = one.drain(reason, 20)
    assert one.ended() == 0
    assert time.monotonic() - at < SLACK


def test_a_reload_lets_idle_connections_have_their_next_answer(serving):
    """Closing an idle connection races with the request that is under way on it."""
    one = serving()
    idle, young = one.connect(), one.connect()
    idle.get("/")
    one.until(lambda row: row.open == 2 and row.in_flight == 0)
    one.drain("reload")
    one.expect("draining .reload.: 2 connections, 0 in flight")
    assert idle.silent() and young.silent()
    for client in (idle, young):
        status, headers, body = client.get("/")
        assert (status, headers["connection"], body) == (200, "close", "hello from 2")
        assert client.at_end()
    assert one.ended() == 0


def test_requests_in_flight_finish_and_say_close(serving):
    """Long polls are in flight: their headers are not written yet."""
    one = serving()
    poll, release = one.connect(), one.connect()
    release.get("/")
    poll.send("/hold")
    one.until(lambda row: row.in_flight == 1)
    one.drain("reload")
    one.expect("draining")
    release.get("/release")
    status, headers, body = poll.answer()
    assert (status, headers["connection"], body) == (200, "close", "released")
    assert poll.at_end()
    assert one.ended() == 0


def test_an_answer_already_begun_is_followed_by_one_more(serving):
    """Its headers did not say close: the client may send another request."""
    one = serving()
    client = one.connect()
    client.send("/slow?s=0.2&early=1")
    status, headers = client.head()
    assert status == 200 and "connection" not in headers
    one.drain("reload")
    client.rest = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + client.rest
    assert client.answer()[2] == "part one, slow"
    assert client.get("/")[1]["connection"] == "close"
    assert client.at_end()
    assert one.ended() == 0


def test_an_http_1_0_client_with_keep_alive_is_told_too(serving):
    """`ab -k`: Tornado would write "Keep-Alive" over our "close"."""
    one = serving()
    client = one.connect()
    client.send("/", version="1.0", Connection="keep-alive")
    assert client.answer()[1]["connection"] == "Keep-Alive"
    one.drain("reload")
    one.expect("draining")
    client.send("/", version="1.0", Connection="keep-alive")
    assert client.answer()[1]["connection"] == "close"
    assert client.at_end()
    assert one.ended() == 0


def test_what_is_left_at_the_deadline_is_cut(serving):
    """And nothing waits longer: from the order to the end at most timeout + 0.8 s."""
    one = serving()
    clients = [one.connect() for _ in range(4)]
    clients[0].get("/")
    clients[1].send("/hold")
    clients[2].upgrade()
    one.until(lambda row: row.open == 4 and row.in_flight == 1)
    at = one.drain("reload", timeout=0.5, window=60)
    assert clients[2].close_code(answer=False) == 1012
    assert one.ended() == 0
    assert 0.4 < time.monotonic() - at < 0.5 + 0.8 + SLACK
    status, headers, _ = clients[1].answer()
    assert (status, headers["retry-after"]) == (503, "1")
    assert all(client.at_end() for client in clients if client is not clients[2])
    one.expect("drain deadline reached, cutting connections: .*1 active")
    assert "Traceback" not in one.log()


def test_a_reload_spreads_the_close_of_websockets(serving):
    """Every one gets 1012, evenly over the window, none is just cut."""
    one = serving()
    clients = [one.connect().upgrade() for _ in range(20)]
    one.until(lambda row: row.open == 20 and row.in_flight == 0)
    at = one.drain("reload", timeout=10, window=1.0)
    times = sorted(_closing_times(clients, at))
    for place, moment in enumerate(times):
        assert place / 20 - 0.02 <= moment <= (place + 1) / 20 + 0.15 + SLACK, times
    assert one.ended() == 0
    assert one.log().count("websocket closed 1012") == 20


def _closing_times(clients, at):
    waiting = {client.sock: client for client in clients}
    while waiting:
        readable, _, _ = select.select(list(waiting), [], [], 15)
        assert readable
        for sock in readable:
            assert waiting.pop(sock).close_code() == 1012
            yield time.monotonic() - at


def test_a_stop_closes_websockets_and_idle_connections_at_once(serving):
    one = serving()
    socket, idle, busy = one.connect().upgrade(), one.connect(), one.connect()
    idle.get("/")
    busy.send("/slow?s=0.3")
    one.until(lambda row: row.in_flight == 1 and row.requests == 3)
    at = one.drain("stop", timeout=10)
    assert idle.at_end() and time.monotonic() - at < SLACK
    assert socket.close_code() == 1001
    assert busy.answer()[1]["connection"] == "close"
    assert one.ended() == 0


def test_a_stop_serves_what_stands_in_the_backlog_or_is_under_way(serving):
    """Bytes that the kernel has but Tornado has not read would be answered by a reset."""
    one = serving()
    busy = one.connect()
    busy.send("/slow?s=0.2")
    one.until(lambda row: row.in_flight == 1)
    # Stopped, so that all of this is there when it looks next.
    os.kill(one.pid, signal.SIGSTOP)
    queued = [one.connect() for _ in range(20)]
    for client in queued:
        client.send("/")
    one.drain("stop")
    os.kill(one.pid, signal.SIGCONT)
    for client in queued:
        status, headers, _ = client.answer()
        assert (status, headers["connection"]) == (200, "close")
    assert busy.answer()[0] == 200
    assert one.ended() == 0


def test_who_finds_it_without_descriptors_at_a_stop_is_left_to_its_siblings(serving):
    """To refuse whoever comes is to reset whoever waits."""
    one = serving(limit=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50)))
    first = one.connect()
    first.send("/slow?s=0.2")
    one.until(lambda row: row.in_flight == 1)
    os.kill(one.pid, signal.SIGSTOP)
    waiting = [one.connect() for _ in range(60)]
    one.drain("stop", refuse=True)
    os.kill(one.pid, signal.SIGCONT)
    one.expect("draining .stop.")
    left, _ = one.listeners[0].accept()
    left.close()
    for client in waiting:
        client.close()
    assert first.answer()[0] == 200
    assert one.ended() == 0


def test_a_stop_waits_a_moment_for_a_client_that_has_just_connected(serving):
    one = serving()
    young = one.connect()
    one.until(lambda row: row.open == 1)
    one.drain("stop")
    one.expect("draining")
    assert young.get("/")[1]["connection"] == "close"
    assert one.ended() == 0


def test_a_stop_does_not_wait_for_a_connection_that_never_speaks(serving):
    one = serving()
    silent = one.connect()
    one.until(lambda row: row.open == 1)
    at = one.drain("stop", timeout=20)
    assert silent.at_end()
    assert one.ended() == 0
    assert time.monotonic() - at < 2 + SLACK


def test_a_stop_after_a_reload_hurries_it(serving):
    one = serving()
    idle, socket = one.connect(), one.connect().upgrade()
    idle.get("/")
    at = one.drain("reload", timeout=60, window=60)
    one.expect("draining .reload")
    one.drain("stop", timeout=10)
    assert idle.at_end()
    assert socket.close_code() in (1001, 1012)
    assert one.ended() == 0
    assert time.monotonic() - at < 10 + SLACK


def test_a_websocket_opened_during_a_reload_is_told_too(serving):
    one = serving()
    young = one.connect()
    one.until(lambda row: row.open == 1)
    one.drain("reload", window=0.2)
    one.expect("draining")
    assert young.upgrade().close_code() == 1012
    assert one.ended() == 0


def test_a_handshake_under_way_at_a_stop_is_told(serving):
    """Not a 101, and then nothing."""
    one = serving()
    young = one.connect()
    young.send(
        "/ws?s=0.3",
        Upgrade="websocket",
        Connection="Upgrade",
        Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==",
        Sec_WebSocket_Version="13",
    )
    one.until(lambda row: row.in_flight == 1)
    one.drain("stop", timeout=10)
    assert young.head()[0] == 101
    assert young.close_code() == 1001
    assert one.ended() == 0


def test_a_protocol_of_the_applications_own_has_until_the_deadline(serving):
    one = serving()
    tunnel = one.connect()
    tunnel.send("/tunnel", Upgrade="own")
    assert tunnel.head()[0] == 101
    at = one.drain("reload", timeout=0.4)
    assert tunnel.take(2) == b"hi" and tunnel.at_end()
    assert one.ended() == 0
    assert time.monotonic() - at > 0.35


def test_the_end_of_the_channel_is_a_stop(serving):
    """The supervisor has gone."""
    one = serving()
    busy = one.connect()
    busy.send("/slow?s=0.2")
    one.until(lambda row: row.in_flight == 1)
    one.channel.close()
    assert busy.answer()[0] == 200
    assert one.ended() == 0


def test_it_does_not_accept_any_more(serving):
    one = serving()
    one.connect().get("/")
    one.drain("reload", timeout=0.3)
    one.expect("draining")
    late = one.connect()
    assert one.ended() == 0
    assert one.row.accepted == 1
    connection, _ = one.listeners[0].accept()  # it stands there for a sibling
    connection.close()
    assert late.sock.recv(1) == b""
