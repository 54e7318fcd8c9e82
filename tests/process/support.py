"""What process tests share: where the applications are, and waiting without a sleep."""

from __future__ import annotations

import contextlib
import os
import random
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from leeward._sys import procfs
from leeward.testing import Service

APPS = Path(__file__).resolve().parents[1] / "apps"
PATIENCE = 20.0

T = TypeVar("T")


def links(pid: int) -> dict[int, str]:
    """What each descriptor of a process leads to; some are closed while we look."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
    return found


def until(look: Callable[[], T], what: str, timeout: float = PATIENCE) -> T:
    """The first true answer of `look`.

    For what nobody can be waited for (a file, a number in /proc, the answer of a
    verb).  The only place in these tests that asks again and again.
    """
    deadline = time.monotonic() + timeout
    while True:
        if found := look():
            return found
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what}"
        select.select([], [], [], 0.01)


@contextlib.contextmanager
def watching(pid: int) -> Iterator[Callable[[float], bool]]:
    """`ended(timeout)`: has the process that is `pid` now ended?  Its pid may be used again."""
    fd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    try:
        yield lambda timeout: bool(poll.poll(timeout * 1000))
    finally:
        os.close(fd)


def gone(pid: int, timeout: float = PATIENCE) -> bool:
    """Has `pid` ended, now or within `timeout` seconds?"""
    try:
        with watching(pid) as ended:
            return ended(timeout)
    except ProcessLookupError:
        return True


def marks(directory: Path, name: str) -> dict[int, int]:
    """How often each process left the mark `name`: {pid: times} (see `tests/apps/held.py`)."""
    found = {}
    for path in directory.glob(f"{name}.*"):
        found[int(path.suffix[1:])] = len(path.read_text().splitlines())
    return found


def wrapped(directory: Path, script: str) -> str:
    """An interpreter that begins in a hard place: a shell `script` before each start.

    `script` ends with `exec "$python" "$@"`, where `$python` is the interpreter;
    hand what comes back to `serve(python=...)`.
    """
    path = directory / "python"
    python = shlex.quote(sys.executable)
    path.write_text(f"#!/bin/sh\npython={python}\n{script}\n")
    path.chmod(0o755)
    return str(path)


def free_port() -> int:
    """Free now, and likely until somebody binds it: the kernel gives it to nobody by itself."""
    while True:
        port = random.randrange(10_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


#: A user of this number owns nothing and runs nothing else.
NOBODY = 61234


def unprivileged(directory: Path, under: str = "") -> str:
    """An interpreter as an ordinary user without rights, or skips the test.

    It may read everything (the interpreter may live in root's home directory).
    under:  a command, as `prlimit --nproc=1`, that executes it.
    """
    if os.getuid() != 0:
        return wrapped(directory, f'exec {under} "$python" "$@"')
    if shutil.which("setpriv") is None:
        pytest.skip("no setpriv here: apt-get install util-linux")
    caps = "-all,+dac_read_search"
    user = f"--reuid {NOBODY} --regid {NOBODY} --clear-groups"
    drop = f"setpriv {user} --inh-caps {caps} --ambient-caps {caps} --bounding-set {caps}"
    own = f'chown {NOBODY} "$XDG_RUNTIME_DIR"'
    path = wrapped(directory, f'{own}\nexec {drop} {under} "$python" "$@"')
    tried = subprocess.run(
        [path, "-c", "import tornado"],
        env={**os.environ, "XDG_RUNTIME_DIR": str(directory)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if tried.returncode:
        pytest.skip(f"cannot become another user here: {tried.stderr.strip()[-200:]}")
    return path


@contextlib.contextmanager
def control_group(controller: str, name: str) -> Iterator[Path]:
    """A new control group below ours with this controller, or skips the test.

    `echo $$ > GROUP/cgroup.procs` goes in.  Version 1 and 2.
    """
    first = Path("/sys/fs/cgroup", controller)
    second = Path("/sys/fs/cgroup")
    where = first if first.is_dir() else second
    if where is second:
        allowed = second / "cgroup.subtree_control"
        if not allowed.exists() or controller not in allowed.read_text().split():
            pytest.skip(f"no control groups with the controller {controller} here")
    group = where / name
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"cannot make a control group here: {error}")
    try:
        yield group
    finally:
        # Busy until the kernel has put away the last process that has ended.
        until(lambda: not (group / "cgroup.procs").read_text(), f"{group} to be empty")
        group.rmdir()


def waited(pid: int) -> float:
    """Seconds that a process was ready to run and did not (proc(5), schedstat)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


#: Seconds that a busy machine may make a test wait to run before it can say nothing of time.
STARVED = 0.1


def in_some_try(scene: Callable[[], str], tries: int = 3) -> None:
    """What is well paced, or quick, shows it in one of some tries.

    `scene` returns what was wrong, or "".  Skips where this process had to wait in each of them.
    """
    delays = []
    for _ in range(tries):
        before = waited(os.getpid())
        if not (wrong := scene()):
            return
        print(wrong)
        delays.append(waited(os.getpid()) - before)
    if min(delays) > STARVED:
        pytest.skip(f"the machine is busy: the test waited {min(delays):.3f} s to run; {wrong}")
    pytest.fail(f"{tries} times: {wrong}")


def asleep(pid: int) -> bool:
    """Has it made no step for 0.3 s?  Three ticks: who looks by himself would have."""
    steps = []
    for _ in range(2):
        text = Path(f"/proc/{pid}/status").read_text()
        steps.append(re.findall(r"ctxt_switches:\s+(\d+)", text))
        select.select([], [], [], 0.3)
    return steps[0] == steps[1]


def spares_of(service: Service) -> list[int]:
    """The workers that are there ahead of their orders, once each zygote has one that waits."""

    def waiting() -> tuple[list[int]] | None:
        # Asked each time: a zygote that has just ended is told of for a moment longer.
        zygotes = [it["pid"] for it in service.ps()["zygotes"]]
        names = {f"spare {pid}" for pid in zygotes}
        children = procfs.children_of(service.pid)
        found = [it for it in children if procfs.comm(it) in names]
        if len(found) == len(zygotes) and all(procfs.state_of(it) == "S" for it in found):
            return (found,)
        return None

    return until(waiting, "each zygote to have a spare")[0]


def end_spares(service: Service) -> None:
    """Whoever is to be forked next is forked on its order."""
    for zygote in service.ps()["zygotes"]:
        pid = zygote["pid"]
        until(lambda: asleep(pid), "a zygote to rest")  # noqa: B023
        for it in procfs.children_of(service.pid):
            if procfs.comm(it) == f"spare {pid}":
                os.kill(it, signal.SIGKILL)
                assert gone(it)
