"""`leeward kill`: ends what is meant, says how many, and nothing else."""

from __future__ import annotations

import os
import signal
import socket
import struct

import pytest
from process.clients import Http, WebSocket, address_of
from process.registry import conns, until_there, waiting
from process.support import APPS

from leeward.testing import serve


@pytest.mark.parametrize("flags", [(), ("--engine", "tornado")])
def test_a_websocket_is_told_and_then_cut(flags: tuple[str, ...]) -> None:
    """1008 to each; one that does not answer is cut a moment later; the others stay."""
    with waiting(*flags) as service:
        address = address_of(service)
        with WebSocket(address) as polite, WebSocket(address) as rude, Http(address) as other:
            for it in (polite, rude):
                it.hear()
            other.get("/plain")
            done = service.leeward("kill", "--state", "upgraded")
            assert (done.returncode, done.stderr) == (0, ""), done
            assert done.stdout == "2 connections ended: 2 WebSockets told 1008\n"
            assert polite.close_code() == 1008 and polite.at_end()
            assert rude.close_code(answer=False) == 1008 and rude.cut(5.0)
            assert other.get("/plain").status == 200
            service.wait_line(r"connections are ended, asked for by leeward kill --state upgraded")


def test_one_by_its_number_and_one_by_its_address() -> None:
    """A long poll is cut, its handler told; a number never names another one."""
    with waiting() as service:
        address = address_of(service)
        with Http(address) as one, Http(address) as two, Http(address) as three:
            for client in (one, two, three):
                client.send("/coroutine")
            found = until_there(service, 3, "active")
            first = _named(found, one)
            done = service.leeward("kill", f"{first['slot']}:{first['id']}")
            assert (done.returncode, done.stdout) == (0, "1 connection ended: 1 cut\n"), done
            assert one.cut()
            service.wait_line(r"the client of /coroutine has left")
            done = service.leeward("kill", str(_named(found, two)["peer"]))
            assert (done.returncode, done.stdout) == (0, "1 connection ended: 1 cut\n"), done
            assert two.cut()
            assert [it["peer"] for it in conns(service)] == [_named(found, three)["peer"]]
            done = service.leeward("kill", f"{first['slot']}:{first['id']}")
            assert (done.returncode, done.stdout) == (1, "") and "no such connection" in done.stderr


@pytest.mark.parametrize("engine", ["leeward", "tornado"])
def test_handlers_whose_client_has_left(engine: str) -> None:
    """They are shown and ended when they are asked for, and not among the connections."""
    flags = ("--engine", engine, "--abandon-after", "1h")
    with serve("polls", *flags, cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        with Http(address) as client:
            client.send("/poll")
            service.wait_line("GET /poll waits")
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        service.wait_line("GET /poll left")
        (found,) = until_there(service, 1, "orphan")
        assert (found["url"], found["handler"]) == ("/poll", "polls.Poll")
        assert found["client"] == "127.0.0.1"
        assert found["waits_at"].endswith(" Poll.get") and found["id"] == ""
        assert conns(service) == []
        hint = "and 1 handler whose client left: leeward conns --state orphan"
        assert service.leeward("conns").stdout == f"0 connections in 1 worker\n{hint}\n"
        done = service.leeward("kill", "--idle-over", "1ms")
        assert done.returncode == 1 and "no such connection" in done.stderr
        done = service.leeward("kill", "--state", "orphan", "--peer", "127.0.0.1")
        assert (done.returncode, done.stdout) == (0, "1 handler told to end\n"), done
        service.wait_line("GET /poll over")
        until_there(service, 0, "orphan")


@pytest.mark.parametrize("engine", ["leeward", "tornado"])
@pytest.mark.parametrize("how", ["header", "PROXY"])
def test_the_client_behind_a_proxy(engine: str, how: str) -> None:
    """By the address that a trusted proxy has told; the socket's own is shown beside it."""
    proxy = ("--forwarded-allow-ips", "127.0.0.1") if how == "header" else ()
    if how == "PROXY":
        proxy = ("--proxy-protocol", "v1")
    with waiting("--engine", engine, *proxy) as service:
        address = address_of(service)
        with Http(address) as one, Http(address) as two:
            for client, told in ((one, "192.0.2.7"), (two, "198.51.100.1")):
                if how == "PROXY":
                    client.sock.sendall(f"PROXY TCP4 {told} 203.0.113.1 5 80\r\n".encode())
                    client.send("/coroutine")
                else:
                    client.send("/coroutine", f"X-Forwarded-For: {told}")
            until_there(service, 2, "active")
            (found,) = conns(service, "--peer", "192.0.2.0/24")
            assert found["client"] == "192.0.2.7"
            assert found["peer"] == _named(conns(service), one)["peer"]
            assert len(conns(service, "--peer", "127.0.0.1")) == 2
            done = service.leeward("kill", "--peer", "192.0.2.7")
            assert (done.returncode, done.stdout) == (0, "1 connection ended: 1 cut\n"), done
            assert one.cut()
            assert [it["client"] for it in conns(service)] == ["198.51.100.1"]


def _named(found: list[dict[str, object]], client: Http) -> dict[str, object]:
    host, port = client.sock.getsockname()
    (it,) = [it for it in found if it["peer"] == f"{host}:{port}"]
    return it


def test_all_of_a_peer_in_all_workers() -> None:
    """Of its address only: whoever comes from another stays."""
    with waiting(bind="0.0.0.0:0", workers=2) as service:
        port = int(service.wait_line(r"^  at +http://[\d.]+:(\d+)")[1])
        ours = [Http(("127.0.0.1", port)) for _ in range(6)]
        for client in ours:
            client.get("/plain")
        done = service.leeward("kill", "--peer", "127.0.0.2")
        assert done.returncode == 1 and "no such connection" in done.stderr
        done = service.leeward("kill", "--peer", "127.0.0.0/24", "--state", "idle")
        assert (done.returncode, done.stdout) == (0, "6 connections ended: 6 cut\n"), done
        for client in ours:
            assert client.cut()
            client.close()


def test_idle_ones() -> None:
    """No byte for so long: those that are younger stay."""
    with waiting() as service, Http(address_of(service)) as client:
        client.get("/plain")
        done = service.leeward("kill", "--idle-over", "1h")
        assert done.returncode == 1 and client.get("/plain").status == 200
        done = service.leeward("kill", "--idle-over", "1ms")
        assert done.returncode == 0, done
        assert client.cut()


REFUSED: list[tuple[tuple[str, ...], str]] = [
    ((), "which connections?"),
    (("--slot", "0"), "which connections?"),
    (("1:2:3",), "expected SLOT:ID or HOST:PORT"),
    (("0:0",), "numbered from 1"),
    (("0:0.3",), "numbered from 1"),
    (("0:2.",), "expected SLOT:ID or HOST:PORT"),
    (("0:1.2.3",), "expected SLOT:ID or HOST:PORT"),
    (("0:3", "--slot", "1"), "is in slot 0"),
    (("--peer", "nobody"), "expected an address"),
    (("--state", "dead"), "expected new, active"),
    (("--idle-over", "long"), "expected a duration"),
    (("7:1",), "no worker serves in slot 7"),
]


def test_what_cannot_be_meant_is_refused() -> None:
    with waiting() as service, Http(address_of(service)) as client:
        client.get("/plain")
        for words, said in REFUSED:
            done = service.leeward("kill", *words)
            assert (done.returncode, done.stdout) == (2, "") and said in done.stderr, done
        assert client.get("/plain").status == 200


def test_a_worker_that_does_not_answer_is_named() -> None:
    """The others' connections are ended all the same; exit code 1."""
    with waiting(workers=2) as service:
        address = address_of(service)
        sockets = [WebSocket(address) for _ in range(8)]
        pids = [int(it.hear()) for it in sockets]
        worker = next(it for it in service.workers() if it["pid"] == pids[0])
        os.kill(worker["pid"], signal.SIGSTOP)
        service.wait_line(rf"pid={worker['pid']} stopped by SIGSTOP")
        done = service.leeward("kill", "--state", "upgraded", "--timeout", "4s")
        assert done.returncode == 1 and f"slot {worker['slot']}" in done.stderr, done
        for it, pid in zip(sockets, pids, strict=True):
            if pid != worker["pid"]:
                assert it.close_code() == 1008
        os.kill(worker["pid"], signal.SIGCONT)
        # What was asked of it is done when it goes on, although nobody listens any more.
        for it, pid in zip(sockets, pids, strict=True):
            if pid == worker["pid"]:
                assert it.close_code() == 1008
            it.close()
