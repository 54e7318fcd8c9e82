"""Stopping finishes what is in flight, tells who waits, and always comes to its end."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from process.clients import (
    Address,
    Gate,
    Http,
    WebSocket,
    address_of,
    all_drain,
    connected,
    get,
    refused,
)
from process.support import APPS, PATIENCE, gone, links, marks, until

from leeward._sys import procfs
from leeward.testing import Service, serve

#: Ctrl-C on a terminal: its graceful time and what may come on top.
INTERRUPT, ON_TOP = 3.0, 1.0
#: A busy machine starts processes and wakes tests later than an idle one.
SLACK = 2.0


Verb = subprocess.Popen[str]


def stop_by_verb(service: Service) -> Verb:
    """Types `leeward stop`, which waits for the end while the test goes on."""
    command = [sys.executable, "-m", "leeward", "stop", "--name", service.name]
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(service.directory)}
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)


def term_to_all(service: Service) -> None:
    """What systemd does with KillMode=control-group: every process, all at once."""
    term(*service.family(), service.pid)


def term_to_all_supervisor_first(service: Service) -> None:
    term(service.pid, *reversed(service.family()))


def term(*pids: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # the first to hear may be gone already
            os.kill(pid, signal.SIGTERM)


WAYS: dict[str, Callable[[Service], Verb | None]] = {
    "TERM": lambda service: service.signal(signal.SIGTERM),
    "INT": lambda service: service.signal(signal.SIGINT),
    "leeward stop": stop_by_verb,
    "TERM to all": term_to_all,
    "TERM to all, the supervisor first": term_to_all_supervisor_first,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_stop_finishes_what_is_in_flight(way: str, tmp_path: Path) -> None:
    """In-flight requests are answered, idle connections and WebSockets end at once."""
    with serve("held", "-w", "2", cwd=APPS, env={"MARKS": str(tmp_path)}) as service:
        address = address_of(service.wait_ready(2))
        workers = {worker["pid"] for worker in service.workers()}
        with Gate() as gate, Http(address) as busy, Http(address) as idle:
            idle.get()
            with WebSocket(address) as socket, gate.hold(busy) as held:
                socket.hear()
                verb = WAYS[way](service)
                assert socket.close_code() == 1001
                assert idle.at_end()
                assert held.pid in workers
                assert service.process.poll() is None
                service.wait_line(rf"pid={held.pid} draining")
                held.release()
                answer = busy.answer()
        assert answer.json["pid"] == held.pid
        assert answer.announces_close
        assert service.wait() == 0
        if verb is not None:
            assert "has ended" in verb.communicate(timeout=PATIENCE)[0]
            assert verb.returncode == 0
    # Exit functions ran once in each worker that served, and in no other process.
    once = dict.fromkeys(workers, 1)
    assert {pid: marks(tmp_path, "atexit").get(pid) for pid in workers} == once
    assert set(marks(tmp_path, "atexit").values()) == {1}
    assert marks(tmp_path, "atexit").keys() == marks(tmp_path, "factory-atexit").keys()


class Knocking:
    """Clients that come again and again, each by a thread; `cut`: what no answer came to."""

    def __init__(self, address: Address, clients: int) -> None:
        self.answered = self.refused = 0
        self.cut: list[str] = []
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._come, args=(address,)) for _ in range(clients)
        ]

    def __enter__(self) -> Knocking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *why: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _come(self, address: Address) -> None:
        while not self._over.is_set():
            try:
                connection = connected(address)
            except (ConnectionRefusedError, FileNotFoundError):
                self.refused += 1
                time.sleep(0.001)  # a loop without a pause would leave the service no CPU
                continue
            with connection:
                try:
                    connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                    if connection.recv(4096):
                        self.answered += 1
                    else:
                        self.cut.append("closed")
                except OSError as error:
                    self.cut.append(str(error))


@pytest.mark.parametrize("start", ["zygote", "spawn"])
def test_who_comes_later_is_refused(start: str) -> None:
    """Nobody waits for an answer that cannot come while the last requests are finished."""
    with serve("held", "-w", "2", "--start", start, cwd=APPS) as service:
        address = address_of(service.wait_ready(2))
        with Gate() as gate, Http(address) as busy, gate.hold(busy) as held:
            service.signal(signal.SIGTERM)
            until(lambda: refused(address), "new clients to be refused")
            held.release()
            assert busy.answer().json["pid"] == held.pid
        assert service.wait() == 0


@pytest.mark.parametrize(
    ("start", "where"), [("zygote", "tcp"), ("spawn", "tcp"), ("zygote", "unix")]
)
def test_who_comes_while_it_stops_is_refused_and_not_reset(
    start: str, where: str, tmp_path: Path
) -> None:
    """From the moment that nobody accepts, though many processes hold the listener then."""
    bind = "127.0.0.1:0" if where == "tcp" else f"unix:{tmp_path / 's'}"
    for _ in range(2):
        with serve("hello", "-w", "3", "--start", start, cwd=APPS, bind=bind) as service:
            service.wait_ready(3)
            address = bind if where == "unix" else address_of(service)
            with Knocking(address, 8) as clients:
                until(lambda clients=clients: clients.answered > 100, "answers")
                service.signal(signal.SIGTERM)
                until(lambda clients=clients: clients.refused > 100, "new clients to be refused")
            assert service.wait() == 0
        assert clients.cut == []


def test_a_worker_that_ends_by_itself_closes_nobody_elses_listener(tmp_path: Path) -> None:
    """Its loop was stopped by the application: that is a stop for itself alone."""
    (tmp_path / "ends.py").write_text(
        "import asyncio, tornado.web\n"
        "class Ends(tornado.web.RequestHandler):\n"
        "    def get(self): asyncio.get_event_loop().call_soon(asyncio.get_event_loop().stop)\n"
        "def make_app(): return tornado.web.Application([('/ends', Ends), ('/', tornado.web."
        "RequestHandler)])\n"
    )
    with serve("ends:make_app", "-w", "2", cwd=tmp_path) as service:
        service.wait_ready(2)
        with Http(address_of(service)) as client:
            client.get("/ends")
        service.wait_line("the application stopped the event loop")
        for _ in range(20):
            assert get(address_of(service)).status == 405
        service.wait_line("died: exited with code 0")
        assert get(address_of(service)).status == 405


def test_a_worker_that_drains_already_keeps_nobody_waiting() -> None:
    """A stop behind a reload, while a worker of the generation before has something to finish."""
    with serve("held", "-w", "1", cwd=APPS) as service:
        address = address_of(service.wait_ready())
        with Gate() as gate, Http(address) as busy, gate.hold(busy) as held:
            assert service.leeward("reload").returncode == 0
            all_drain(service, 1, 1)
            service.signal(signal.SIGTERM)
            until(lambda: refused(address), "new clients to be refused")
            held.release()
            assert busy.answer().json["pid"] == held.pid
        assert service.wait() == 0


def test_a_successor_may_bind_while_the_last_requests_are_finished(tmp_path: Path) -> None:
    """At the same path, and its socket is there when the first has ended."""
    path = f"{tmp_path}/s"
    with serve("held", cwd=APPS, bind=f"unix:{path}") as service:
        service.wait_ready()
        with Gate() as gate, Http(path) as busy, gate.hold(busy) as held:
            service.signal(signal.SIGTERM)
            until(lambda: not os.path.exists(path), "the path to be free")
            with serve("held", cwd=APPS, bind=f"unix:{path}") as successor:
                successor.wait_ready()
                held.release()
                assert busy.answer().json["pid"] == held.pid
                assert service.wait() == 0
                assert get(path).status == 200


def test_who_comes_to_a_listener_that_was_handed_in_waits_for_the_next() -> None:
    """Whoever made it keeps it: clients that come during the drain are served after it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd, address = listener.fileno(), listener.getsockname()
        with serve("held", cwd=APPS, bind=f"fd://{fd}", pass_fds=(fd,)) as service:
            service.wait_ready()
            with Gate() as gate, Http(address) as busy, gate.hold(busy) as held:
                service.signal(signal.SIGTERM)
                until(
                    lambda: os.readlink(f"/proc/self/fd/{fd}") not in links(service.pid).values(),
                    "the supervisor to close its own",
                )
                with Http(address) as early:
                    early.send()
                    held.release()
                    assert busy.answer().json["pid"] == held.pid
                    assert service.wait() == 0
                    with serve("held", cwd=APPS, bind=f"fd://{fd}", pass_fds=(fd,)) as successor:
                        successor.wait_ready()
                        assert early.answer().status == 200


@pytest.mark.parametrize("start", ["zygote", "spawn"])
def test_exit_functions_run_once_in_each_worker(start: str, tmp_path: Path) -> None:
    """`atexit` of the import and of the factory: in the workers, never in the zygote."""
    with serve("held", "-w", "2", "--start", start, cwd=APPS, env={"MARKS": str(tmp_path)}) as it:
        it.wait_ready(2)
        once = {worker["pid"]: 1 for worker in it.workers()}
        assert len(once) == 2
        assert it.stop() == 0
    assert marks(tmp_path, "atexit") == once
    assert marks(tmp_path, "factory-atexit") == once


def test_the_deadline_cuts_what_does_not_finish() -> None:
    """After --graceful-timeout the rest is cut, by name, and the exit code is 0."""
    with serve("held", "--graceful-timeout", "300ms", cwd=APPS) as service:
        address = address_of(service.wait_ready())
        with Gate() as gate, Http(address) as busy, WebSocket(address) as deaf:
            deaf.hear()
            gate.hold(busy)
            begun = time.monotonic()
            assert service.stop() == 0
            assert time.monotonic() - begun < 10  # of the 30 s that it has by default
            assert busy.cut()
        assert re.search(r"drain deadline reached, cutting connections: .*1 active", service.log)


@pytest.mark.parametrize(
    "ends",
    [
        lambda it: (
            it.signal(signal.SIGINT),
            it.wait_line("draining"),
            it.signal(signal.SIGINT),
        ),
        lambda it: it.signal(signal.SIGQUIT),
        lambda it: it.leeward("stop", "--now"),
        lambda it: (
            it.signal(signal.SIGTERM),
            it.wait_line("draining"),
            it.leeward("stop", "--now"),
        ),
    ],
    ids=["INT twice", "QUIT", "stop --now", "TERM, then stop --now"],
)
def test_whoever_is_in_a_hurry_waits_for_nothing(ends: Callable[[Service], object]) -> None:
    """INT twice, QUIT and `stop --now` end requests that would take for ever, at once."""
    with serve("held", "-w", "2", cwd=APPS) as service:
        address = address_of(service.wait_ready(2))
        with Gate() as gate, Http(address) as busy:
            gate.hold(busy)
            begun = time.monotonic()
            ends(service)
            assert service.wait() == 0
            assert time.monotonic() - begun < 1.0 + SLACK
            assert busy.cut()


# --- on a terminal ----------------------------------------------------------------------


STUCK = {
    "nothing": {},
    "1 thread": {"STUCK_THREADS": "1"},
    "20 threads": {"STUCK_THREADS": "20"},
    "an executor": {"STUCK_EXECUTOR": "1"},
    "an exit function": {"STUCK_ATEXIT": "1"},
    "everything": {"STUCK_THREADS": "20", "STUCK_EXECUTOR": "1", "STUCK_ATEXIT": "1"},
}


@pytest.mark.parametrize("stuck", STUCK)
def test_ctrl_c_ends_whatever_is_stuck(stuck: str) -> None:
    """One Ctrl-C, typed, ends a service with stuck threads or exit functions in 3 s + 1 s."""
    with serve("cannot_leave", "-w", "2", cwd=APPS, env=STUCK[stuck], terminal=True) as service:
        service.wait_ready(2)
        begun = time.monotonic()
        service.type(b"\x03")
        assert service.wait() == 0
        took = time.monotonic() - begun
    assert took < INTERRUPT + ON_TOP + SLACK
    if stuck in ("nothing", "1 thread", "20 threads", "an executor"):
        assert took < 1.0 + SLACK, "threads are not waited for at all"


@pytest.mark.parametrize("kind", ["held", "blocked", "stubborn"])
def test_ctrl_c_ends_handlers_that_never_end(kind: str) -> None:
    """One Ctrl-C ends a request that waits for ever, blocks its loop or refuses to be cancelled."""
    with serve("held", "-w", "2", cwd=APPS, terminal=True) as service:
        address = address_of(service.wait_ready(2))
        with Gate() as gate, Http(address) as busy:
            gate.hold(busy, kind)
            begun = time.monotonic()
            service.type(b"\x03")
            assert service.wait() == 0
            took = time.monotonic() - begun
            assert busy.cut()
    assert INTERRUPT - SLACK < took < INTERRUPT + ON_TOP + SLACK


@pytest.mark.parametrize("kind", ["held", "blocked"])
def test_the_second_ctrl_c_ends_at_once(kind: str) -> None:
    """Who types Ctrl-C again does not want to wait for anything."""
    with serve("held", "-w", "2", cwd=APPS, terminal=True) as service:
        address = address_of(service.wait_ready(2))
        with Gate() as gate, Http(address) as busy:
            gate.hold(busy, kind)
            service.type(b"\x03")
            service.wait_line("stopping within 3 s, asked for by Ctrl-C")
            begun = time.monotonic()
            service.type(b"\x03")
            assert service.wait() == 0
            assert time.monotonic() - begun < 1.0 + SLACK


def test_ctrl_c_during_the_boot_ends_it() -> None:
    """Nobody waits for an import that hangs."""
    with serve("hangs_at_import", "-w", "2", cwd=APPS, terminal=True) as service:
        until(lambda: service.leeward("ps").returncode == 0, "an answer to ps")
        begun = time.monotonic()
        service.type(b"\x03")
        assert service.wait() == 0
        assert time.monotonic() - begun < INTERRUPT + ON_TOP + SLACK


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_a_supervisor_that_only_begins_is_obeyed(number: signal.Signals) -> None:
    """From the command line's exec on, while Python still starts: exit code 0, no traceback."""
    with serve("hello", cwd=APPS) as service:
        words = Path(f"/proc/{service.pid}/cmdline")
        until(lambda: b"\0-I\0-S\0" in words.read_bytes(), "the command line has not executed it")
        service.signal(number)
        assert service.wait() == 0
        assert "stopping" in service.log and "Traceback" not in service.log


def test_a_supervisor_that_waits_for_a_drain_sleeps(tmp_path: Path) -> None:
    """Stopped before its banner was out, because a worker takes long to start."""
    shutil.copy(APPS / "held.py", tmp_path)
    (tmp_path / "late.py").write_text(
        "import os, time\nfrom held import *\nfrom held import make_app as make\n"
        "def make_app():\n"
        "    time.sleep(60 if os.environ['LEEWARD_SLOT'] == '1' else 0)\n"
        "    return make()\n"
    )
    with serve("late:make_app", "-w", "2", cwd=tmp_path) as service:
        service.wait_line("worker=0 gen=1 pid=.* ready")
        began = time.monotonic()
        host, _, port = service.url.rpartition("/")[2].rpartition(":")  # there is no banner yet
        address = host, int(port)
        with Gate() as gate, Http(address) as busy, gate.hold(busy) as held:
            service.signal(signal.SIGTERM)
            service.wait_line("stopping within")
            until(lambda: time.monotonic() - began > 2.2, "the banner to be overdue")
            before = procfs.cpu_seconds(service.pid) or 0.0
            select.select([], [], [], 1.0)
            assert (procfs.cpu_seconds(service.pid) or 0.0) - before < 0.3
            held.release()
            assert busy.answer().status == 200
        assert service.wait() == 0


def test_a_closed_terminal_stops_the_service() -> None:
    """The window is closed: what is in flight is answered, then all ends; it is no reload."""
    with serve("held", "-w", "2", cwd=APPS, terminal=True) as service:
        address = address_of(service.wait_ready(2))
        with Gate() as gate, Http(address) as busy, Http(address) as idle:
            idle.get()
            with gate.hold(busy) as held:
                service.hang_up()
                assert idle.at_end()
                held.release()
                assert busy.answer().status == 200
        assert service.wait() == 0


# --- one worker -------------------------------------------------------------------------


class Hammer:
    """Asks on new connections, one after the other, from its own thread."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.answers: list[int] = []
        self.failures: list[BaseException] = []
        self._address = address
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Hammer:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._enough.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._enough.is_set():
            try:
                self.answers.append(get(self._address).status)
            except OSError as error:
                self.failures.append(error)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_term_to_one_worker_replaces_it_first(workers: str) -> None:
    """The replacement is ready before the worker drains, and no request fails of it."""
    with serve("held", "-w", workers, cwd=APPS) as service:
        address = address_of(service.wait_ready(int(workers)))
        with Gate() as gate, Http(address) as busy, Hammer(address) as hammer:
            held = gate.hold(busy)
            os.kill(held.pid, signal.SIGTERM)
            drains = service.wait_line(rf"worker=(\d) gen=1 pid={held.pid} draining \(reload\)")
            slot = drains[1]
            held.release()
            answer = busy.answer()
            assert (answer.json["pid"], answer.announces_close) == (held.pid, True)
            assert gone(held.pid)
            service.wait_line(rf"pid={held.pid} gone$")
            [now] = [worker for worker in service.workers() if worker["slot"] == int(slot)]
        assert not hammer.failures
        assert set(hammer.answers) == {200}
        lines = service.log.splitlines()
        [ready] = [n for n, line in enumerate(lines) if f"pid={now['pid']} ready" in line]
        [drained] = [n for n, line in enumerate(lines) if f"pid={held.pid} draining" in line]
        assert ready < drained
        assert service.ps()["ends"] == []  # it was asked for: no death to explain
