"""What the control groups of this process allow: versions 1, 2 and both at once.

Limits nest: the tightest on the way up to what is mounted wins.  Each function
takes `root`, the directory that stands for ``/`` in tests.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator

from leeward._sys.files import lines, read

#: Version 1 says "no limit" by the largest multiple of the page size in 63 bits.
_NO_LIMIT = 1 << 60


def cpu_quota(root: str = "") -> float | None:
    """Processors' worth of time that we get (1.5 is one and a half), None without a quota."""
    found: list[float] = []
    for version, groups in _hierarchies("cpu", root):
        for group in groups:
            if version == 2:
                quota, period = _two(f"{group}/cpu.max")
            else:
                quota = _number(f"{group}/cpu.cfs_quota_us")
                period = _number(f"{group}/cpu.cfs_period_us")
            if quota is not None and period is not None and quota > 0 and period > 0:
                found.append(quota / period)
    return min(found, default=None)


def memory_limit(root: str = "") -> int | None:
    """Bytes that we and ours may use, None without a limit."""
    found: list[int] = []
    for version, groups in _hierarchies("memory", root):
        name = "memory.max" if version == 2 else "memory.limit_in_bytes"
        limits = (_number(f"{group}/{name}") for group in groups)
        found.extend(limit for limit in limits if limit is not None and limit < _NO_LIMIT)
    return min(found, default=None)


def oom_kills(root: str = "") -> int:
    """How many processes of our group the kernel has killed for want of memory, ever.

    Compare two readings.  Where the group has no such counter (the root group
    has none) it is that of the whole machine.
    """
    for version, groups in _hierarchies("memory", root):
        name = "memory.events" if version == 2 else "memory.oom_control"
        # Our own group alone: those above also count the kills of our neighbours.
        count = _field(f"{groups[0]}/{name}", b"oom_kill")
        if count is not None:
            return count
    return _field(f"{root}/proc/vmstat", b"oom_kill") or 0


def available_cpus(root: str = "") -> int:
    """How many processors we may keep busy, at least 1.

    The affinity mask (which cpusets narrow) and the quota, rounded up as the JVM
    and Go do: 1.5 processors keep two workers busier than one.
    """
    cpus = len(os.sched_getaffinity(0))
    quota = cpu_quota(root)
    if quota is not None:
        cpus = min(cpus, math.ceil(quota))
    return max(1, cpus)


def _hierarchies(controller: str, root: str) -> Iterator[tuple[int, list[str]]]:
    """(version, directories of our group and of each above it, innermost first)."""
    groups = dict(_groups(root))
    for version, wanted, top, mounted in _mounts(root):
        if version == 1 and controller not in wanted:
            continue
        path = groups.get("" if version == 2 else controller)
        if path is None:
            continue
        parts = _below(path, top)
        if parts is not None:
            depths = range(len(parts), -1, -1)
            yield version, ["/".join([root + mounted, *parts[:depth]]) for depth in depths]


def _below(path: str, top: str) -> list[str] | None:
    """The steps from the group `top` to the group `path`, None if it is not below.

    `top` is what is mounted: a container without a control group namespace sees
    /docker/1234 in /proc/self/cgroup and has only that mounted.
    """
    if top.startswith("/.."):
        return []  # mounted from above our namespace, we cannot tell by which steps
    above = top.rstrip("/")
    if path != top and not path.startswith(above + "/"):
        return None
    parts = [part for part in path.removeprefix(above).split("/") if part]
    return None if ".." in parts else parts


def _groups(root: str) -> Iterator[tuple[str, str]]:
    """(controller, path), controller "" for version 2."""
    for line in lines(f"{root}/proc/self/cgroup"):
        fields = line.split(":", 2)
        if len(fields) == 3:
            for controller in fields[1].split(","):
                yield controller, fields[2]


def _mounts(root: str) -> Iterator[tuple[int, list[str], str, str]]:
    """(version, controllers, what of the tree is mounted, where) of each cgroup mount."""
    for line in lines(f"{root}/proc/self/mountinfo"):
        left, _, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")
        if len(fields) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2":
            yield 2, [], _unescape(fields[3]), _unescape(fields[4])
        elif kind[0] == "cgroup":
            yield 1, kind[2].split(","), _unescape(fields[3]), _unescape(fields[4])


def _unescape(text: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text


def _number(path: str) -> int | None:
    words = (read(path) or b"").split()
    return _int(words[0]) if words else None


def _two(path: str) -> tuple[int | None, int | None]:
    words = (read(path) or b"").split()
    return (_int(words[0]), _int(words[1])) if len(words) == 2 else (None, None)


def _int(word: bytes) -> int | None:
    """None for "max" and for rubbish."""
    return int(word) if word.removeprefix(b"-").isdigit() else None


def _field(path: str, name: bytes) -> int | None:
    for line in (read(path) or b"").splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == name:
            return _int(words[1])
    return None
