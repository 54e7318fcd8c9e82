"""The kernel asks every TCP peer whether it is there, whatever listener it came by."""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from process.clients import Http, WebSocket, address_of, all_drain, get
from process.nets import network
from process.support import APPS, PATIENCE, until

from leeward.testing import Service, serve

APP = "tells_its_socket:make_app"
#: 60 s, the default: asked after 30 s of silence, gone after 60.
ASKED = {"keepalive": 1, "idle": 30, "interval": 3, "count": 10, "user_timeout": 60000}
LOOPS = ["asyncio", *(["uvloop"] if importlib.util.find_spec("uvloop") else [])]


def options(address: Any) -> dict[str, int]:
    found = dict(get(address).json)
    found.pop("nodelay", None)
    return found


@pytest.mark.parametrize("engine", ["leeward", "tornado"])
@pytest.mark.parametrize("loop", LOOPS)
def test_accepted_connections_have_it_from_the_listener(loop: str, engine: str) -> None:
    """Both loops, both engines; the loops' TCP_NODELAY is there as it was."""
    with serve(APP, "--loop", loop, "--engine", engine, cwd=APPS) as service:
        address = address_of(service.wait_ready())
        assert options(address) == ASKED
        assert get(address).json["nodelay"] == (engine == "leeward")


def test_a_program_that_listens_by_itself() -> None:
    """Its own bind is leeward's, and has it too."""
    path = str(APPS / "tells_its_socket.py")
    with serve(path, bind=None, args=("0", "127.0.0.1")) as service:
        assert options(address_of(service.wait_ready())) == ASKED


def test_a_listener_that_was_handed_in() -> None:
    """fd://N, which is what LISTEN_FDS becomes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd, address = listener.fileno(), listener.getsockname()
        with serve(APP, cwd=APPS, bind=f"fd://{fd}", pass_fds=(fd,)) as service:
            service.wait_ready()
            assert options(address) == ASKED


def test_ipv6() -> None:
    """The options are TCP's, not IP's."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no ::1")
    with serve(APP, cwd=APPS, bind="[::1]:0") as service:
        service.wait_ready()
        port = int(re.findall(r"\[::1\]:(\d+)", service.log)[0])
        assert options(("::1", port)) == ASKED


def test_unix_sockets_have_none(tmp_path: Path) -> None:
    """Their peers are processes of this machine."""
    path = f"{tmp_path}/s"
    with serve(APP, cwd=APPS, bind=f"unix:{path}") as service:
        service.wait_ready()
        assert options(path) == {"keepalive": 0}


def test_a_reload_brings_another_timeout(tmp_path: Path) -> None:
    """For the connections that come from then on; 0s leaves the kernel's own, at once or later."""
    (tmp_path / "leeward.toml").write_text('peer-timeout = "90s"\n')
    with serve(str(APPS / "tells_its_socket.py") + ":make_app", cwd=tmp_path) as service:
        address = address_of(service.wait_ready())
        assert options(address)["user_timeout"] == 90_000
        (tmp_path / "leeward.toml").write_text('peer-timeout = "30s"\n')
        assert service.leeward("reload").returncode == 0
        all_drain(service, 1, 1)
        found = options(address)
        assert (found["user_timeout"], found["idle"], found["interval"]) == (30_000, 15, 2)
        (tmp_path / "leeward.toml").write_text('peer-timeout = "0s"\n')
        assert service.leeward("reload").returncode == 0
        all_drain(service, 2, 1)
        found = options(address)
        assert (found["keepalive"], found["user_timeout"]) == (0, 0)
        assert service.leeward("rollback").returncode == 0
        all_drain(service, 3, 1)
        assert options(address)["user_timeout"] == 30_000
    with serve(APP, "--peer-timeout", "0s", cwd=APPS) as service:
        assert options(address_of(service.wait_ready()))["keepalive"] == 0


@pytest.mark.parametrize(("given", "silent"), [("5m", 300_000), ("10s", 60_000), ("0s", 0)])
def test_a_longer_patience_with_writes_is_the_kernels_too(given: str, silent: int) -> None:
    """Linux has one number for a peer that is gone and for one that takes nothing."""
    with serve(APP, "--write-timeout", given, cwd=APPS) as service:
        found = options(address_of(service.wait_ready()))
        assert found == ASKED | {"user_timeout": silent}


def test_who_came_before_the_first_worker_has_it_too(tmp_path: Path) -> None:
    """A connection that waited in the backlog while the application was made."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    (tmp_path / "slow_to_come.py").write_text(
        "import tells_its_socket, waits_at_a_gate\n"
        "def make_app():\n"
        "    waits_at_a_gate.wait('GATE_OF_FACTORY')\n"
        "    return tells_its_socket.make_app()\n"
    )
    env = {"GATE_OF_FACTORY": str(gate), "PYTHONPATH": f"{APPS}:{os.environ.get('PYTHONPATH', '')}"}
    with serve("slow_to_come:make_app", cwd=tmp_path, env=env) as service:
        with open(gate, "w"):  # returns when the factory waits there
            host, port = service.url.removeprefix("http://").split(":")
            client = Http((host, int(port)))
            client.send()
        assert client.answer().json["user_timeout"] == 60_000
        client.close()


def connections(service: Service) -> int:
    """Open, of all workers."""
    return sum(it["connections"] for it in service.workers())


@pytest.mark.parametrize("engine", ["leeward", "tornado"])
def test_a_black_hole_is_noticed(engine: str, tmp_path: Path) -> None:
    """Without a byte to send: a request that is answered, an idle one, and one that is held."""
    with (
        network() as net,
        serve(
            "held",
            *("--peer-timeout", "2s", "--ws-ping-interval", "0s", "--engine", engine),
            cwd=APPS,
            bind=f"{net.SERVER}:0",
            python=net.python(tmp_path),
        ) as service,
    ):
        address = address_of(service.wait_ready())
        there, gone = net.client(), net.client()
        stays = net.inside(lambda: WebSocket(address, source=there))
        lost = [net.inside(lambda: Http(address, gone)) for _ in range(3)]
        lost.append(net.inside(lambda: WebSocket(address, source=gone)))
        for client in lost[:3]:
            assert client.get("/").status == 200
        until(lambda: connections(service) == 5, "all to be counted")
        net.swallow(gone)
        until(lambda: connections(service) == 1, "the lost ones to be closed")
        stays.say("here")
        assert [stays.hear(), stays.hear()][1] == "here"  # it has said who it is before
        for client in (stays, *lost):
            client.close()


@pytest.mark.parametrize("engine", ["leeward", "tornado"])
def test_a_black_hole_into_which_little_falls(engine: str, tmp_path: Path) -> None:
    """By each event anew the kernel would wait; whoever lives and is sent as little stays."""
    timeout = 3.0
    with (
        network() as net,
        serve(
            "says_little",
            *("--peer-timeout", f"{timeout}s", "--engine", engine),
            cwd=APPS,
            bind=f"{net.SERVER}:0",
            python=net.python(tmp_path),
        ) as service,
    ):
        address = address_of(service.wait_ready())
        there, gone = net.client(), net.client()
        stays = [net.inside(lambda: Http(address, there)) for _ in range(2)]
        lost = [net.inside(lambda: Http(address, gone)) for _ in range(3)]
        for client, each in zip((*stays, *lost), (0.5, 2.5, 0.1, 1.1, 1.4), strict=True):
            client.send(f"/events?each={each}")
            assert b"data: x" in client.sock.recv(4096)
        begun = time.monotonic()
        net.swallow(gone)
        until(lambda: connections(service) == 2, "the lost ones to be ended")
        # 75 s of 60 is the contract.  One look of the test and of `leeward ps` is not in it.
        assert time.monotonic() - begun < timeout * 1.25 + 1.5
        for client in stays:
            assert b"data: x" in client.sock.recv(4096)
        for client in (*stays, *lost):
            client.close()


def test_a_download_that_pauses_goes_on() -> None:
    """Who stops reading for less than the timeout gets all that it asked for."""
    with (
        serve("sends_much:make_app", "--peer-timeout", "6s", cwd=APPS) as service,
        slow_reader(address_of(service.wait_ready())) as client,
    ):
        begun = time.monotonic()
        until(lambda: time.monotonic() > begun + 3.0, "half of the timeout")
        count = 0
        while data := client.recv(65536):
            count += len(data)
        assert count > 7_990_000


def test_who_never_reads_on_is_ended() -> None:
    """Its window is closed; it answers the kernel's probes, and takes nothing."""
    with (
        serve("sends_much:make_app", "--peer-timeout", "2s", cwd=APPS) as service,
        slow_reader(address_of(service.wait_ready())),
    ):
        until(lambda: connections(service) == 1, "it to be counted")
        until(lambda: connections(service) == 0, "it to be ended")


def slow_reader(address: tuple[str, int]) -> socket.socket:
    """Has asked for 8 MB, and takes the first few thousand bytes."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(PATIENCE)
    client.connect(address)
    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert client.recv(1000)
    return client
