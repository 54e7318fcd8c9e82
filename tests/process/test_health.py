"""--health-path and --drain-delay: a load balancer is told before anything is refused."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from process.clients import Gate, Http, WebSocket, address_of, get, refused
from process.support import APPS, PATIENCE, until
from process.test_systemd import Manager

from leeward.testing import serve

HEALTH = ("--health-path", "/healthz")


def test_healthy_without_the_application() -> None:
    """200 for GET and HEAD, any query, keep-alive; all else is the application's."""
    with serve("held", *HEALTH, cwd=APPS) as service:
        service.wait_ready()
        with Http(address_of(service)) as client:
            for path in ("/healthz", "/healthz?from=kubelet"):
                answer = client.get(path)
                assert (answer.status, answer.body) == (200, b"serves\n")
                assert answer.headers["cache-control"] == "no-store"
            client.sock.sendall(
                b"HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"
            )
            head = client.sock.recv(65536)
            assert head.startswith(b"HTTP/1.1 200 OK\r\n") and b"Content-Length: 7" in head
        with Http(address_of(service)) as client:
            client.sock.sendall(b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            assert client.answer().status == 404
            assert client.get("/healthz/").status == 404
            assert client.get("/").status == 200
    with serve("held", cwd=APPS) as service:
        service.wait_ready()
        assert get(address_of(service), "/healthz").status == 404


@pytest.mark.parametrize("start", ["zygote", "spawn"])
def test_an_adopted_program_is_healthy_too(start: str) -> None:
    """The path is answered before the program's own server; in the delay before a stop by 503."""
    flags = ("--kind", "script", "--start", start, "--drain-delay", "20s", *HEALTH)
    args = ("subclass", "--port=0")
    with serve("adopted.py", *flags, args=args, bind=None, cwd=APPS) as service:
        service.wait_ready(1)
        with Http(address_of(service)) as client:
            assert client.get("/healthz").body == b"serves\n"
            assert client.get("/").json["name"] == "__main__"
            service.signal(signal.SIGTERM)
            until(lambda: client.get("/healthz").status == 503, "not ready any more")
            assert client.get("/").status == 200


@pytest.mark.parametrize("start", ["zygote", "spawn"])
def test_term_is_not_ready_first_and_refuses_later(start: str) -> None:
    """In the delay: 503, everything else accepted and served; then the drain as ever."""
    flags = ("--start", start, "-w", "2", "--drain-delay", "4s", *HEALTH)
    with serve("held", *flags, cwd=APPS) as service, Gate() as gate:
        address = address_of(service.wait_ready(2))
        with Http(address) as old, Http(address) as busy, WebSocket(address) as socket:
            assert old.get("/healthz").status == 200
            socket.hear()
            began = time.monotonic()
            service.signal(signal.SIGTERM)
            service.wait_line(r"stopping in 4 s, asked for by SIGTERM: not ready, still accepting")
            # By whichever worker the connection has: each is told by a message of its own.
            until(lambda: old.get("/healthz").status == 503, "not ready any more")
            answer = old.get("/healthz")
            assert answer.status == 503 and not answer.announces_close
            assert service.ps()["state"] == "stopping"
            assert get(address).status == 200  # a new connection
            socket.say("served as before")
            assert socket.hear() == "served as before"
            held = gate.hold(busy)
            assert socket.close_code() == 1001
            assert time.monotonic() - began >= 3.9
            service.wait_line(rf"pid={held.pid} draining")  # it may be another's than the socket
            held.release()
            assert busy.answer().announces_close
        assert service.wait() == 0
        assert refused(address)


def test_the_usual_race_costs_nobody_a_connection() -> None:
    """Clients that go on until the health check has failed, and half a second more."""
    flags = ("-w", "2", "--drain-delay", "20s", *HEALTH)
    faults: list[BaseException] = []
    served = 0
    with serve("held", *flags, cwd=APPS) as service:
        address = address_of(service.wait_ready(2))
        told = threading.Event()

        def client() -> None:
            nonlocal served
            until_ = float("inf")
            try:
                while time.monotonic() < until_:
                    assert get(address).status == 200
                    served += 1
                    if told.is_set() and until_ == float("inf"):
                        until_ = time.monotonic() + 0.5
            except BaseException as fault:
                faults.append(fault)

        thread = threading.Thread(target=client)
        thread.start()
        service.signal(signal.SIGTERM)
        until(lambda: get(address, "/healthz").status == 503, "told")
        told.set()
        thread.join(PATIENCE)
        service.signal(signal.SIGTERM)  # nobody needs the rest of the delay
        assert service.wait() == 0
    assert not faults, faults
    assert served > 10


def test_a_worker_born_in_the_delay_is_not_ready_either() -> None:
    """It dies, is replaced, serves, and says 503."""
    with serve("held", "--drain-delay", "20s", *HEALTH, cwd=APPS) as service:
        service.wait_ready()
        (worker,) = service.workers()
        service.signal(signal.SIGTERM)
        service.wait_line("stopping in 20 s")
        mark = service.mark()
        os.kill(worker["pid"], signal.SIGKILL)
        service.wait_line(r"worker=0 gen=1 pid=\d+ ready", after=mark)
        address = address_of(service)
        assert until(lambda: get(address, "/healthz").status == 503, "told after its birth")
        assert get(address).status == 200
        # Nothing new begins: a reload is refused, and so is a renewal.
        for verb in (["reload"], ["reload", "--tls"]):
            done = service.leeward(*verb)
            assert done.returncode != 0
        service.signal(signal.SIGTERM)  # who asks once more does not want to wait
        assert service.wait(10) == 0


@pytest.mark.parametrize(
    ("args", "seconds"),
    [(["--drain-delay", "700ms"], 0.7), (["--drain-delay", "0"], 0), (["--now"], 0), ([], 0.4)],
    ids=["longer", "none", "now", "as its settings say"],
)
def test_stop_says_how_long(args: list[str], seconds: float) -> None:
    with serve("held", "--drain-delay", "400ms", *HEALTH, cwd=APPS) as service:
        service.wait_ready()
        done = service.leeward("stop", *args)
        assert done.returncode == 0, done.stderr
        assert service.wait() == 0
        assert ("not ready, still accepting" in service.log) == bool(seconds)
        if seconds:
            assert f"stopping in {seconds:g} s, asked for by leeward stop" in service.log


def test_a_person_at_a_terminal_does_not_wait() -> None:
    """Ctrl-C and QUIT have no delay; who types them is no load balancer."""
    with serve("held", "--drain-delay", "30s", cwd=APPS, terminal=True) as service:
        service.wait_ready()
        service.type(b"\x03")
        assert service.wait(10) == 0
        assert "stopping in" not in service.log


def test_the_service_manager_hears_of_it_at_once(tmp_path: Path) -> None:
    """STOPPING=1 comes when the delay begins, and no READY after it."""
    manager = Manager(str(tmp_path / "notify"))
    env = {"NOTIFY_SOCKET": manager.name}
    try:
        with serve("held", "--drain-delay", "20s", cwd=APPS, env=env) as service:
            manager.until("READY")
            service.wait_ready()
            service.signal(signal.SIGTERM)
            manager.until("STOPPING")
            assert service.process.poll() is None
            service.signal(signal.SIGTERM)
            assert service.wait(10) == 0
            assert not any("READY" in message for message in manager.rest())
    finally:
        manager.sock.close()


def test_a_drain_for_a_reload_is_healthy() -> None:
    """Its connections go on elsewhere: the instance is as ready as before."""
    with serve("held", *HEALTH, cwd=APPS) as service:
        address = address_of(service.wait_ready())
        with Http(address) as client, Gate() as gate, Http(address) as busy:
            client.get()
            held = gate.hold(busy)
            assert service.leeward("reload").returncode == 0
            service.wait_line(rf"pid={held.pid} draining")
            answer = client.get("/healthz")
            assert answer.status == 200 and answer.announces_close
            held.release()
            busy.answer()


@pytest.mark.parametrize("path", ["healthz", "/a b", "/a?b"])
def test_a_path_that_is_none_is_refused(path: str) -> None:
    with serve("held", "--health-path", path, cwd=APPS) as service:
        assert service.wait() == 2
        assert "--health-path: expected a path such as /healthz" in service.log
