"""As PID 1 of a container the supervisor buries strangers, harms none, and ends when told."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from process.clients import address_of, get
from process.support import APPS, PATIENCE, until, watching, wrapped

from leeward._sys import procfs
from leeward.testing import Service, serve

UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc")


@contextlib.contextmanager
def as_pid_1(
    directory: Path, target: str, *flags: str, first: str = ""
) -> Iterator[tuple[Service, int]]:
    """A service in a pid namespace of its own, and the supervisor's pid as we see it.

    first:  what a container's entry point starts before it executes `leeward serve`.
    """
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("no unshare here: apt-get install util-linux")
    tried = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"cannot make a pid namespace here: {tried.stderr.strip()}")
    inside = f'exec {" ".join(UNSHARE)} sh -c \'{first} exec "$0" "$@"\' "$python" "$@"'
    python = wrapped(directory, f'case " $* " in *" serve "*) {inside};; esac\nexec "$python" "$@"')
    with serve(target, *flags, cwd=APPS, python=python) as service:
        service.wait_ready()
        (init,) = procfs.children_of(service.pid)
        try:
            yield service, init
        finally:
            # unshare itself hears no TERM while it waits.
            with contextlib.suppress(ProcessLookupError):
                os.kill(init, signal.SIGTERM)
                service.wait()


def inside(init: int, script: str) -> None:
    """Runs a shell in the namespace; what it leaves behind becomes PID 1's."""
    subprocess.run(
        ["nsenter", "--target", str(init), "--pid", "--mount", "sh", "-c", script],
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE,
        check=True,
    )


def children(init: int, state: str) -> list[int]:
    """PID 1's children that are zombies ("Z"), or sleep ("S") and are called `sleep`."""
    found = [pid for pid in procfs.children_of(init) if procfs.state_of(pid) == state]
    return found if state == "Z" else [pid for pid in found if procfs.comm(pid) == "sleep"]


def test_it_is_pid_1(tmp_path: Path) -> None:
    """It serves, and tells its pid as the namespace knows it."""
    with as_pid_1(tmp_path, "hello", "-w", "2") as (service, _):
        assert service.ps()["pid"] == 1
        assert get(address_of(service)).status == 200


def test_strangers_are_reaped_and_never_killed(tmp_path: Path) -> None:
    """Orphans that others left are none of its workers: they live, and when they end they go."""
    with as_pid_1(tmp_path, "hello", "-w", "2", first="sleep 3600 &") as (service, init):
        inside(init, "sleep 3600 &")
        strangers = until(lambda: len(them := children(init, "S")) == 2 and them, "two orphans")
        with contextlib.ExitStack() as stack:
            ended = [stack.enter_context(watching(pid)) for pid in strangers]
            # The death of a worker makes it look for what that has left behind.
            worker = next(it["pid"] for it in service.ps()["workers"] if it["slot"] == 0)
            inside(init, f"kill -KILL {worker}")
            service.wait_line(rf"worker=0 gen=1 pid={worker} died: killed by SIGKILL")
            service.wait_line(rf"worker=0 gen=1 pid=(?!{worker}\b)\d+ ready")
            assert not any(each(0) for each in ended)
            assert "outlived" not in service.log
            mark = service.mark()
            os.kill(strangers[0], signal.SIGKILL)
            assert ended[0](PATIENCE)
            until(lambda: not children(init, "Z"), "the stranger to be reaped")
            assert service.lines[mark:] == [], "a stranger's end is nobody's business"
            assert not ended[1](0)
        report = service.ps()
        assert [it["state"] for it in report["workers"]] == ["serving"] * 2
        assert [it["count"] for it in report["ends"]] == [1]


def test_many_strangers_at_once(tmp_path: Path) -> None:
    """600 orphans end together: all are reaped, the workers go on."""
    with as_pid_1(tmp_path, "hello") as (service, init):
        before = service.ps()["workers"][0]["pid"]
        inside(init, "i=0; while [ $i -lt 600 ]; do true & i=$((i+1)); done")
        until(lambda: not children(init, "Z"), "all to be reaped")
        assert service.ps()["workers"][0]["pid"] == before
        assert get(address_of(service)).status == 200


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_it_ends_when_told(signum: signal.Signals, tmp_path: Path) -> None:
    """The kernel gives PID 1 no default actions: TERM, Ctrl-C and QUIT work all the same."""
    with as_pid_1(tmp_path, "hello", "-w", "2", first="sleep 3600 &") as (service, init):
        os.kill(init, signum)
        assert service.wait() == 0
        assert not service.family()
