"""A loop that does not turn is named, a process that is stopped is noticed; idle ones never."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from process.clients import Gate, Http, address_of, get
from process.support import APPS, PATIENCE, asleep, gone, until

from leeward._sys import procfs
from leeward.testing import Service, serve

SOURCE = (APPS / "blocks_the_loop.py").read_text().splitlines()
LOOPS = ("asyncio", "uvloop")


def line_of(text: str) -> int:
    """The number of the one line of the application that holds `text`."""
    (found,) = (number for number, line in enumerate(SOURCE, 1) if text in line)
    return found


def block(client: Http, gate: Gate, path: str) -> int:
    """Sends the request and returns once a handler has it: the worker's pid."""
    client.send(path.format(port=gate.port))
    return gate.arrival().pid


def told(service: Service, pid: int, after: int = 0) -> re.Match[str]:
    return service.wait_line(rf"pid={pid} loop (was )?blocked for ([\d.]+) s(.*)", after)


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> dict[str, str]:
    if request.param == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is in the extra `fast`")
    return {"LOOP": request.param}


# --- named -------------------------------------------------------------------------------------


def test_a_blocking_call_is_named_with_file_and_line(loop: dict[str, str]) -> None:
    """One line while it lasts, one when it is over, with how long; on either loop."""
    # Who waits for a processor in the middle of a turn is told as well: a second is rarely so long.
    flags = ("-w", "2", "--stall-warn", "1s")
    with serve("blocks_the_loop", *flags, cwd=APPS, env=loop) as service, Gate() as gate:
        with Http(address_of(service)) as client:
            service.wait_ready(2)
            held = gate.hold(client)
            found = told(service, held.pid)
            assert not found[1] and 1.0 <= float(found[2]) < 10
            assert found[3] == f" at blocks_the_loop.py:{line_of('gate.recv(')} in wait_for()"
            held.release()
            of = rf"worker=\d gen=1 pid={held.pid}"
            over = service.wait_line(rf"{of} its loop turns again, after ([\d.]+) s")
            assert float(over[1]) >= float(found[2])
            assert int(client.answer().body) == held.pid
        until(lambda: asleep(service.pid), "the supervisor to sleep")
        assert len(re.findall(rf"{of} loop .*blocked for", service.log)) == 1


CASES = {
    "/locked/{port}": "with LOCK:",
    "/burning/{port}/60": "while time.monotonic|pass",
    "/backtracking/{port}/40": r"re\.match\(",
    "/foreign/{port}/60": r"libc\.usleep\(",
}


@pytest.mark.parametrize("path", CASES, ids=lambda it: it.split("/")[1])
def test_whatever_holds_it_is_named(path: str) -> None:
    """A lock, work, and C code that holds the interpreter's lock; by the Python line."""
    with serve("blocks_the_loop", "-w", "1", cwd=APPS) as service, Gate() as gate:
        with Http(address_of(service)) as client:
            pid = block(client, gate, path)
            place = told(service, pid)[3]
            found = re.fullmatch(r" at blocks_the_loop.py:(\d+) in get\(\)", place)
            assert found, place
            assert re.search(CASES[path], SOURCE[int(found[1]) - 1])
            os.kill(pid, signal.SIGKILL)
        service.wait_line(rf"worker=0 gen=1 pid=(?!{pid} )\d+ ready")


def test_a_storm_of_short_blocks_is_a_line_a_second() -> None:
    """Twelve blocks of 0.3 s: few lines, and the others are counted.

    On a busy machine one may be overslept, and a turn last long without a block in it.
    """
    with serve("blocks_the_loop", "--stall-warn", "100ms", cwd=APPS) as service:
        began = time.monotonic()
        assert get(address_of(service), "/in-turn/12/0.3").status == 200
        took = time.monotonic() - began
        until(lambda: asleep(service.pid), "the supervisor to sleep")
        lines = [it for it in service.lines if "blocked for" in it]
        counts = re.findall(r"(\d+) (?:stalls? before it|more stalls?)", service.log)
        assert 2 <= len(lines) <= took + 2, service.log
        assert 9 <= len(lines) + sum(map(int, counts)) <= 15, service.log


def test_a_worker_that_drains_is_watched_too() -> None:
    """The last request of an old worker blocks: its line names it."""
    with serve("blocks_the_loop", cwd=APPS) as service, Gate() as gate:
        with Http(address_of(service)) as slow, Http(address_of(service)) as client:
            service.wait_ready(1)
            slow.send("/waiting/0.5")
            client.get()
            assert service.leeward("recycle").returncode == 0
            pid = block(client, gate, "/asleep/{port}/0.6")
            assert f":{line_of('time.sleep(')} in slowly()" in told(service, pid)[3]
            assert slow.answer().status == client.answer().status == 200
        service.wait_line(rf"pid={pid} gone")


def test_an_adopted_program_is_watched(tmp_path: Path) -> None:
    """It runs its loop itself."""
    (tmp_path / "program.py").write_text(
        "import time\nimport tornado.ioloop, tornado.web\n"
        "class Slow(tornado.web.RequestHandler):\n"
        "    def get(self):\n        time.sleep(0.6)\n"
        "tornado.web.Application([('/', Slow)]).listen(8888)\n"
        "tornado.ioloop.IOLoop.current().start()\n"
    )
    with serve("program.py", cwd=tmp_path) as service:
        get(address_of(service))
        service.wait_line(r"loop blocked for [\d.]+ s at program.py:5 in get\(\)")


def test_it_can_be_switched_off() -> None:
    """--stall-warn 0s: nothing is said."""
    with serve("blocks_the_loop", "--stall-warn", "0s", cwd=APPS) as service, Gate() as gate:
        with Http(address_of(service)) as client:
            block(client, gate, "/asleep/{port}/0.6")
            client.answer()
        assert service.stop() == 0
        assert "blocked" not in service.log and "turns again" not in service.log


# --- idle ----------------------------------------------------------------------------------------


def test_an_idle_worker_is_never_called_stalled_nor_woken(loop: dict[str, str]) -> None:
    """Open connections, a handler that waits for 2 s, then silence: no line, no step."""
    # Not before a second: who waits for a processor in the middle of a turn is told as well.
    flags = ("-w", "2", "--stall-warn", "1s")
    with serve("blocks_the_loop", *flags, cwd=APPS, env=loop) as service:
        service.wait_ready(2)
        with Http(address_of(service)) as client, Http(address_of(service)) as other:
            other.get()
            assert client.get("/waiting/2").status == 200
            pids = [service.pid, *(it["pid"] for it in service.workers())]
            until(lambda: all(asleep(pid) for pid in pids), "all of them to sleep")
            assert asleep(service.pid)
        assert "blocked" not in service.log


# --- killed ------------------------------------------------------------------------------------


def test_a_deadlock_is_killed_stack_first_and_siblings_are_undisturbed() -> None:
    """Its frames stand in the log, `ps` says why, the slot is filled, nobody else hears of it."""
    flags = ("-w", "2", "--stall-kill", "1500ms", "--stall-warn", "250ms")
    with serve("blocks_the_loop", *flags, cwd=APPS) as service, Gate() as gate:
        service.wait_ready(2)
        with contextlib.ExitStack() as clients:
            stuck = clients.enter_context(Http(address_of(service)))
            pid = block(stuck, gate, "/locked/{port}")
            sibling = next(it["pid"] for it in service.workers() if it["pid"] != pid)
            # Only the sibling accepts now.
            well = clients.enter_context(Http(address_of(service)))
            well.send("/waiting/3")
            told(service, pid)
            why = r"its loop has not turned for \d+ s \(--stall-kill\)"
            service.wait_line(rf"pid={pid} {why}; it hung in")
            service.wait_line(rf"blocks_the_loop.py:{line_of('with LOCK:')} in get")
            service.wait_line(rf"pid={pid} died: {why}")
            assert stuck.cut()
            slot = re.search(rf"worker=(\d) gen=1 pid={pid} died", service.log)
            assert slot
            service.wait_line(rf"worker={slot[1]} gen=1 pid=(?!{pid} )\d+ ready")
            assert int(well.answer().body) == sibling
            (end,) = service.ps()["ends"]
            assert end["why"].startswith("its loop has not turned") and end["pid"] == pid
            assert not gone(sibling, 0)


@pytest.mark.parametrize("busy", ["no-", ""])
def test_what_burns_cpu_is_not_killed_unless_asked(busy: str) -> None:
    """Past the bound and working: it may be about to finish, and does."""
    flags = ("--stall-kill", "500ms", f"--{busy}stall-kill-busy")
    with (
        serve("blocks_the_loop", *flags, cwd=APPS) as service,
        Gate() as gate,
        Http(address_of(service)) as client,
    ):
        pid = block(client, gate, "/burning/{port}/2.5")
        if busy:
            assert int(client.answer().body) == pid
            assert "died" not in service.log
        else:
            service.wait_line(rf"pid={pid} died: its loop has not turned")
            assert client.cut()


# --- stopped -----------------------------------------------------------------------------------


def test_a_stopped_worker_is_told_of_and_killed_after_the_bound() -> None:
    """Learnt from the kernel at once, while the worker is idle; then replaced."""
    with serve("blocks_the_loop", "-w", "2", "--stopped-kill", "1s", cwd=APPS) as service:
        service.wait_ready(2)
        pid = service.workers()[0]["pid"]
        os.kill(pid, signal.SIGSTOP)
        service.wait_line(rf"pid={pid} stopped by SIGSTOP; killed in 1 s unless continued")
        service.wait_line(rf"pid={pid} died: stopped by SIGSTOP for \d+ s \(--stopped-kill\)")
        service.wait_line(rf"worker=0 gen=1 pid=(?!{pid} )\d+ ready")
        assert f"pid={pid} loop" not in service.log
        assert get(address_of(service)).status == 200


def test_a_worker_that_is_continued_loses_nothing() -> None:
    """SIGSTOP and SIGCONT in the middle of a request: one line each, and the answer comes."""
    flags = ("--stopped-kill", "20s", "--stall-warn", "1s")
    with serve("blocks_the_loop", *flags, cwd=APPS) as service:
        with Http(address_of(service)) as client:
            client.send("/waiting/0.5")
            until(lambda: service.workers()[0]["in_flight"], "the request to be there")
            (worker,) = service.workers()
            os.kill(worker["pid"], signal.SIGSTOP)
            service.wait_line("stopped by SIGSTOP")
            os.kill(worker["pid"], signal.SIGCONT)
            service.wait_line(rf"pid={worker['pid']} continued after \d+\.\d s")
            assert int(client.answer().body) == worker["pid"]
            assert client.get().status == 200
        assert service.stop() == 0
        assert "died" not in service.log and "blocked" not in service.log


def test_a_worker_that_is_traced_is_never_killed() -> None:
    """A debugger holds it in the middle of a block: past the bound it lives on."""
    if shutil.which("strace") is None:
        pytest.skip("no strace here: apt-get install strace")
    with serve("blocks_the_loop", "--stall-kill", "500ms", cwd=APPS) as service, Gate() as gate:
        with Http(address_of(service)) as client:
            pid = service.workers()[0]["pid"]
            trace = ["strace", "-q", "-e", "trace=none", "-p", str(pid)]
            with subprocess.Popen(trace, stderr=subprocess.PIPE, text=True) as tracer:
                try:
                    until(lambda: procfs.tracer_of(pid) or tracer.poll() is not None, "a tracer")
                    if tracer.poll() is not None and tracer.stderr is not None:
                        pytest.skip(f"cannot trace here: {tracer.stderr.read()}")
                    block(client, gate, "/asleep/{port}/2")
                    assert client.answer().status == 200
                finally:
                    tracer.terminate()
                    tracer.wait(PATIENCE)
        service.wait_line(rf"pid={pid} loop blocked for [\d.]+ s; no stack")
        assert "died" not in service.log
