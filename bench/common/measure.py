"""Reading numbers: a client's clock, and what the kernel says of a tree of processes."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass

from leeward._sys import procfs

MIB = 1024 * 1024


def pin() -> tuple[set[int], set[int]]:
    """(client's CPUs, servers' CPUs).  This process moves to the client's at once.

    The first CPU is ours, all others the servers', so that the client's work is
    not in the figures.  With a single CPU both share it.
    """
    cpus = sorted(os.sched_getaffinity(0))
    client, servers = {cpus[0]}, set(cpus[1:]) or {cpus[0]}
    os.sched_setaffinity(0, client)
    return client, servers


# --- a client -----------------------------------------------------------------------------


def ask(port: int, path: str = "/", timeout: float = 10.0) -> int:
    """The pid that answers one request on a new connection.

    Raises OSError (a time-out too) or ValueError when there is no such answer.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
        data = b""
        while part := sock.recv(65536):
            data += part
    return answered(data)


def answered(data: bytes) -> int:
    """The pid in an answer.  Raises ValueError if it is none."""
    head, _, body = data.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n", 1)[0] + b" ":
        raise ValueError(f"answered {data[:60]!r}")
    return int(body.split()[0])


def wait_answer(port: int, deadline: float, path: str = "/") -> int:
    """The first answer of a server that may not listen yet.  Raises TimeoutError."""
    while True:
        with contextlib.suppress(OSError, ValueError):
            return ask(port, path, timeout=max(0.05, deadline - time.monotonic()))
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody answers on port {port}")
        time.sleep(0.002)


def wait_pids(
    port: int, count: int, deadline: float, path: str = "/", pause: float = 0.0
) -> set[int]:
    """The pids of `count` workers, once each has answered.  Raises TimeoutError.

    pause: seconds from one request to the next.  Tornado's own accept takes a whole
           burst into one worker; one after the other, they find the idle ones.
    """
    seen: set[int] = set()
    while len(seen) < count:
        # Several at once: an idle worker takes the next one while the first is busy.
        socks = []
        for _ in range(2 * count):
            with contextlib.suppress(OSError):
                sock = socket.create_connection(("127.0.0.1", port), timeout=5.0)
                sock.sendall(
                    f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode()
                )
                socks.append(sock)
            time.sleep(pause)
        for sock in socks:
            with sock, contextlib.suppress(OSError, ValueError):
                data = b""
                while part := sock.recv(65536):
                    data += part
                seen.add(answered(data))
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(seen)} of {count} workers have answered on port {port}")
        if len(seen) < count:
            time.sleep(0.002)
    return seen


# --- processes ------------------------------------------------------------------------------


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, zombies too; not `pid` itself."""
    found: list[int] = []
    for child in procfs.children_of(pid):
        found += [child, *descendants(child)]
    return found


def zombies(pid: int) -> int:
    return sum(procfs.state_of(it) == "Z" for it in descendants(pid))


@dataclass(frozen=True)
class Memory:
    """Bytes, as /proc/PID/smaps_rollup counts them."""

    pss: int = 0
    rss: int = 0
    private_dirty: int = 0
    uss: int = 0  # private, clean and dirty

    def __add__(self, other: Memory) -> Memory:
        return Memory(
            self.pss + other.pss,
            self.rss + other.rss,
            self.private_dirty + other.private_dirty,
            self.uss + other.uss,
        )


def memory(pid: int) -> Memory:
    """Of one process; nothing if it has ended meanwhile."""
    fields: dict[str, int] = {}
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            words = line.split()
            if len(words) == 3 and words[2] == "kB":
                fields[words[0].rstrip(":")] = int(words[1]) * 1024
    dirty = fields.get("Private_Dirty", 0)
    return Memory(
        fields.get("Pss", 0), fields.get("Rss", 0), dirty, dirty + fields.get("Private_Clean", 0)
    )


def tree_memory(pid: int) -> Memory:
    """Of `pid` and all below it: what the instance costs as a whole."""
    return sum(map(memory, [pid, *descendants(pid)]), Memory())


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of these processes and of the children that they have reaped."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
            ticks += sum(map(int, file.read().rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


# --- numbers ----------------------------------------------------------------------------------


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that at least `percent` % of them do not exceed; nan of none."""
    ordered = sorted(values)
    if not ordered:
        return float("nan")
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def median(values: Iterable[float]) -> float:
    ordered = sorted(values)
    if not ordered:
        return float("nan")
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
