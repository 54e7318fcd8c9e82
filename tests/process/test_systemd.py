"""What a service manager is told and what it hands over, spoken as systemd speaks it."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import socket
import stat
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from process.clients import address_of, get, reload
from process.support import APPS, PATIENCE

from leeward._sys import procfs
from leeward.testing import Service, serve

#: socket(7), which the standard library has no name for.
SO_TIMESTAMPNS = 35


class Manager:
    """The service manager's end of NOTIFY_SOCKET.  `name`: as the variable says it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind("\0" + name[1:] if name.startswith("@") else name)
        self.heard: list[dict[str, str]] = []

    def hear(self, timeout: float = PATIENCE) -> dict[str, str]:
        """The next message.  Raises TimeoutError."""
        self.sock.settimeout(timeout)
        lines = self.sock.recv(4096).decode().split("\n")
        self.heard.append(dict(line.split("=", 1) for line in lines))
        return self.heard[-1]

    def until(self, key: str) -> dict[str, str]:
        """The next message that says `key`; those before it are in `heard`."""
        deadline = time.monotonic() + PATIENCE
        while key not in (message := self.hear(max(0.01, deadline - time.monotonic()))):
            pass
        return message

    def when(self, key: str) -> float:
        """When the next message that says `key` came, in seconds; however late we read it."""
        self.sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        deadline = time.monotonic() + PATIENCE
        while True:
            self.sock.settimeout(max(0.01, deadline - time.monotonic()))
            data, notes, _, _ = self.sock.recvmsg(4096, 64)
            if f"{key}=".encode() in data and notes:
                seconds, nanoseconds = struct.unpack("qq", notes[0][2])
                return float(seconds + nanoseconds / 1e9)

    def rest(self) -> list[dict[str, str]]:
        """What has been said meanwhile.  Waits for nothing."""
        said = []
        while True:
            try:
                said.append(self.hear(0))
            except BlockingIOError:
                return said

    def said(self, key: str) -> bool:
        return any(key in message for message in self.heard)


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    where = tmp_path / "notify" if request.param == "path" else f"@leeward-test-{tmp_path}"
    manager = Manager(str(where))
    yield manager
    manager.sock.close()


@pytest.fixture
def one_manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.sock.close()


def test_ready_reloading_ready_stopping(manager: Manager) -> None:
    """The whole life of a Type=notify-reload unit, by path and by abstract name."""
    with serve("held", "-w", "2", cwd=APPS, env={"NOTIFY_SOCKET": manager.name}) as service:
        first = manager.until("READY")
        assert first["READY"] == "1"
        assert re.fullmatch(r"[12] of 2 workers ready, generation 1", first["STATUS"])
        assert not manager.said("RELOADING")
        service.wait_ready(2)
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        service.signal(signal.SIGHUP)
        reloading = manager.until("RELOADING")
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        assert reloading["RELOADING"] == "1"
        # systemd waits for a stamp that is later than its own signal (sd_notify(3)).
        assert before <= int(reloading["MONOTONIC_USEC"]) <= after
        again = manager.until("READY")
        assert "generation 2" in again["STATUS"]
        service.wait_line("generation 2 serves")
        service.signal(signal.SIGTERM)
        assert manager.until("STOPPING")["STOPPING"] == "1"
        assert service.wait() == 0
        assert not any("READY" in message for message in manager.rest())
        assert not manager.said("WATCHDOG")


@pytest.mark.parametrize("where", ["IMPORT", "FACTORY"])
def test_ready_comes_with_a_ready_worker_and_not_before(
    one_manager: Manager, tmp_path: Path, where: str
) -> None:
    """While the application is imported or made nobody is told anything."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    env = {"NOTIFY_SOCKET": one_manager.name, f"GATE_OF_{where}": str(gate)}
    with serve("waits_at_a_gate", cwd=APPS, env=env) as service:
        with open(gate, "w"):  # the other end is open: it is there, and waits
            assert service.ps()["state"] == "booting"
            assert not any("READY" in message for message in one_manager.rest())
        one_manager.until("READY")
        service.wait_line(r"worker=0 gen=1 pid=\d+ ready")


@pytest.mark.parametrize("target", ["raises_at_import", "raises_in_factory", "no_such_module"])
def test_a_failed_boot_is_never_ready(one_manager: Manager, target: str) -> None:
    """The manager sees an exit code and why, and no READY that it would believe."""
    with serve(target, cwd=APPS, env={"NOTIFY_SOCKET": one_manager.name}) as service:
        assert service.wait() in (2, 3)
        said = one_manager.rest()
        assert not any("READY" in message for message in said)
        if target != "no_such_module":  # refused before there is a supervisor
            assert any("failed" in message.get("STATUS", "") for message in said)


def test_a_reload_that_fails_ends_ready_again(one_manager: Manager, tmp_path: Path) -> None:
    """RELOADING is always followed by READY: systemd would else wait for ever."""
    application = tmp_path / "deployed.py"
    application.write_text((APPS / "hello.py").read_text())
    with serve("deployed", cwd=tmp_path, env={"NOTIFY_SOCKET": one_manager.name}) as service:
        service.wait_ready()
        one_manager.until("READY")
        application.write_text("raise RuntimeError('broken deploy')\n")
        assert service.leeward("reload").returncode == 3
        one_manager.until("RELOADING")
        assert "generation 1" in one_manager.until("READY")["STATUS"]


def test_a_ready_that_the_manager_could_not_take_comes_later(one_manager: Manager) -> None:
    """Its queue was full when the service was ready; nothing else happens until it has room."""
    with contextlib.ExitStack() as stack:
        for _ in range(3):  # each sender has a bound of its own
            other = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            other.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    other.sendto(b"X_OF_ANOTHER=1", one_manager.name)
        with serve("held", cwd=APPS, env={"NOTIFY_SOCKET": one_manager.name}) as service:
            service.wait_ready(1)
            before = procfs.cpu_seconds(service.pid) or 0.0
            assert one_manager.until("READY")["READY"] == "1"
            assert one_manager.said("X_OF_ANOTHER")
            assert (procfs.cpu_seconds(service.pid) or 0.0) - before < 0.2
            assert service.stop() == 0


def test_the_status_follows_the_workers(one_manager: Manager) -> None:
    """STATUS says how many workers are ready whenever that changes, and once only."""
    with serve("held", "-w", "2", cwd=APPS, env={"NOTIFY_SOCKET": one_manager.name}) as service:
        service.wait_ready(2)

        def wait_status(wanted: str) -> None:
            while one_manager.hear().get("STATUS") != wanted:
                pass

        wait_status("2 of 2 workers ready, generation 1")
        assert service.leeward("scale", "3").returncode == 0
        wait_status("3 of 3 workers ready, generation 1")
        os.kill(service.workers()[0]["pid"], signal.SIGKILL)
        wait_status("2 of 3 workers ready, generation 1")
        wait_status("3 of 3 workers ready, generation 1")
        service.ps()  # asking changes nothing
        assert one_manager.rest() == []


def test_the_watchdog_is_fed_at_half_its_interval(one_manager: Manager) -> None:
    """WATCHDOG_USEC asks for it: a tick each half of it, from a supervisor that is idle."""
    env = {"NOTIFY_SOCKET": one_manager.name, "WATCHDOG_USEC": "3000000"}
    with serve("held", cwd=APPS, env=env) as service:
        service.wait_ready()
        ticks = [one_manager.when("WATCHDOG") for _ in range(3)]
    gaps = sorted(late - early for early, late in itertools.pairwise(ticks))
    assert 0.3 < gaps[0] < 2.4, gaps  # one behind a late one comes in its own time
    assert gaps[-1] < 3.0, "one came too late: systemd would have killed us"


@pytest.mark.parametrize(
    "asked",
    [{}, {"WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}],
    ids=["nobody asks", "another process is meant", "rubbish"],
)
def test_no_watchdog_unless_it_is_asked_for(one_manager: Manager, asked: dict[str, str]) -> None:
    """A tick that nobody asked for wakes a supervisor that could sleep."""
    with serve("held", cwd=APPS, env={"NOTIFY_SOCKET": one_manager.name, **asked}) as service:
        service.wait_ready()
        one_manager.until("READY")
        with pytest.raises(TimeoutError):
            while True:  # a status may still come, a tick must not
                assert "WATCHDOG" not in one_manager.hear(0.3)


def test_a_watchdog_for_this_very_process_is_fed(one_manager: Manager, tmp_path: Path) -> None:
    """WATCHDOG_PID is the pid that the command line and the supervisor share."""
    python = wrapper(tmp_path, "os.environ['WATCHDOG_PID'] = str(os.getpid())")
    env = {"NOTIFY_SOCKET": one_manager.name, "WATCHDOG_USEC": "200000"}
    with serve("held", cwd=APPS, env=env, python=python):
        one_manager.until("WATCHDOG")


def test_a_manager_that_does_not_listen_disturbs_nobody(tmp_path: Path) -> None:
    """NOTIFY_SOCKET that leads nowhere: the service runs, reloads and ends all the same."""
    env = {"NOTIFY_SOCKET": str(tmp_path / "nowhere"), "WATCHDOG_USEC": "20000"}
    with serve("held", cwd=APPS, env=env) as service:
        service.wait_ready()
        assert service.leeward("reload").returncode == 0
        assert service.stop() == 0


def test_workers_do_not_see_the_managers_variables(one_manager: Manager, tmp_path: Path) -> None:
    """NOTIFY_SOCKET, WATCHDOG_* and LISTEN_* speak to the supervisor alone."""
    listener = socket.create_server(("127.0.0.1", 0))
    env = {
        "NOTIFY_SOCKET": one_manager.name,
        "WATCHDOG_USEC": "30000000",
        "LISTEN_FDNAMES": "web",
        "OF_THE_APPLICATION": "stays",
    }
    with listener, activated(tmp_path, [listener], env, "tells_its_environment") as service:
        service.wait_ready()
        found = get(listener.getsockname()).json
        for moment in ("import", "factory", "now"):
            environ = found[moment]["environ"]
            assert environ["OF_THE_APPLICATION"] == "stays"
            assert [key for key in environ if re.match("NOTIFY_|WATCHDOG_|LISTEN_", key)] == []


# --- socket activation ------------------------------------------------------------------


def wrapper(directory: Path, line: str) -> str:
    """A program that runs `line` and then becomes Python, under the same pid."""
    path = directory / "python"
    path.write_text(
        f"#!{sys.executable}\nimport os, sys\n{line}\n"
        f"os.execv({sys.executable!r}, [{sys.executable!r}, *sys.argv[1:]])\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def activated(
    directory: Path,
    sockets: list[socket.socket],
    env: dict[str, str] | None = None,
    target: str = "held",
    *flags: str,
) -> AbstractContextManager[Service]:
    """`serve` as a socket unit starts it: descriptors from 3 on, LISTEN_FDS, LISTEN_PID."""
    given = [sock.fileno() for sock in sockets]
    # To high numbers first: one of them may be 3 already.
    python = wrapper(
        directory,
        "if 'GIVEN' in os.environ and 'serve' in sys.argv:\n"
        "    high = [os.dup2(int(fd), 200 + n) for n, fd in\n"
        "            enumerate(os.environ.pop('GIVEN').split())]\n"
        "    for n, fd in enumerate(high):\n"
        "        os.dup2(fd, 3 + n)\n"
        "        os.close(fd)\n"
        "    os.environ['LISTEN_FDS'] = str(len(high))\n"
        "    os.environ['LISTEN_PID'] = str(os.getpid())\n",
    )
    environ = {"GIVEN": " ".join(map(str, given)), **(env or {})}
    return serve(target, *flags, cwd=APPS, env=environ, python=python, bind=None, pass_fds=given)


def test_sockets_of_a_socket_unit_are_served_and_survive_reloads(tmp_path: Path) -> None:
    """TCP and unix sockets that the manager holds: adopted, reloaded, never closed or removed."""
    path = str(tmp_path / "web.sock")
    tcp = socket.create_server(("127.0.0.1", 0), backlog=77)
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(path)
    unix.listen()
    with tcp, unix:
        with activated(tmp_path, [tcp, unix], None, "held", "-w", "2") as service:
            service.wait_ready(2)
            urls = [f"http://127.0.0.1:{tcp.getsockname()[1]}", f"unix:{path}"]
            assert service.ps()["listeners"] == urls
            for generation in ("1", "2"):
                for address in (tcp.getsockname(), path):
                    assert get(address).json["generation"] == generation
                if generation == "1":
                    reload(service, 2)
            assert service.stop() == 0
        # The manager's own sockets are as they were: still listening, file and all.
        for sock in (tcp, unix):
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        with socket.create_connection(tcp.getsockname(), 5):
            pass
        assert Path(path).is_socket()


def test_an_adopted_program_gets_the_sockets_of_its_unit(tmp_path: Path) -> None:
    """They take the place of the address that the program asks for, over reloads too."""
    listener = socket.create_server(("127.0.0.1", 0))
    flags = ("--kind", "script")
    env = {"FORM": "listen_start"}
    with listener, activated(tmp_path, [listener], env, "adopted.py", *flags) as service:
        service.wait_ready(2)
        assert address_of(service) == listener.getsockname()
        assert service.leeward("reload").returncode == 0
        assert get(listener.getsockname()).json["name"] == "__main__"


def test_flags_win_over_sockets_that_are_handed_over(tmp_path: Path) -> None:
    """--bind says where; LISTEN_FDS is for who says nothing."""
    listener = socket.create_server(("127.0.0.1", 0))
    with (
        listener,
        activated(tmp_path, [listener], None, "held", "--bind", "127.0.0.1:0") as service,
    ):
        service.wait_ready()
        assert address_of(service) != listener.getsockname()
        assert get(address_of(service)).status == 200
