"""A worker that dies is replaced at once and its end told; code that keeps dying gets pauses."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from process.clients import Http, address_of, get
from process.support import APPS, control_group, gone, until, wrapped

from leeward._sys import procfs
from leeward.testing import Service, serve

MODES = ("zygote", "spawn")
DEATHS = {
    "exit": "exited with code 0",
    "sys.exit": "exited with code 3",
    "segfault": r"killed by SIGSEGV(, core dumped)?",
    "abort": r"killed by SIGABRT(, core dumped)?",
    "kill": "killed by SIGKILL",
    "stop-loop": "exited with code 0",
}


def zombies(service: Service) -> list[int]:
    return [pid for pid in procfs.children_of(service.pid) if procfs.state_of(pid) == "Z"]


def end_of(service: Service, slot: int) -> dict[str, Any]:
    (end,) = (it for it in service.ps()["ends"] if it["slot"] == slot)
    return dict(end)


@pytest.mark.parametrize(
    ("how", "mode"), [*((how, "zygote") for how in DEATHS), ("kill", "spawn"), ("abort", "spawn")]
)
def test_a_worker_that_dies_while_it_serves_is_replaced(how: str, mode: str) -> None:
    """Another takes its slot; how it ended stands on one line and in `ps`."""
    with serve("dies_when_asked", "-w", "2", "--start", mode, cwd=APPS) as service:
        service.wait_ready(2)
        with Http(address_of(service)) as client:
            pid = int(client.get("/").body)
            mark = service.mark()
            client.send(f"/die/{how}")
            found = service.wait_line(rf"worker=(\d) gen=1 pid={pid} died: {DEATHS[how]}$")
            service.wait_line(rf"worker={found[1]} gen=1 pid=(?!{pid}\b)\d+ ready", mark)
        assert len(re.findall(rf"pid={pid} died", service.log)) == 1
        end = end_of(service, int(found[1]))
        assert re.fullmatch(DEATHS[how], end["why"])
        assert (end["pid"], end["count"]) == (pid, 1)
        assert {int(get(address_of(service)).body) for _ in range(20)} <= {
            it["pid"] for it in service.workers()
        }
        until(lambda: not zombies(service), "all to be reaped")


@pytest.mark.parametrize(("mode", "kills"), [("zygote", 50), ("spawn", 8)])
def test_workers_killed_in_a_row_are_replaced_without_a_pause(mode: str, kills: int) -> None:
    """Whoever answers is killed, again and again: the next request is answered all the same."""
    with serve("slow", "-w", "2", "--start", mode, cwd=APPS) as service:
        service.wait_ready(2)
        address = address_of(service)
        killed = []
        for _ in range(kills):
            killed.append(int(get(address).body))
            os.kill(killed[-1], signal.SIGKILL)
        assert len(set(killed)) == kills, "a dead worker answered"
        get(address)
        service.wait_line(rf"pid={killed[-1]} died")  # until then it counts as one that serves
        until(lambda: len(service.workers()) == 2, "both workers to be back")
        assert "pausing" not in service.log
        assert sum(end["count"] for end in service.ps()["ends"]) == kills
        until(lambda: not zombies(service), "all to be reaped")


def backing_off(service: Service) -> dict[str, Any]:
    """What `ps` says if it says so; a moment later it may be trying again."""
    report = service.ps()
    return report if report["state"] == "backing off" else {}


def broken_after_a_good_start(service: Service, broken: Path) -> None:
    """From now on every worker of the running service dies at birth."""
    service.wait_ready(2)
    broken.touch()
    for worker in service.workers():
        os.kill(worker["pid"], signal.SIGKILL)


@pytest.mark.parametrize("mode", MODES)
def test_a_crash_loop_keeps_the_listener_until_the_code_is_well_again(
    mode: str, tmp_path: Path
) -> None:
    """Connections wait in the backlog, `ps` says what for, and in the end all are answered."""
    broken = tmp_path / "broken"
    env = {"BROKEN": str(broken)}
    with serve("dies_while_told", "-w", "2", "--start", mode, cwd=APPS, env=env) as service:
        broken_after_a_good_start(service, broken)
        service.wait_line(r"generation 1: exited with code 9; pausing 0.8 s \(4 in a row\)")
        with contextlib.ExitStack() as stack:
            waiting = [stack.enter_context(Http(address_of(service))) for _ in range(10)]
            for client in waiting:
                client.send()
            report = until(lambda: backing_off(service), "`ps` to say that it backs off")
            assert report["backoff"]["why"] == "exited with code 9"
            assert 0 < report["backoff"]["until"] <= 30
            shown = r"backing off for .*: exited with code 9"
            until(lambda: re.search(shown, service.leeward("ps").stdout), shown)
            broken.unlink()
            pids = {int(client.answer().body) for client in waiting}
        report = service.ps()
        assert pids <= {it["pid"] for it in report["workers"]}
        until(lambda: service.ps()["state"] == "serving", "the pause to be over")
        assert service.ps()["generation"] == 1


def test_a_factory_that_fails_beside_one_that_serves_is_told_in_full() -> None:
    """No start and no reload ends by it, so the log has its lines, and `ps` the reason."""
    with serve("raises_in_one_slot", "-w", "2", cwd=APPS) as service:
        service.wait_line(r"generation 1: failed in its factory; pausing 0.1 s \(1 in a row\)")
        service.wait_line(r"factory make_app\(\) \S+ \S+ failed: ConnectionError: the one licence")
        service.wait_line(r"raises_in_one_slot\.py:15 in make_app: raise ConnectionError")
        assert get(address_of(service)).body == b"hello"
        until(lambda: service.ps()["ends"], "its end in ps")
        assert "the one licence is taken" in service.ps()["ends"][0]["why"]


def test_a_crash_loop_forks_less_and_less() -> None:
    """A worker that dies at each birth is tried at most ten times in ten seconds."""
    with serve("dies_when_asked", cwd=APPS, env={"DIES_AFTER": "0.05"}) as service:
        service.wait_line(r"died: exited with code 9")
        began = time.monotonic()
        service.wait_line(r"pausing 6.4 s \(7 in a row\)")
        lasts = time.monotonic() - began + service.ps()["backoff"]["until"]
        assert lasts > 10, "the next one comes too early"
        births = re.findall(r"worker=0 gen=1 pid=\d+ ready", service.log)
        assert len(births) <= 10, service.log
        pauses = [float(it) for it in re.findall(r"pausing ([\d.]+) s", service.log)]
        assert pauses == [0.1 * 2**n for n in range(7)]
        end = end_of(service, 0)
        assert (end["why"], end["count"]) == ("exited with code 9", 7)


def test_a_worker_killed_for_want_of_memory_is_told_as_such(tmp_path: Path) -> None:
    """The kernel's SIGKILL in a full control group is not said to be anybody's kill."""
    with control_group("memory", f"leeward-{os.getpid()}") as group:
        limit = group / "memory.limit_in_bytes"
        (limit if limit.exists() else group / "memory.max").write_text(str(160 * 2**20))
        python = wrapped(tmp_path, f'echo $$ > {group}/cgroup.procs\nexec "$python" "$@"')
        with serve("dies_when_asked", cwd=APPS, python=python) as service:
            service.wait_ready()
            with Http(address_of(service)) as client:
                pid = int(client.get("/").body)
                mark = service.mark()
                client.send("/die/eat")
                words = "killed by the kernel: out of memory"
                service.wait_line(rf"worker=0 gen=1 pid={pid} died: {words}$")
                service.wait_line(r"worker=0 gen=1 pid=\d+ ready", mark)
            assert end_of(service, 0)["why"] == words
            other = int(get(address_of(service)).body)
            os.kill(other, signal.SIGKILL)
            service.wait_line(rf"pid={other} died: killed by SIGKILL$")
            assert gone(other)
