"""The TCP connections that a process has made: /proc/PID/fd against /proc/PID/net/tcp and tcp6.

What it has accepted is told from them by the local port: somebody listens on it, in the same
network namespace.  Unix sockets and UDP are left out.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections import Counter
from collections.abc import Container, Iterable

from leeward._core.record import Record
from leeward._sys.descriptors import borrowed, type_of
from leeward._sys.files import lines

#: Of the column `st` (include/net/tcp_states.h).
_STATES = {
    "01": "established",
    "02": "syn-sent",
    "03": "syn-recv",
    "04": "fin-wait",
    "05": "fin-wait",
    "08": "close-wait",
    "09": "last-ack",
    "0B": "closing",
}
_LISTEN = "0A"
_INTERNET = (socket.AF_INET, socket.AF_INET6)


class End(Record):
    """peer: "10.0.0.7:6379".  state: of TCP, in words."""

    peer: str
    state: str


def outbound(pid: int) -> list[End] | None:
    """None if it may not be looked into, or has gone."""
    inodes = _sockets(pid)
    if inodes is None:
        return None
    rows = [line for name in ("tcp", "tcp6") for line in lines(f"/proc/{pid}/net/{name}")[1:]]
    return ends(rows, inodes)


def ends(rows: Iterable[str], inodes: set[str]) -> list[End]:
    """Of the rows of the kernel's tables, those of `inodes` whose local port nobody listens on."""
    split = [fields for row in rows if len(fields := row.split()) > 9]
    listening = {_port(fields[1]) for fields in split if fields[3] == _LISTEN}
    return [
        End(_address(fields[2]), _STATES.get(fields[3], fields[3]))
        for fields in split
        if fields[9] in inodes and fields[3] != _LISTEN and _port(fields[1]) not in listening
    ]


def own(below: int, known: Container[int]) -> Counter[str]:
    """This process's own connected TCP sockets, by peer, without reading /proc.

    below:  look at the descriptors under this one, all of which are open.
    known:  descriptors of connections that were accepted, and are not looked at.

    Three system calls for each that is left, 3 us together; with 9000 descriptors the names
    in /proc/self/fd alone take 22 ms, and the loop waits for that.
    """
    found: Counter[tuple[int, str]] = Counter()
    listening: set[int] = set()
    for fd in range(below):
        if fd in known:
            continue
        try:
            sock = borrowed(fd)
        except OSError:
            continue  # no socket, or closed by a thread of the application's
        try:
            if sock.family not in _INTERNET or type_of(sock) != socket.SOCK_STREAM:
                continue
            port = sock.getsockname()[1]
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                listening.add(port)
                continue
            host, remote = sock.getpeername()[:2]
            host = host.removeprefix("::ffff:") if "." in host else host
            found[port, f"[{host}]:{remote}" if ":" in host else f"{host}:{remote}"] += 1
        except OSError:
            continue  # not connected
        finally:
            sock.detach()
    peers: Counter[str] = Counter()
    for (port, peer), count in found.items():
        if port not in listening:
            peers[peer] += count
    return peers


def _sockets(pid: int) -> set[str] | None:
    """The inodes of its sockets."""
    found = set()
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return None
    for name in names:
        try:
            link = os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue  # closed meanwhile
        if match := re.fullmatch(r"socket:\[(\d+)\]", link):
            found.add(match[1])
    return found


def _port(field: str) -> int:
    return int(field.rpartition(":")[2], 16)


def _address(field: str) -> str:
    """ "0100007F:1F90" is 127.0.0.1:8080: each 32 bits in the machine's own order."""
    host, _, port = field.rpartition(":")
    words = [host[i : i + 8] for i in range(0, len(host), 8)]
    packed = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
    if len(packed) == 4:
        return f"{socket.inet_ntop(socket.AF_INET, packed)}:{int(port, 16)}"
    if packed[:12] == b"\0" * 10 + b"\xff\xff":
        return f"{socket.inet_ntop(socket.AF_INET, packed[12:])}:{int(port, 16)}"
    return f"[{socket.inet_ntop(socket.AF_INET6, packed)}]:{int(port, 16)}"
