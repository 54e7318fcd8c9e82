"""Who holds a port or a unix socket, for the words of an error.

Best effort and bounded in time: another user's descriptors cannot be seen, and a
machine may run 30 000 processes.
"""

from __future__ import annotations

import os
import socket
import time

from leeward._sys import procfs

#: Seconds that the search may take.  Measured: 1.1 µs a descriptor, 2 ms for 150
#: processes, so this is enough for some hundred thousand descriptors.
_PATIENCE = 0.5
#: Bytes of /proc/net/tcp to read, 1700 rows.  The kernel writes listeners first;
#: all of it took 390 ms on a busy machine with 21 000 connections in TIME_WAIT.
_ROWS = 256 * 1024
_LISTEN = "0A"  # TCP_LISTEN, include/net/tcp_states.h


def of_port(host: str, port: int) -> str:
    """``pid 4711 (nginx)``, the listener that keeps host:port from being bound; "" if unseen."""
    inodes: set[str] = set()
    wanted = {_hex(host), "0" * 8, "0" * 32}
    everywhere = host in ("0.0.0.0", "::", "")
    for table in ("tcp", "tcp6"):
        for line in procfs.lines(f"/proc/net/{table}", _ROWS)[1:]:
            fields = line.split()
            if len(fields) < 10 or fields[3] != _LISTEN:
                continue
            address, _, port_hex = fields[1].partition(":")
            if int(port_hex, 16) == port and (everywhere or address in wanted):
                inodes.add(fields[9])
    return _who(inodes)


def of_unix(path: str) -> str:
    """``pid 4711 (nginx)``, the process that listens on the unix socket `path`; "" if unseen."""
    found = {row.inode for row in procfs.unix_table() if row.listening and row.path == path}
    return _who(found)


def _hex(host: str) -> str:
    """`host` as /proc/net/tcp writes it: 32-bit words in the machine's own order."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        packed = socket.inet_pton(family, host.partition("%")[0])
    except OSError:
        return ""
    words = (packed[at : at + 4][::-1] for at in range(0, len(packed), 4))
    return b"".join(words).hex().upper()


def _who(inodes: set[str]) -> str:
    wanted = {f"socket:[{inode}]" for inode in inodes if inode != "0"}
    if not wanted:
        return ""
    deadline = time.monotonic() + _PATIENCE
    for pid in procfs.processes():
        if time.monotonic() > deadline:
            return ""
        if _holds(pid, wanted):
            name = procfs.comm(pid)
            return f"pid {pid} ({name})" if name else f"pid {pid}"
    return ""


def _holds(pid: int, wanted: set[str]) -> bool:
    directory = f"/proc/{pid}/fd"
    try:
        for name in os.listdir(directory):
            if os.readlink(f"{directory}/{name}") in wanted:
                return True
    except OSError:
        return False  # it ended meanwhile, or belongs to somebody else
    return False
