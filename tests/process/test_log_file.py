"""`--log-file`: each line once in the file, whoever dies, and however it is rotated."""

from __future__ import annotations

import os
import re
import select
import signal
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from process.clients import Http, address_of
from process.support import APPS, gone, until

from leeward._sys import procfs
from leeward.testing import Service, serve


def collector_of(service: Service) -> int:
    """Its pid, once there is one."""

    def look() -> int | None:
        family = procfs.children_of(service.process.pid)
        return next((it for it in family if procfs.comm(it) == "leeward logs"), None)

    return until(look, "no log collector")


def lines_of(path: Path) -> list[str]:
    """Of the file and of those that it was rotated to."""
    files = sorted(path.parent.glob(path.name + ".*"), key=lambda it: -int(it.suffix[1:]))
    return "".join(it.read_text() for it in [*files, path] if it.exists()).splitlines()


LINE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} info     worker=[01] gen=1 pid=(\d+) "
    r"much: line (\d+) of (\d+) (x*)"
)


def test_workers_and_collectors_are_killed(tmp_path: Path) -> None:
    """What was logged before an answer is in the file, once, with rotation all along."""
    path = tmp_path / "app.log"
    flags = ("-w", "2", "--log-file", str(path), "--log-rotate", "20kB", "--log-keep", "0")
    answered: dict[int, int] = {}
    with serve("logs_much:make_app", *flags, cwd=APPS) as service:
        service.wait_ready(2)
        at = address_of(service)
        for n in range(120):
            if n % 40 == 20:
                os.kill(collector_of(service), signal.SIGKILL)
            if n % 50 == 45:
                mark = service.mark()
                os.kill(answered[n - 1], signal.SIGKILL)
                service.wait_line("died: killed by", after=mark)
            with Http(at) as client:
                answered[n] = int(client.get(f"/{n}").body)
        assert service.stop() == 0
    told = [it for it in lines_of(path) if " much: " in it]
    found = [LINE.fullmatch(it) for it in told]
    assert None not in found
    lines = [(int(it[2]), int(it[3])) for it in found if it]
    assert all(len(it[4]) == int(it[2]) * 37 % 3000 and it[1] == it[3] for it in found if it)
    assert Counter(lines) == Counter(answered.items())
    assert len(list(tmp_path.iterdir())) > 5
    requests = [it for it in lines_of(path) if "tornado.access: 200 GET" in it]
    assert len(requests) == len(set(requests)) <= 120


def test_a_worker_scribbles_over_its_ring(tmp_path: Path) -> None:
    """Its own lines are lost, which is told once: those of the others are written, by a collector
    that took over, and lives."""
    path = tmp_path / "app.log"
    with serve("scribbles:make_app", "-w", "2", "--log-file", str(path), cwd=APPS) as service:
        service.wait_ready(2)
        at = address_of(service)
        with Http(at) as client:
            client.get("/0")
            mark = service.mark()
            bad = client.get("/scribble").body.decode()
        first = collector_of(service)
        os.kill(first, signal.SIGKILL)
        service.wait_line(r"its log ring is given up: what it logs", after=mark)
        second = until(lambda: (it := collector_of(service)) != first and it, "no successor")
        wanted = set()
        for number in range(1, 200):
            with Http(at) as client:
                pid = client.get(f"/{number}").body.decode()
            if pid != bad:
                wanted.add(f"line {number} of {pid}")
            if len(wanted) == 20:
                break
        assert len(wanted) == 20
        until(lambda: all(it in path.read_text() for it in wanted), "lines are missing")
        assert collector_of(service) == second != first
        assert service.stop() == 0
    assert path.read_text().splitlines()[-1].endswith("stopped")
    found = Counter(it.partition("scribbles: ")[2] for it in lines_of(path))
    assert all(found[it] == 1 for it in wanted)


def test_usr1_opens_the_file_anew(tmp_path: Path) -> None:
    """As logrotate's postrotate has it; a file that was moved gets no more lines."""
    path = tmp_path / "app.log"
    with serve("logs_much:make_app", "--log-file", str(path), cwd=APPS) as service:
        at = address_of(service)
        with Http(at) as client:
            client.get("/1")
        until(lambda: path.exists() and "line 1 of" in path.read_text(), "no first line")
        path.rename(tmp_path / "old")
        service.signal(signal.SIGUSR1)
        service.wait_line("log files are reopened")
        with Http(at) as client:
            client.get("/2")
        assert service.stop() == 0
    assert "line 2 of" in path.read_text() and "line 2 of" not in (tmp_path / "old").read_text()
    assert path.read_text().splitlines()[-1].endswith("stopped")


def test_each_worker_a_file_of_its_own(tmp_path: Path) -> None:
    with serve(
        "logs_much:make_app", "-w", "2", "--log-file", str(tmp_path / "w{slot}.log"), cwd=APPS
    ) as service:
        service.wait_ready(2)
        assert service.stop() == 0
    assert sorted(it.name for it in tmp_path.iterdir()) == ["w0.log", "w1.log"]
    assert "worker=1" in (tmp_path / "w1.log").read_text()
    assert "worker=0" not in (tmp_path / "w1.log").read_text()


def test_nobody_collects_what_goes_to_stderr() -> None:
    """No process more than before, as long as there is no file."""
    with serve("logs_much:make_app", cwd=APPS) as service:
        with Http(address_of(service)) as client:
            client.get("/1")
        service.wait_line("line 1 of")
        family = procfs.children_of(service.process.pid)
        assert not [it for it in family if procfs.comm(it) == "leeward logs"]
        assert service.stop() == 0


@pytest.mark.parametrize("moment", ["at its start", "later"])
def test_the_end_of_the_supervisor_leaves_nothing_unwritten(tmp_path: Path, moment: str) -> None:
    """SIGKILL: what was in the rings is written, and nobody stays."""
    path = tmp_path / "app.log"
    with serve("logs_much:make_app", "--log-file", str(path), cwd=APPS) as service:
        with Http(address_of(service)) as client:
            client.get("/1")
            collector = collector_of(service)
            if moment == "at its start":
                os.kill(collector, signal.SIGKILL)
                collector = _successor(service, collector)
            os.kill(collector, signal.SIGSTOP)
            client.get("/2")
        service.ps()  # so the supervisor has told it all that it has to
        pidfd = os.pidfd_open(collector)
        service.signal(signal.SIGKILL)
        os.kill(collector, signal.SIGCONT)
        assert select.select([pidfd], [], [], 10)[0]
        os.close(pidfd)
        assert gone(collector)
        service.wait()
    assert "line 2 of" in path.read_text()


def _successor(service: Service, first: int) -> int:
    """The next collector's pid, before it has loaded anything."""

    def look() -> int | None:
        family = procfs.children_of(service.process.pid)
        found = (it for it in family if "collector" in (procfs.cmdline(it) or ()))
        return next((it for it in found if it != first), None)

    return until(look, "no other log collector")


def test_an_application_that_cannot_be_imported(tmp_path: Path) -> None:
    """The reason is in the file too, the exit code says whose fault it is, no socket is left."""
    path = tmp_path / "app.log"
    with serve("raises_at_import", "--log-file", str(path), cwd=APPS) as service:
        assert service.wait() == 3
        assert "could not be imported" in path.read_text()
        assert "cannot start" not in service.log
        assert not list(service.directory.rglob("*.sock"))


def test_a_file_that_can_be_opened_no_more(tmp_path: Path) -> None:
    """The service serves; the supervisor says why there are no lines, and when there are."""
    path = tmp_path / "logs" / "app.log"
    path.parent.mkdir()
    with serve("logs_much:make_app", "--log-file", str(path), cwd=APPS) as service:
        service.wait_ready()
        path.parent.rename(tmp_path / "away")
        with Http(address_of(service)) as client:
            client.get("/1")
        service.wait_line(re.escape(f"{path}: No such file or directory; lines wait"))
        with Http(address_of(service)) as client:
            client.get("/1")
        path.parent.mkdir()
        service.wait_line(re.escape(f"{path}: can be written again"))
        assert service.stop() == 0
    assert "line 1 of" in path.read_text()


def test_a_follower_across_the_death_of_collectors(tmp_path: Path) -> None:
    """Whoever follows the log goes on with the next collector: each line once, none left out."""
    path = tmp_path / "app.log"
    with serve("logs_much:make_app", "-w", "2", "--log-file", str(path), cwd=APPS) as service:
        service.wait_ready(2)
        with service.begin("logs", "-f", "-n", "0") as follower, ExitStack() as undo:
            assert follower.stdout is not None
            shown = follower.stdout.fileno()
            clients = [undo.enter_context(Http(address_of(service))) for _ in range(4)]
            text = ""

            def ask(number: int) -> str:
                return clients[number % 4].get(f"/{number}").body.decode()

            def read_until(number: int, pid: str) -> None:
                nonlocal text
                while f"line {number} of {pid} " not in text:
                    assert select.select([shown], [], [], 8)[0], text[-500:]
                    more = os.read(shown, 1 << 16).decode()
                    assert more, (follower.communicate(), text[-500:])
                    text += more

            number = 0
            while not select.select([shown], [], [], 0.05)[0]:
                number += 1
                ask(number)  # until it listens
            for _ in range(2):
                read_until(number, ask(number))
                victim = collector_of(service)
                for n in range(200):
                    number += 1
                    pid = ask(number)
                    if n == 100:
                        os.kill(victim, signal.SIGKILL)
                read_until(number, pid)
                number += 1
            assert service.stop() == 0
            rest, complaint = follower.communicate(timeout=20)
            lines = (text + rest).splitlines()
            assert complaint == f"leeward: {service.name} has ended\n"
        assert follower.returncode == 1
    written = path.read_text().splitlines()
    began = written.index(lines[0])
    assert sorted(lines) == sorted(written[began:])


def test_leeward_logs(tmp_path: Path) -> None:
    """The last lines, those of a slot or a level, and what follows, until its end."""
    path = tmp_path / "app.log"
    with serve("logs_much:make_app", "-w", "2", cwd=APPS) as service:
        service.wait_ready(2)
        done = service.leeward("logs")
        assert done.returncode == 2 and "--log-file" in done.stderr
        assert service.stop() == 0
    flags = ("-w", "2", "--log-file", str(path), "--log-level", "debug")
    with serve("logs_much:make_app", *flags, cwd=APPS) as service:
        service.wait_ready(2)
        until(lambda: path.exists() and path.read_text().count("ready in") == 2, "not ready")
        assert "ready in" in service.leeward("logs", "-n", "1000").stdout
        [line] = service.leeward("logs", "-n", "1", "--slot", "1").stdout.splitlines()
        assert "worker=1" in line
        assert service.leeward("logs", "--level", "error").stdout == ""
        with service.begin("logs", "-f", "-n", "1") as follower:
            assert follower.stdout is not None
            follower.stdout.readline()
            with Http(address_of(service)) as client:
                client.get("/7")
            while "much: line 7 of" not in follower.stdout.readline():
                pass
            assert service.stop() == 0
            assert "has ended" in follower.communicate(timeout=20)[1]
        assert follower.returncode == 1


def test_a_follower_whose_reader_has_left(tmp_path: Path) -> None:
    """`leeward logs -f | head -1` ends with its reader, though the service says no more."""
    path = tmp_path / "app.log"
    with serve("logs_much:make_app", "--log-file", str(path), cwd=APPS) as service:
        service.wait_ready()
        with service.begin("logs", "-f", "-n", "1") as follower:
            assert follower.stdout is not None and follower.stderr is not None
            follower.stdout.readline()
            follower.stdout.close()
            assert follower.wait(20) == 0
            assert follower.stderr.read() == ""


#: sitecustomize: the clock of each process is ahead by what the file says.
AHEAD = """
import os, time
clock = time.time
def ahead():
    try:
        with open(os.environ["AHEAD"]) as file:
            return clock() + float(file.read())
    except OSError:
        return clock()
time.time = ahead
"""

EMPTIES = """
import logging, os, tornado.web
log = logging.getLogger("app")
log.addHandler(logging.FileHandler("app.log", "w"))
def make_app():
    log.warning("generation %s", os.environ["LEEWARD_GENERATION"])
    return tornado.web.Application()
"""


@pytest.mark.parametrize("mode", ["zygote", "spawn"])
def test_a_file_is_not_emptied_again_because_the_clock_was_set(tmp_path: Path, mode: str) -> None:
    """An hour ahead, by a reload and by a replacement: the lines of before are still there."""
    (tmp_path / "sitecustomize.py").write_text(AHEAD)
    (tmp_path / "empties.py").write_text(EMPTIES)
    log = tmp_path / "app.log"
    log.write_text("of the run before\n")
    os.utime(log, (1e9, 1e9))
    env = {
        "AHEAD": str(tmp_path / "ahead"),
        "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}",
    }
    with serve("empties:make_app", "--start", mode, cwd=tmp_path, env=env) as service:
        [worker] = service.wait_ready(1).workers()
        until(lambda: log.read_text() == "generation 1\n", "the first line")
        (tmp_path / "ahead").write_text("3600")
        mark = service.mark()
        os.kill(worker["pid"], signal.SIGKILL)
        service.wait_line("ready", after=mark)
        assert service.leeward("reload").returncode == 0
        assert service.stop() == 0
    assert log.read_text() == "generation 1\n" * 2 + "generation 2\n"
