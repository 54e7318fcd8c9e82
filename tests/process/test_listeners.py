"""Every kind of address is bound once, shared by all workers, and cleared away at the end."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
from process.clients import Gate, Http, address_of, get, refused, reload
from process.nets import network
from process.support import APPS, PATIENCE, until

from leeward.testing import Service, serve


def urls(service: Service) -> list[str]:
    return list(service.ps()["listeners"])


def tcp(url: str) -> tuple[str, int]:
    found = re.fullmatch(r"http://\[?([^\]]+)\]?:(\d+)", url)
    assert found, url
    return found[1], int(found[2])


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")


def test_an_address_of_a_link_is_served_across_a_reload(tmp_path: Path) -> None:
    """With the interface, without which it is none."""
    with network() as net:
        net.ip("addr add fe80::9/64 dev near nodad")
        python = net.python(tmp_path)
        with serve("held", cwd=APPS, bind="[fe80::9%near]:0", python=python) as service:
            service.wait_ready(1)
            (url,) = urls(service)
            host, port = tcp(url)
            assert host == "fe80::9%near"

            def connected() -> socket.socket:
                found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
                sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
                sock.connect(found[4])
                return sock

            for generation in ("1", "2"):
                with net.inside(connected) as sock:
                    sock.sendall(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
                    sock.settimeout(PATIENCE)
                    with sock.makefile("rb") as file:
                        head, _, body = file.read().partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200")
                assert json.loads(body)["generation"] == generation
                if generation == "1":
                    reload(service, 1)
            assert urls(service) == [url]
            assert service.stop() == 0


def test_several_addresses_are_served_by_every_worker(tmp_path: Path) -> None:
    """-b given again: TCP and unix sockets together, before and after a reload."""
    path = f"{tmp_path}/web.sock"
    binds = ("-b", "127.0.0.1:0", "-b", "127.0.0.2:0", "-b", f"unix:{path}")
    with serve("held", "-w", "2", *binds, cwd=APPS, bind=None) as service:
        service.wait_ready(2)
        one, two, three = urls(service)
        assert three == f"unix:{path}"
        assert tcp(one) != tcp(two)
        for generation in ("1", "2"):
            for where in (tcp(one), tcp(two), path):
                assert get(where).json["generation"] == generation
            if generation == "1":
                reload(service, 2)
        assert urls(service) == [one, two, three]
        assert service.stop() == 0
    assert all(refused(where) for where in (tcp(one), tcp(two), path))


def test_more_addresses_than_anybody_needs(tmp_path: Path) -> None:
    """62 were too many for the first message of a process."""
    paths = [tmp_path / str(number) for number in range(100)]
    addresses = ["127.0.0.1:0", *(f"unix:{path}" for path in paths)]
    flags = [word for address in addresses for word in ("--bind", address)]
    with serve("hello", *flags, cwd=APPS, bind=None) as service:
        assert get(address_of(service.wait_ready(1))).status == 200
        assert len(service.ps()["listeners"]) == 101
        assert all(path.is_socket() for path in paths)


def test_port_0_is_reported_as_the_port_it_became() -> None:
    """In the banner and in ps, and it stays the same over reloads."""
    with serve("held", cwd=APPS) as service:
        address = address_of(service.wait_ready())
        assert address[1] != 0
        assert urls(service) == [f"http://127.0.0.1:{address[1]}"]
        reload(service)
        assert urls(service) == [f"http://127.0.0.1:{address[1]}"]
        assert get(address).json["generation"] == "2"


@needs_ipv6
def test_ipv6_is_spelled_in_brackets() -> None:
    """[::1]:0 is bound, reported so that a browser takes it, and is not 127.0.0.1 too."""
    with serve("held", cwd=APPS, bind="[::1]:0") as service:
        service.wait_ready()
        [url] = urls(service)
        assert url.startswith("http://[::1]:")
        assert get(tcp(url)).status == 200
        assert refused(("127.0.0.1", tcp(url)[1]))


def test_a_host_name_is_bound_at_each_of_its_addresses() -> None:
    """localhost:0: one port, at 127.0.0.1 and, where there is one, at ::1."""
    found = {info[4][0] for info in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    expected = {host for host in found if host != "::1" or has_ipv6()}
    with serve("held", cwd=APPS, bind="localhost:0") as service:
        service.wait_ready()
        bound = [tcp(url) for url in urls(service)]
        assert {host for host, _ in bound} == expected
        assert len({port for _, port in bound}) == 1
        for address in bound:
            assert get(address).status == 200


def test_a_port_alone_is_every_interface() -> None:
    """:0 answers at the loopback and wherever else this machine is reached."""
    with serve("held", cwd=APPS, bind=":0") as service:
        service.wait_ready()
        ports = {tcp(url)[1] for url in urls(service)}
        assert len(ports) == 1
        assert get(("127.0.0.2", *ports)).status == 200  # all of 127/8 is this machine


def test_host_and_port_are_short_for_bind() -> None:
    """--host and --port, as in other servers."""
    with serve("held", "--host", "127.0.0.3", "--port", "0", cwd=APPS, bind=None) as service:
        service.wait_ready()
        [url] = urls(service)
        assert tcp(url)[0] == "127.0.0.3"
        assert get(tcp(url)).status == 200


# --- unix sockets -----------------------------------------------------------------------


@pytest.mark.parametrize(("flags", "mode"), [((), 0o666), (("--uds-mode", "600"), 0o600)])
def test_a_unix_socket_has_its_mode_and_goes_at_the_end(
    tmp_path: Path, flags: tuple[str, ...], mode: int
) -> None:
    """Whatever the umask: the mode that was asked for; and no file is left behind."""
    path = tmp_path / "web.sock"
    before = os.umask(0o077)
    try:
        with serve("held", "-w", "2", *flags, cwd=APPS, bind=f"unix:{path}") as service:
            service.wait_ready(2)
            assert stat.S_IMODE(path.stat().st_mode) == mode
            assert path.is_socket()
            assert get(str(path)).status == 200
            assert service.stop() == 0
    finally:
        os.umask(before)
    assert not path.exists()


def test_a_stale_unix_socket_is_cleared(tmp_path: Path) -> None:
    """The file of a service that was killed does not keep the next one from starting."""
    path = tmp_path / "web.sock"
    with serve("held", cwd=APPS, bind=f"unix:{path}") as service:
        service.wait_ready()
        service.signal(signal.SIGKILL)
        service.wait()
    assert path.is_socket() and refused(str(path))
    with serve("held", cwd=APPS, bind=f"unix:{path}") as service:
        service.wait_ready()
        assert get(str(path)).status == 200


def test_a_live_unix_socket_is_refused_and_left_alone(tmp_path: Path) -> None:
    """Exit code 4, who has it, and the one that has it serves on."""
    path = tmp_path / "web.sock"
    with serve("held", cwd=APPS, bind=f"unix:{path}") as first:
        first.wait_ready()
        with serve("held", cwd=APPS, bind=f"unix:{path}") as second:
            assert second.wait() == 4
            assert "in use" in second.log and str(first.pid) in second.log
        assert get(str(path)).status == 200


def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    """Only sockets are cleared: a file by that name may be somebody's work."""
    path = tmp_path / "web.sock"
    path.write_text("my thesis")
    with serve("held", cwd=APPS, bind=f"unix:{path}") as service:
        assert service.wait() == 4
    assert path.read_text() == "my thesis"


# --- adopted ----------------------------------------------------------------------------


def test_fd_adopts_an_open_listener() -> None:
    """fd://N: bound by whoever starts us, under the number that it has there."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        serve(
            "held",
            "-w",
            "2",
            cwd=APPS,
            bind=f"fd://{listener.fileno()}",
            pass_fds=[listener.fileno()],
        ) as service,
    ):
        service.wait_ready(2)
        assert urls(service) == [f"http://127.0.0.1:{listener.getsockname()[1]}"]
        assert get(listener.getsockname()).status == 200
        reload(service, 2)
        assert get(listener.getsockname()).json["generation"] == "2"


@pytest.mark.parametrize("kind", ["closed", "file", "datagram", "not listening"])
def test_fd_that_is_no_listener_is_refused(kind: str, tmp_path: Path) -> None:
    """Exit code 4 and what it is instead, not a service that nobody can reach."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram,
        socket.socket() as silent,
        open(tmp_path / "file", "w") as file,
    ):
        fd = {
            "closed": 199,
            "file": file.fileno(),
            "datagram": datagram.fileno(),
            "not listening": silent.fileno(),
        }[kind]
        given = [] if kind == "closed" else [fd]
        with serve("held", cwd=APPS, bind=f"fd://{fd}", pass_fds=given) as service:
            assert service.wait() == 4
            assert f"fd://{fd}" in service.log


# --- the kernel's queue -----------------------------------------------------------------


@pytest.mark.skipif(shutil.which("ss") is None, reason="no ss here: apt-get install iproute2")
@pytest.mark.parametrize("backlog", [None, 7, 1000])
def test_the_backlog_is_what_was_asked_for(backlog: int | None) -> None:
    """As `ss -ltn` shows it in Send-Q, once workers accept and after a reload too.

    (asyncio and uvloop call listen(100) again on a socket that they are given.)
    """
    flags = ("--backlog", str(backlog)) if backlog else ()
    most = int(Path("/proc/sys/net/core/somaxconn").read_text())
    with serve("held", "-w", "2", *flags, cwd=APPS) as service:
        address = address_of(service.wait_ready(2))
        assert get(address).status == 200
        assert send_q(address) == min(backlog or 2048, most)
        assert service.leeward("reload").returncode == 0
        assert send_q(address) == min(backlog or 2048, most)


def send_q(address: tuple[str, int]) -> int:
    """Of a listener, ss calls the length of its backlog Send-Q."""
    command = ["ss", "-Hltn", f"sport = :{address[1]}"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
    [line] = shown.splitlines()
    state, _, backlog, local, *_ = line.split()
    assert (state, local) == ("LISTEN", f"{address[0]}:{address[1]}")
    return int(backlog)


@pytest.mark.parametrize("start", ["zygote", "spawn"])
def test_both_workers_accept(start: str) -> None:
    """Whichever of the two cannot, the other one does; `ps` counts at the one that did."""
    with serve("held", "-w", "2", "--start", start, cwd=APPS) as service:
        address = address_of(service.wait_ready(2))
        with Gate() as gate, ExitStack() as stack:
            first = stack.enter_context(Http(address))
            one = gate.hold(first, "blocked")
            second = stack.enter_context(Http(address))  # not before: one could have had both
            other = gate.hold(second, "blocked")
            assert {one.pid, other.pid} == {worker["pid"] for worker in service.workers()}
            one.release()
            assert first.answer().json["pid"] == one.pid
            assert [get(address).json["pid"] for _ in range(3)] == [one.pid] * 3
            other.release()
            assert second.answer().json["pid"] == other.pid

            def counted() -> dict[int, tuple[int, ...]]:
                words = ("accepted", "requests", "connections", "in_flight")
                return {it["pid"]: tuple(it[word] for word in words) for it in service.workers()}

            # A worker counts what has ended, and that a client has left, behind its answer.
            wanted = {one.pid: (4, 4, 1, 0), other.pid: (1, 1, 1, 0)}
            until(lambda: counted() == wanted, "each to be counted once")
