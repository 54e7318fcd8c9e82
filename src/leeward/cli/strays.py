"""Ends what a dead instance of the same name has left behind.

Workers die with their supervisor (PDEATHSIG).  What the application itself has
exec'ed does not, and may hold the port or a file.  Every process under a
supervisor carries LEEWARD_INSTANCE=<control socket>:<supervisor's pid> in its
environment, by inheritance.

Holding the name's lock proves that the former supervisor is dead.  The control
socket's path alone is not proof enough: a container's processes are visible
from the host and may carry the same path, so pid and pid namespace must match.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time

from leeward._sys import procfs
from leeward.cli import output

#: Between TERM and KILL, for all of them together.
PATIENCE = 1.0


def end(control_path: str, former: int) -> None:
    """TERM, a short wait, KILL; one line each.  former: the dead supervisor's pid, or 0."""
    if not former:
        return
    mark = f"{control_path}:{former}"
    spared = _ourselves()
    pidfds: dict[int, int] = {}
    try:
        for pid in procfs.processes():
            if pid not in spared and _carries(pid, mark):
                with contextlib.suppress(ProcessLookupError):  # ended by itself
                    pidfds[pid] = os.pidfd_open(pid)
        for pid, pidfd in pidfds.items():
            program = procfs.comm(pid) or "process"
            output.complain(f"ending {program} (pid {pid}), left over from pid {former}")
            _signal(pidfd, signal.SIGTERM)
        for pidfd in _still_there(list(pidfds.values()), PATIENCE):
            _signal(pidfd, signal.SIGKILL)
        _still_there(list(pidfds.values()), PATIENCE)
    finally:
        for pidfd in pidfds.values():
            os.close(pidfd)


def _ourselves() -> set[int]:
    """This process and those it was started by: an old child may be the one that restarts us."""
    found: set[int] = set()
    pid: int | None = os.getpid()
    while pid and pid not in found:
        found.add(pid)
        pid = procfs.parent_of(pid)
    return found


def _carries(pid: int, mark: str) -> bool:
    found = procfs.environ_of(pid).get("LEEWARD_INSTANCE", "")
    # A worker adds its own pid for what it starts.
    if found != mark and not found.startswith(f"{mark}:"):
        return False
    return procfs.shares_namespace(pid, "pid")


def _signal(pidfd: int, signum: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # ended meanwhile, as wished
        signal.pidfd_send_signal(pidfd, signum)


def _still_there(pidfds: list[int], patience: float) -> list[int]:
    """Waits until all have ended, or `patience` seconds; returns those that have not."""
    deadline = time.monotonic() + patience
    poll = select.poll()
    for pidfd in pidfds:
        poll.register(pidfd, select.POLLIN)
    left = set(pidfds)
    while left and (remaining := deadline - time.monotonic()) > 0:
        for pidfd, _ in poll.poll(remaining * 1000):
            poll.unregister(pidfd)
            left.discard(pidfd)
    return sorted(left)
