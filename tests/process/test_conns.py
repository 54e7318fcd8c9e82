"""`leeward conns`: every live connection is there, whoever is asked and whatever else happens."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import ssl
from pathlib import Path

import pytest
from certificates import Authority, needs_openssl
from process.clients import Gate, Http, WebSocket, address_of
from process.registry import conns, until_there, waiting
from process.support import until

from leeward._core.conns import Query
from leeward._core.messages import Answer, ConnsRequest, Piece
from leeward._sys.channel import Channel
from leeward.testing import Service

#: Where each handler of the application stands.
STANDS = {
    "/coroutine": "inner",
    "/generator": "Generator.helper",
    "/gathered": "inner",
    "/timed": "inner",
    "/streamed": "Streamed.pieces",
}


@pytest.mark.parametrize("flags", [(), ("--engine", "tornado"), ("--loop", "asyncio")])
def test_who_is_connected_and_where_it_waits(
    flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Peer, state, bytes, request, handler and the line of the application, for each kind."""
    monkeypatch.setenv("COLUMNS", "200")  # of the table
    with waiting(*flags) as service:
        address = address_of(service)
        clients = {path: Http(address) for path in STANDS}
        for path, client in clients.items():
            client.send(path)
        idle, silent = Http(address), Http(address)
        idle.get("/plain")
        own = Http(address)
        own.send("/own")
        with WebSocket(address) as quiet, WebSocket(address) as busy:
            assert quiet.hear() == busy.hear()
            busy.say("wait")
            until(lambda: _at(conns(service), busy.sock)["waits_at"], "on_message to wait")
            found = until_there(service, len(STANDS) + 5)
            assert len({it["id"] for it in found}) == len(found)
            assert {it["pid"] for it in found} == {service.workers()[0]["pid"]}
            for path, client in clients.items():
                it = _at(found, client.sock)
                assert (it["state"], it["method"], it["url"]) == ("active", "GET", path)
                assert it["handler"].startswith("waits_in_many_ways.")
                assert re.fullmatch(
                    rf"waits_in_many_ways\.py:\d+ {STANDS[path]}", it["waits_at"]
                ), it
                assert it["received"] == len(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
                assert it["requests"] == 1 and 0 <= it["since"] <= it["age"]
            it = _at(found, idle.sock)
            assert (it["state"], it["url"], it["handler"]) == ("idle", "", "")
            assert it["sent"] > 0 and it["requests"] == 1
            it = _at(found, silent.sock)
            assert (it["state"], it["received"], it["requests"]) == ("new", 0, 0)
            assert _at(found, own.sock)["kind"] == "stream"
            it = _at(found, quiet.sock)
            assert (it["state"], it["kind"], it["url"]) == ("upgraded", "websocket", "/ws")
            assert it["waits_at"] == "" and it["handler"] == "waits_in_many_ways.Socket"
            assert _at(found, busy.sock)["waits_at"].endswith(" inner")
            assert {it["local"] for it in found} == {f"{address[0]}:{address[1]}"}
            assert [it["state"] for it in conns(service, "--state", "new")] == ["new"]
            ages = [it["age"] for it in conns(service, "--sort", "age")]
            assert ages == sorted(ages, reverse=True)
            assert len(conns(service, "--limit", "3")) == 3
            (worker,) = service.workers()
            states = {key: worker[key] for key in ("new", "in_flight", "idle", "upgraded")}
            assert states == {"new": 1, "in_flight": len(STANDS), "idle": 1, "upgraded": 3}
            table = service.leeward("conns").stdout
            assert "5 active" in table and "waits_in_many_ways.py" in table
        for client in (*clients.values(), idle, silent, own):
            client.close()


def _at(found: list[dict[str, object]], sock: socket.socket) -> dict[str, object]:
    """The one whose client this socket is."""
    host, port = sock.getsockname()[:2]
    (it,) = [it for it in found if it["peer"] == f"{host}:{port}"]
    return it


def test_an_application_sees_its_own() -> None:
    """`leeward.connections()` in a handler: those of its worker, itself among them."""
    with waiting() as service, Http(address_of(service)) as one, Http(address_of(service)) as two:
        two.get("/plain")
        seen = one.get("/mine").json["connections"]
        told = {(it["slot"], it["id"], it["peer"]) for it in conns(service)}
        assert {(slot, number, peer) for slot, number, peer, _ in seen} == told
        assert sorted(state for *_, state in seen) == ["active", "idle"]


def test_bytes_of_a_client_do_not_reach_the_terminal() -> None:
    """What is no printable ASCII in a URL is shown as %XX."""
    with waiting() as service, Http(address_of(service)) as client:
        client.sock.sendall(b"GET /coroutine?\x9b31m\xe2\x80\xae HTTP/1.1\r\nHost: x\r\n\r\n")
        (it,) = until_there(service, 1, "active")
        assert it["url"] == "/coroutine?%9B31m%E2%80%AE"
        table = service.leeward("conns").stdout
        assert "%9B31m" in table and table.replace("\n", "").isascii()


def test_a_unix_sockets_clients_are_known_by_their_pid(tmp_path: Path) -> None:
    path = f"unix:{tmp_path}/app.sock"
    with waiting(bind=path) as service, Http(path) as client:
        client.get("/plain")
        (it,) = conns(service, "--peer", "unix")
        assert (it["peer"], it["local"]) == (f"unix:pid={os.getpid()}", path)
        assert conns(service, "--peer", "127.0.0.1") == []


@needs_openssl
@pytest.mark.parametrize("flags", [(), ("--engine", "tornado")])
def test_tls_is_told(tmp_path: Path, flags: tuple[str, ...]) -> None:
    authority = Authority(tmp_path / "ca")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    authority.make(certificate, key)
    tls = ("--ssl-certfile", str(certificate), "--ssl-keyfile", str(key))
    with waiting(*tls, *flags) as service:
        found = service.wait_line(r"^  at +https://([\d.]+):(\d+)")
        context = ssl.create_default_context(cafile=str(authority.certificate))
        context.check_hostname = False
        raw = socket.create_connection((found[1], int(found[2])))
        with context.wrap_socket(raw) as client:
            cipher = client.cipher()
            assert cipher is not None
            (it,) = until_there(service, 1)
            assert it["tls"] == f"{client.version()} {cipher[0]}"


# --- many, and the impatient ------------------------------------------------------------


def crowd(address: tuple[str, int], count: int) -> list[socket.socket]:
    """Connections that say nothing; the test is skipped where there may not be so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count + 500:
        pytest.skip(f"no more than {hard} descriptors here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 500), hard))
    return [socket.create_connection(address, 20) for _ in range(count)]


def test_two_thousand_are_told_while_the_worker_serves() -> None:
    """In pieces: each once, and the worker answers a client in the middle of it."""
    with waiting("--backlog", "4096", workers=2) as service:
        address = address_of(service)
        clients = crowd(address, 2000)
        until(lambda: sum(it["connections"] for it in service.workers()) == 2000, "all accepted")
        asking = service.begin("conns", "--json", "--timeout", "20s")
        with Http(address) as other:
            assert other.get("/plain").status == 200
        out, err = asking.communicate(timeout=30)
        assert (asking.returncode, err) == (0, "")
        found = {(it["slot"], it["id"]): it["peer"] for it in json.loads(out)}
        ours = {"{}:{}".format(*it.getsockname()[:2]) for it in clients}
        assert ours <= set(found.values())
        assert len(found) == len(json.loads(out))
        for client in clients:
            client.close()


def ask(service: Service, request: ConnsRequest, control: str = "") -> Channel:
    """A client of the control socket that may misbehave."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.connect(control or service.ps()["control"])
    channel = Channel(sock)
    channel.send(request)
    return channel


def test_askers_that_leave_or_do_not_read_disturb_nobody() -> None:
    """One leaves after the first piece, one never reads: the next is told everything."""
    with waiting() as service:
        clients = crowd(address_of(service), 1200)
        until(lambda: service.workers()[0]["connections"] == 1200, "all accepted")
        request = ConnsRequest(Query().to_json())
        deaf = ask(service, request)
        leaves = ask(service, request)
        while not isinstance(leaves.wait(20), Piece):
            pass
        leaves.close()
        assert len(conns(service)) == 1200
        # What the deaf one has not read is still there for it, up to what a socket holds.
        message = deaf.wait(20)
        assert isinstance(message, Piece | Answer)
        deaf.close()
        assert len(conns(service)) == 1200
        assert service.workers()[0]["pid"] and not service.ps()["ends"]
        for client in clients:
            client.close()


def test_a_stopped_worker_is_named_and_the_others_are_shown() -> None:
    """Exit code 1, its slot on stderr; continued, it is there again."""
    with waiting(workers=2) as service:
        sockets = [WebSocket(address_of(service)) for _ in range(8)]
        for it in sockets:
            it.hear()
        slots = {it["slot"] for it in conns(service)}
        worker = service.workers()[0]
        os.kill(worker["pid"], signal.SIGSTOP)
        service.wait_line(rf"pid={worker['pid']} stopped by SIGSTOP")
        done = service.leeward("conns", "--json", "--timeout", "4s")
        assert done.returncode == 1
        assert done.stderr == (
            f"leeward: slot {worker['slot']} (pid {worker['pid']}) has not answered within 4 s: "
            "its process is stopped (SIGSTOP)\n"
        )
        assert {it["slot"] for it in json.loads(done.stdout)} == slots - {worker["slot"]}
        os.kill(worker["pid"], signal.SIGCONT)
        assert len(until_there(service, 8)) == 8
        for it in sockets:
            it.close()


def test_a_stopped_worker_that_is_asked_again_and_again_still_gets_its_orders() -> None:
    """Once its channel is full nobody hands it another asker: what waits there are orders."""
    with waiting(workers=1) as service:
        worker = service.workers()[0]
        control = service.ps()["control"]
        os.kill(worker["pid"], signal.SIGSTOP)
        service.wait_line(rf"pid={worker['pid']} stopped by SIGSTOP")
        for _ in range(2000):
            channel = ask(service, ConnsRequest(Query().to_json()), control)
            answer = channel.wait(20)
            channel.close()
            assert isinstance(answer, Answer), answer
            (asked,) = json.loads(answer.data)["workers"]
            if not asked["asked"]:
                break
        else:
            pytest.fail("its channel took 2000 askers")
        done = service.leeward("conns")
        assert done.returncode == 1 and "does not read any more" in done.stderr, done
        reload = service.begin("recycle")
        service.wait_line(r"recycling 1 worker")
        os.kill(worker["pid"], signal.SIGCONT)
        service.wait_line(rf"pid={worker['pid']} draining \(reload\)")
        assert reload.wait(30) == 0
        reload.communicate()
        assert conns(service) == []


def test_a_worker_whose_loop_is_blocked_is_named() -> None:
    with waiting(workers=2) as service, Gate() as gate, Http(address_of(service)) as client:
        held = gate.hold(client, "blocked")
        done = service.leeward("conns", "--timeout", "4s")
        assert done.returncode == 1 and "its loop is blocked" in done.stderr, done
        assert f"(pid {held.pid})" in done.stderr and "in 1 worker" in done.stdout
        held.release()
        assert client.answer().status == 200
        assert len(until_there(service, 1)) == 1


def test_a_worker_that_dies_while_it_is_asked_is_named() -> None:
    with waiting(workers=2) as service, Gate() as gate, Http(address_of(service)) as client:
        held = gate.hold(client, "blocked")
        asking = service.begin("conns", "--timeout", "20s")
        os.kill(held.pid, signal.SIGSTOP)
        service.wait_line(rf"pid={held.pid} stopped by SIGSTOP")
        os.kill(held.pid, signal.SIGKILL)
        _, err = asking.communicate(timeout=30)
        # Or it was dead before the question came to it: then nobody asked it.
        assert err == "" or f"(pid {held.pid}) ended" in err


def test_a_slot_of_its_own() -> None:
    """--slot asks one worker only; one that is not there is refused."""
    with waiting(workers=2) as service:
        clients = [Http(address_of(service)) for _ in range(10)]
        for client in clients:
            client.get("/plain")
        everybody = conns(service)
        one = {it["peer"] for it in conns(service, "--slot", "1")}
        assert one == {it["peer"] for it in everybody if it["slot"] == 1}
        done = service.leeward("conns", "--slot", "7")
        assert (done.returncode, done.stdout) == (
            2,
            "",
        ) and "no worker serves in slot 7" in done.stderr
        for client in clients:
            client.close()


REFUSED: list[tuple[tuple[str, ...], str]] = [
    (("--state", "idel"), 'did you mean "idle"'),
    (("--sort", "size"), "expected age, bytes, idle"),
    (("--slot", "x"), "expected a whole number"),
    (("--limit", "-1"), "expected a whole number"),
    (("--peer", "example.org"), "expected an address"),
    (("--out", "--state", "idle"), "do not apply"),
    (("--timeout", "soon"), "expected a duration"),
]


def test_what_cannot_be_asked_is_refused() -> None:
    with waiting() as service:
        for flags, words in REFUSED:
            done = service.leeward("conns", *flags)
            assert done.returncode == 2 and words in done.stderr, done


def test_what_the_workers_are_connected_to() -> None:
    """`--out` counts by peer and slot; what they have accepted is not among it."""
    with waiting(workers=2) as service, Gate() as gate:
        clients = [Http(address_of(service)) for _ in range(4)]
        held = [gate.hold(client, "outward") for client in clients]
        done = service.leeward("conns", "--out", "--json")
        assert done.returncode == 0, done
        (row,) = json.loads(done.stdout)
        assert row["peer"] == f"127.0.0.1:{gate.port}" and row["states"] == {"established": 4}
        pids = {it["slot"]: it["pid"] for it in service.workers()}
        by_pid = [it.pid for it in held]
        assert {int(s): n for s, n in row["slots"].items()} == {
            slot: by_pid.count(pid) for slot, pid in pids.items() if pid in by_pid
        }
        assert f"127.0.0.1:{gate.port}" in service.leeward("conns", "--out").stdout
        none = service.leeward("conns", "--out", "--peer", "10.0.0.1")
        assert none.stdout == "no worker is connected to anything by TCP\n"
        for it in held:
            it.release()
        for client in clients:
            client.close()


def test_a_request_that_is_none_is_refused() -> None:
    """From a command line of another version, say."""
    with waiting() as service:
        channel = ask(service, ConnsRequest('{"no_such": 1}'))
        answer = channel.wait(20)
        assert isinstance(answer, Answer) and answer.code == 2
        assert "not understood" in answer.text
        channel.close()
        assert conns(service) == []
