"""Readers of /proc: each bounded, each tolerant of a process that ends meanwhile.

A number that cannot be told (the process has gone, or belongs to another user) is
None, a collection is empty.  Pids are reused: who keeps one compares `start_time`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from leeward._core.record import Record
from leeward._sys.cgroup import available_cpus as available_cpus
from leeward._sys.cgroup import cpu_quota as cpu_quota
from leeward._sys.cgroup import memory_limit as memory_limit
from leeward._sys.cgroup import oom_kills as oom_kills
from leeward._sys.files import lines as lines
from leeward._sys.files import read as read

#: Arguments and environment together are at most 6 MiB (3/4 of the kernel's _STK_LIM).
_ARGUMENTS = 6 * 1024 * 1024
#: Flags in /proc/net/unix of a socket that listens: __SO_ACCEPTCON, linux/net.h.
_LISTENING = "00010000"
#: Numbers of epoll_wait, epoll_pwait and epoll_pwait2 (asm/unistd.h).
_EPOLL_WAITS = {"x86_64": (232, 281, 441), "aarch64": (22, 441)}
_STATE, _PPID, _UTIME, _STIME, _START = 0, 1, 11, 12, 19  # places after "pid (comm)"


def processes() -> Iterator[int]:
    """The pids of all processes that this one can see."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield int(name)


def _stat(pid: int, of: str = "") -> list[str] | None:
    """The fields of /proc/PID/stat behind the name, which may hold spaces and brackets."""
    text = read(f"/proc/{pid}/{of}stat")
    if text is None:
        return None
    fields = text.rpartition(b")")[2].decode("ascii", "replace").split()
    return fields if len(fields) > _START else None


def state_of(pid: int) -> str | None:
    """R running, S asleep, D uninterruptible, T stopped, t traced, Z zombie, X dead."""
    fields = _stat(pid)
    return fields[_STATE] if fields else None


def parent_of(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[_PPID]) if fields else None


def start_time(pid: int) -> int | None:
    """When it started, in clock ticks since boot: with the pid it names one process for good."""
    fields = _stat(pid)
    return int(fields[_START]) if fields else None


def age(pid: int) -> float | None:
    """Seconds since it started, to a clock tick (10 ms); never negative."""
    started = start_time(pid)
    if started is None:
        return None
    # Boot time, which the kernel counts from, goes on while the machine sleeps.
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    return max(0.0, now - started / os.sysconf("SC_CLK_TCK"))


def cpu_seconds(pid: int) -> float | None:
    """Processor time of all its threads, user and system, in seconds."""
    return _seconds(_stat(pid))


def main_thread_seconds(pid: int) -> float | None:
    """Processor time of its main thread alone, user and system, in seconds."""
    return _seconds(_stat(pid, f"task/{pid}/"))


def _seconds(fields: list[str] | None) -> float | None:
    if not fields:
        return None
    return (int(fields[_UTIME]) + int(fields[_STIME])) / os.sysconf("SC_CLK_TCK")


def _status(pid: int, name: bytes) -> bytes | None:
    """The value of one line of /proc/PID/status."""
    for line in (read(f"/proc/{pid}/status") or b"").splitlines():
        if line.startswith(name + b":"):
            return line.partition(b":")[2].strip()
    return None


def catches(pid: int, signum: int) -> bool:
    """Has it a handler for this signal, and not the default action?  False if it has gone."""
    caught = _status(pid, b"SigCgt")
    return caught is not None and bool(int(caught, 16) >> (signum - 1) & 1)


def tracer_of(pid: int) -> int:
    """The pid of the debugger that is attached to it, or 0."""
    return int(_status(pid, b"TracerPid") or 0)


def waits_for_events(pid: int) -> bool | None:
    """Does its main thread stand in epoll_wait?  None where nobody may know.

    From the number of the system call (root, or its parent), else from the name of the
    kernel's function that it sleeps in (often hidden: "0").
    """
    words = (read(f"/proc/{pid}/syscall") or b"").split()
    numbers = _EPOLL_WAITS.get(os.uname().machine)
    if words and numbers is not None:
        return words[0].isdigit() and int(words[0]) in numbers
    place = read(f"/proc/{pid}/wchan") or b"0"
    return None if place in (b"", b"0") else place in (b"ep_poll", b"do_epoll_wait")


def uids(pid: int) -> tuple[int, int, int] | None:
    """Its real, effective and saved user; a zombie's too."""
    words = (_status(pid, b"Uid") or b"").split()
    return (int(words[0]), int(words[1]), int(words[2])) if len(words) > 2 else None


def threads_of(pid: int) -> list[int]:
    """Its thread ids (each has a `comm` too); [] if it has gone."""
    try:
        return sorted(int(name) for name in os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return []


def children_of(pid: int) -> list[int]:
    """The pids of its children, zombies included; [] if it has gone."""
    found: list[int] = []
    for thread in threads_of(pid):
        text = read(f"/proc/{pid}/task/{thread}/children")
        if text is None:
            # A kernel without CONFIG_PROC_CHILDREN: ask every process for its parent.
            return sorted(child for child in processes() if parent_of(child) == pid)
        found.extend(map(int, text.split()))
    return sorted(found)


def environ_of(pid: int) -> dict[str, str]:
    """The environment that it was started with.

    {} if it has gone or is not ours, and for a moment in the middle of its exec
    (seen right after `Popen` had returned): ask again before concluding much.
    """
    text = read(f"/proc/{pid}/environ", _ARGUMENTS) or b""
    pairs = (entry.partition(b"=") for entry in text.split(b"\0"))
    return {os.fsdecode(name): os.fsdecode(value) for name, equals, value in pairs if equals}


def cmdline(pid: int) -> list[str] | None:
    """Its argv; [] for a zombie or a thread of the kernel."""
    text = read(f"/proc/{pid}/cmdline", _ARGUMENTS)
    if text is None:
        return None
    return [os.fsdecode(word) for word in text.removesuffix(b"\0").split(b"\0")] if text else []


def shares_namespace(pid: int, kind: str) -> bool:
    """Is it in our own of this kind ("pid", "mnt")?  No, where that may not be seen."""
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}") == os.readlink(f"/proc/self/ns/{kind}")
    except OSError:  # another user's, or it has gone
        return False


def comm(pid: int) -> str | None:
    """Its name of at most 15 bytes."""
    text = read(f"/proc/{pid}/comm")
    return None if text is None else text.decode("utf-8", "replace").rstrip("\n")


def fd_count(pid: int) -> int | None:
    """How many descriptors it has open."""
    try:
        # Linux 6.2 tells the number as the size; before that it is 0.
        count = os.stat(f"/proc/{pid}/fd").st_size
        return count or len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None


def fd_limit(pid: int) -> int | None:
    """How many descriptors it may have open (the soft limit)."""
    for line in (read(f"/proc/{pid}/limits") or b"").splitlines():
        if line.startswith(b"Max open files"):
            word = line.split()[3]
            return int(word) if word.isdigit() else None
    return None


def pss_bytes(pid: int) -> int | None:
    """Its share of memory: private pages and its part of the shared ones.

    The kernel walks all of its pages for this: 10 ms per GiB.
    """
    for line in (read(f"/proc/{pid}/smaps_rollup") or b"").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return None


def rss(pid: int) -> int | None:
    """Its resident memory in bytes, shared pages counted in full."""
    text = read(f"/proc/{pid}/statm")
    return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE") if text else None


class UnixSocket(Record):
    """One row of /proc/net/unix that has a name."""

    path: str
    inode: str
    listening: bool


def unix_table() -> Iterator[UnixSocket]:
    """The named unix sockets of this network namespace.

    A name may hold a line feed and so forge rows: only a hint, to be checked by
    connecting and asking who is there.
    """
    for line in lines("/proc/net/unix")[1:]:
        # Num RefCount Protocol Flags Type St Inode Path
        fields = line.split(None, 7)
        if len(fields) == 8 and fields[6].isdigit():
            yield UnixSocket(fields[7], fields[6], fields[3] == _LISTENING)


def unix_sockets() -> list[str]:
    """Paths of the unix sockets that somebody listens on (no abstract names)."""
    paths = (row.path for row in unix_table() if row.listening)
    return sorted({path for path in paths if path.startswith("/")})
