"""A system that gives little or nothing makes the service slower to start, never wild or deaf."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import resource
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from process.clients import Gate, Http, address_of, get
from process.support import APPS, PATIENCE, end_spares, gone, unprivileged, until, wrapped

from leeward._sys import procfs
from leeward.testing import Service, serve

MODES = ("zygote", "spawn")


def serves(service: Service) -> set[int]:
    """The workers that serve, by `ps`; for services whose log nobody can read."""
    done = service.leeward("ps", "--json")
    if done.returncode:
        return set()
    (report,) = json.loads(done.stdout)
    return {it["pid"] for it in report["workers"] if it["state"] == "serving"}


# --- processes ---------------------------------------------------------------------------


#: Without CAP_SYS_RESOURCE only a process of the same user may do that to another.
LIMIT_PROCESSES = """
import resource, sys
pid, soft = map(int, sys.argv[1:])
hard = resource.prlimit(pid, resource.RLIMIT_NPROC)[1]
resource.prlimit(pid, resource.RLIMIT_NPROC, (soft if soft > 0 else hard, hard))
"""


def limit_processes(python: str, directory: Path, pid: int, soft: int) -> None:
    """RLIMIT_NPROC of `pid`; 0: as many as it is allowed."""
    subprocess.run(
        [python, "-c", LIMIT_PROCESSES, str(pid), str(soft)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(directory)},
        timeout=PATIENCE,
        check=True,
    )


@pytest.mark.parametrize("mode", MODES)
def test_forks_that_fail_are_tried_again_with_pauses(mode: str, tmp_path: Path) -> None:
    """EAGAIN while it serves: the sibling serves on, `ps` says why, and later it recovers."""
    python = unprivileged(tmp_path)
    with serve("slow", "-w", "2", "--start", mode, cwd=APPS, python=python) as service:
        service.wait_ready(2)
        report = service.ps()
        forks = report["zygotes"][0]["pid"] if mode == "zygote" else service.pid
        limit_processes(python, tmp_path, forks, 1)
        end_spares(service)
        os.kill(report["workers"][0]["pid"], signal.SIGKILL)
        words = r"could not be (forked|started): .*Resource temporarily unavailable"
        service.wait_line(rf"worker=0 gen=1 .*{words}")
        service.wait_line(rf"generation 1: {words}; pausing 0.4 s \(3 in a row\)")
        sibling = report["workers"][1]["pid"]
        assert int(get(address_of(service)).body) == sibling
        report = until(lambda: service.ps()["backoff"], "`ps` to say that it backs off")
        assert re.search(words, report["why"])
        mark = service.mark()
        limit_processes(python, tmp_path, forks, 0)
        service.wait_line(r"worker=0 gen=1 pid=\d+ ready", mark)
        assert not gone(sibling, 0)


def without_processes(service: Service, python: str, directory: Path) -> Callable[[], None]:
    """Its zygotes have no spare, and forks fail from now on.

    What is returned is to be called when there are processes again.
    """
    pids = [it["pid"] for it in service.ps()["zygotes"]]

    def limit(soft: int) -> None:
        for pid in pids:
            limit_processes(python, directory, pid, soft)

    limit(1)
    end_spares(service)
    return lambda: limit(0)


def test_forks_that_fail_bring_no_old_code_back(tmp_path: Path) -> None:
    """EAGAIN soon after a good deploy, again and again: the new code waits for processes."""
    python = unprivileged(tmp_path)
    with serve("hello", "-w", "1", "--start", "zygote", cwd=APPS, python=python) as service:
        service.wait_ready(1)
        assert service.leeward("reload").returncode == 0
        free = without_processes(service, python, tmp_path)
        assert service.leeward("scale", "3").returncode == 0
        service.wait_line(r"generation 2: could not be forked: .*; pausing 1.6 s \(5 in a row\)")
        assert service.ps()["previous"]["generation"] == 1
        mark = service.mark()
        free()
        for slot in (1, 2):
            service.wait_line(rf"worker={slot} gen=2 pid=\d+ ready", mark)
        assert "going back" not in service.log


def test_a_rollback_without_processes_may_be_asked_for_again(tmp_path: Path) -> None:
    """It ends within the start time-out, by name; the old code has done nothing wrong."""
    python = unprivileged(tmp_path)
    flags = ("-w", "1", "--start", "zygote", "--start-timeout", "4s")
    with serve("hello", *flags, cwd=APPS, python=python) as service:
        service.wait_ready(1)
        assert service.leeward("reload").returncode == 0
        free = without_processes(service, python, tmp_path)
        done = service.leeward("rollback")
        assert done.returncode == 3, done
        why = r"generation 1 could not be forked: .*, \d+ times within 4 s \(--start-timeout\)"
        assert re.search(why, done.stderr) and "generation 2 serves on" in done.stderr, done
        free()
        done = service.leeward("rollback")
        assert (done.returncode, done.stderr) == (0, ""), done
        assert service.ps()["generation"] == 1


def test_a_reload_without_processes_ends(tmp_path: Path) -> None:
    """EAGAIN from its zygote's first fork on: told with the reason, and the old code serves on."""
    python = unprivileged(tmp_path)
    (tmp_path / "hello.py").write_text((APPS / "hello.py").read_text())
    flags = ("-w", "1", "--start", "zygote", "--start-timeout", "4s")
    with serve("hello", *flags, cwd=tmp_path, python=python) as service:
        service.wait_ready(1)
        with (tmp_path / "hello.py").open("a") as file:
            file.write(
                "\nimport resource\n_, hard = resource.getrlimit(resource.RLIMIT_NPROC)\n"
                "resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))\n"
            )
        done = service.leeward("reload")
        assert done.returncode == 3, done
        why = r"generation 2 could not be forked: .*, \d+ times within 4 s \(--start-timeout\)"
        assert re.search(why, done.stderr), done
        assert "generation 1 serves on" in done.stderr, done
        assert service.ps()["state"] == "serving"
        assert get(address_of(service)).status == 200


@pytest.mark.parametrize("mode", MODES)
def test_a_first_start_without_processes_gives_up(mode: str, tmp_path: Path) -> None:
    """EAGAIN from the beginning: five tries, the reason, exit code 5."""
    python = unprivileged(tmp_path, "prlimit --nproc=1:1")
    with serve("hello", "--start", mode, cwd=APPS, python=python) as service:
        assert service.wait() == 5
        why = "could not be started: Resource temporarily unavailable, 5 times"
        assert f"leeward: hello {why} before it was ever ready" in service.log


# --- descriptors ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "log_file"),
    [
        *((it, False) for it in (4, 5, 6, 7, 8, 9, 11, 13, 14, 16, 20, 24, 32)),
        *((it, True) for it in (11, 12, 13, 14, 15)),
    ],
)
def test_hardly_any_descriptors(count: int, log_file: bool, tmp_path: Path) -> None:
    """It says that it cannot, soon and in few lines; or it serves.  It never hangs or spins."""
    python = wrapped(tmp_path, f'ulimit -n {count}\nexec "$python" "$@"')
    flags = ("--log-file", str(tmp_path / "app.log")) if log_file else ()
    with serve("slow", "-w", "2", *flags, cwd=APPS, python=python) as service:
        up = re.compile(r"leeward \S+ serves|^leeward: |error while loading shared|Fatal Python")
        service.wait_line(up.pattern)
        if "Fatal Python" in service.log:
            assert service.wait()  # Python itself came no further
            return
        if "serves" not in service.log:
            assert service.wait() in (1, 3, 4, 5, 127)
            last = service.log.rpartition("\nleeward: ")[2].splitlines()
            assert len(last) <= 8, service.log
            assert re.search("open file|Error 24|Errno 24", service.log), service.log
            assert "this is a bug" not in service.log
            assert "BadRing" not in service.log
            return
        for _ in range(5):
            assert get(address_of(service)).status == 200
        assert (procfs.cpu_seconds(service.pid) or 0) < 1
        assert service.stop() == 0


@pytest.mark.parametrize(
    ("count", "mode"),
    [*((it, "zygote") for it in (15, 16, 17)), *((it, "spawn") for it in (14, 15, 16, 17, 18))],
)
def test_a_worker_that_has_no_descriptor_left_says_so(
    count: int, mode: str, tmp_path: Path
) -> None:
    """For its loop, for the pipe that wakes it, for the stack of a start that hangs: in words."""
    python = wrapped(tmp_path, f'ulimit -n {count}\nexec "$python" "$@"')
    with serve("slow", "--start", mode, cwd=APPS, python=python) as service:
        service.wait_line(r"leeward \S+ serves|^leeward: ")
        if "serves" not in service.log:
            assert service.wait() in (3, 5)
            last = service.log.rpartition("\nleeward: ")[2]
            assert re.search("Too many open files|open file limit", last), service.log
            assert "Traceback" not in service.log


def test_descriptors_that_run_out_while_it_serves(tmp_path: Path) -> None:
    """A supervisor without a free one cannot replace a worker; it says so and tries again."""
    with serve("slow", "-w", "2", cwd=APPS) as service:
        service.wait_ready(2)
        report = service.ps()
        _, hard = resource.prlimit(service.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (5, hard))
        os.kill(report["workers"][0]["pid"], signal.SIGKILL)
        service.wait_line(r"generation 1: could not be started: Too many open files; pausing 0.2")
        assert int(get(address_of(service)).body) == report["workers"][1]["pid"]
        mark = service.mark()
        resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (hard, hard))
        service.wait_line(r"worker=0 gen=1 pid=\d+ ready", mark)
        assert (procfs.cpu_seconds(service.pid) or 0) < 1


# --- where the log goes -----------------------------------------------------------------------


def starting_with(directory: Path, redirections: str) -> str:
    """An interpreter whose `serve` has other standard streams; other verbs are left alone."""
    serve = f'exec "$python" "$@" {redirections}'
    return wrapped(directory, f'case " $* " in *" serve "*) {serve};; esac\nexec "$python" "$@"')


def is_replaced(service: Service) -> None:
    """A killed worker has its successor, and the service ends well."""
    before = until(lambda: serves(service), "a worker to serve")
    os.kill(min(before), signal.SIGKILL)
    until(lambda: (now := serves(service)) and min(before) not in now, "another worker")
    address = service.ps()["listeners"][0].removeprefix("http://").split(":")
    assert get((address[0], int(address[1]))).status == 200
    assert service.stop() == 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("redirections", ["<&- >&- 2>&-", "2>&-", ">/dev/full 2>/dev/full"])
def test_nowhere_to_write(redirections: str, mode: str, tmp_path: Path) -> None:
    """Standard streams that are closed, or on a full disk, change nothing else."""
    python = starting_with(tmp_path, redirections)
    with serve("slow", "--start", mode, cwd=APPS, python=python) as service:
        for pid in until(lambda: serves(service), "a worker to serve") | {service.pid}:
            for fd in (0, 1, 2):
                assert not os.readlink(f"/proc/{pid}/fd/{fd}").startswith(("socket:", "anon"))
        is_replaced(service)


class Stuck:
    """A pipe that is full and that nobody reads, by the name of a FIFO."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        fcntl.fcntl(self.fd, fcntl.F_SETPIPE_SZ, 4096)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.fd, b"x" * 1024)

    def lines(self) -> Iterator[str]:
        """What is written from now on that it is read."""
        rest = b""
        while select.select([self.fd], [], [], 20)[0]:
            *whole, rest = (rest + os.read(self.fd, 65536)).split(b"\n")
            yield from (line.decode() for line in whole)


def test_a_log_that_nobody_reads(tmp_path: Path) -> None:
    """A full pipe holds nothing up: workers are replaced and reloaded; it is told later."""
    stuck = Stuck(tmp_path / "log")
    try:
        python = starting_with(tmp_path, f"2>{stuck.path}")
        with serve("held", "-w", "2", cwd=APPS, python=python) as service, Gate() as gate:
            before = until(lambda: len(found := serves(service)) == 2 and found, "two workers")
            os.kill(min(before), signal.SIGKILL)
            until(lambda: len(found := serves(service)) == 2 and found != before, "another")
            host, port = service.ps()["listeners"][0].removeprefix("http://").split(":")
            with Http((host, int(port))) as client:
                held = gate.hold(client)
                reload = service.begin("reload")
                assert "generation 2 serves" in reload.communicate(timeout=20)[0]
                held.release()
                assert client.answer().status == 200
                assert gone(held.pid)
            lines = stuck.lines()
            # Somebody reads again: what happened meanwhile comes at once, in order.
            for told in ("exited|killed", "reload asked for", "generation 2 serves"):
                assert next((line for line in lines if re.search(told, line)), None), told
            # A reader that lags gets the last line too.
            service.signal(signal.SIGTERM)
            assert next((line for line in lines if line.endswith(" stopped")), None)
            assert service.wait(10) == 0
    finally:
        os.close(stuck.fd)


# --- the clock --------------------------------------------------------------------------------

FAKETIME = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
)


def test_a_clock_that_jumps(tmp_path: Path) -> None:
    """An hour forward and two back: nobody is ended, replaced or kept waiting for it."""
    library = next((it for it in FAKETIME if os.path.exists(it)), None)
    if library is None:
        pytest.skip("no libfaketime here: apt-get install faketime")
    offset = tmp_path / "offset"
    offset.write_text("+0\n")
    env = {
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    with (
        serve("held", "-w", "2", "--start", "spawn", cwd=APPS, env=env) as service,
        Gate() as gate,
    ):
        service.wait_ready(2)
        before = {it["pid"] for it in service.workers()}
        address = address_of(service)
        with Http(address) as client, Http(address) as idle:
            idle.get()
            held = gate.hold(client)
            stamps = []
            for jump in ("+3600", "-3600"):
                offset.write_text(f"{jump}\n")
                mark = service.mark()
                service.signal(signal.SIGUSR1)
                stamps.append(service.wait_line(r"^\S+ (\d+):.* SIGUSR1", mark)[1])
                assert get(address).status == 200
                assert idle.get().status == 200
            assert stamps[0] != stamps[1], "the clock did not jump"
            held.release()
            assert client.answer().status == 200
        report = service.ps()
        assert {it["pid"] for it in report["workers"]} == before
        assert 0 <= report["uptime"] < 60
        # No forked worker here: libfaketime breaks the absolute monotonic sleep (EINVAL)
        # in which one waits for its adoption.
        assert "died" not in service.log
        assert service.stop() == 0
