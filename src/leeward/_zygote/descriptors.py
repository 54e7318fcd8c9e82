"""Descriptors that a fork would share to their owners' harm: connections, loops, databases.

A connection is shared by all children, which read each other's answers.  An epoll set
too, and one child's close deafens the others.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
from collections.abc import Iterator
from typing import Any

from leeward._sys import files
from leeward._sys.descriptors import borrowed, type_of
from leeward._zygote.look import Found, Look, key, opened
from leeward._zygote.objects import libraries
from leeward._zygote.origins import NOWHERE, Site
from leeward._zygote.watch import note_of

#: Nvidia's devices; CUDA opens them at its first use, and not when it is imported.
_GPU = re.compile(r"/dev/nvidia(\d+|ctl|-uvm)$")
#: In /proc/net/tcp: a connection is being made (TCP_SYN_SENT of net/tcp_states.h).
_SYN_SENT = "02"
_EVENTS = {
    "eventfd": "an eventfd",
    "timerfd": "a timer",
    "signalfd": "a signalfd",
    "inotify": "an inotify watch",
    "fanotify": "a fanotify watch",
}


def open_descriptors() -> frozenset[int]:
    """The numbers of all open descriptors; those of before the import are not judged."""
    fds = []
    for name in os.listdir("/proc/self/fd"):
        try:
            os.fstat(int(name))
        except OSError:
            continue  # that of the listing itself
        fds.append(int(name))
    return frozenset(fds)


def loops(look: Look) -> Iterator[Found]:
    """Event loops as such, so that one is told once and not by each of its descriptors."""
    for it in look.objects["loop"]:
        if it.is_closed():
            continue
        fd = _backend(it)
        if fd in look.own or fd in look.descriptors:
            continue
        look.descriptors.add(fd)
        site = note_of(look.watch.made, getattr(it, "_ssock", None), NOWHERE)
        if fd >= 0 and not site.where:
            site = opened(look, fd, None)[0]
        kind = f"{type(it).__module__}.{type(it).__qualname__}"
        what = f"an event loop is open already: {kind}, epoll set, descriptor {fd}"
        yield Found("LW120", what, site, it, key(fd) if fd >= 0 else "")


def _backend(loop: Any) -> int:
    """The descriptor of a loop's epoll set, -1 if it does not tell."""
    with contextlib.suppress(Exception):  # whatever a foreign loop raises
        if hasattr(loop, "_get_backend_id"):  # uvloop
            return int(loop._get_backend_id())
        return int(loop._selector.fileno())
    return -1


def descriptors(look: Look) -> Iterator[Found]:
    objects = {it.fileno(): it for it in look.objects["socket"]}
    tls = {it.fileno(): it for it in look.objects["tls"]} | _over_memory(look)
    native = {fd: it for it in look.objects["connection"] if (fd := _number(it)) is not None}
    uvloop = any(type(it).__module__.startswith("uvloop") for it in look.objects["loop"])
    client = bool(libraries(look.clients))
    for fd in sorted(open_descriptors() - look.own - look.descriptors):
        try:
            link = os.readlink(f"/proc/self/fd/{fd}")
            place = key(fd)
        except OSError:
            continue  # closed meanwhile, by a thread that was told of above
        if link.startswith("socket:"):
            site, since = opened(look, fd, objects.get(fd))
            yield from _connection(fd, place, since, site, tls.get(fd), objects, native)
        elif link.startswith("anon_inode:"):
            name = link.removeprefix("anon_inode:").strip("[]")
            site, since = opened(look, fd, None)
            if client and (since or not site.where) and (name == "eventpoll" or name in _EVENTS):
                continue  # its own, and told of with it
            if name == "eventpoll":
                what = f"an event loop is open already: epoll set, descriptor {fd}"
                yield Found("LW120", what, site, key=place)
            elif uvloop:
                continue  # libuv's own, told of with its loop
            elif name == "io_uring":
                yield Found("LW122", f"an io_uring is open, descriptor {fd}", site, key=place)
            elif name in _EVENTS:
                what = f"{_EVENTS[name]} is open, descriptor {fd}"
                yield Found("LW121", what, site, key=place)
        elif _GPU.match(link):
            site, _ = opened(look, fd, None)
            yield Found("LW106", f"{link} is open, descriptor {fd}", site, key=place)


def _over_memory(look: Look) -> dict[int, Any]:
    """By descriptor, what asyncio encrypts for: its sockets know nothing of TLS."""
    found = {}
    for it in look.objects["tls protocol"]:
        with contextlib.suppress(Exception):  # not connected yet, or no more
            fd = it._transport.get_extra_info("socket").fileno()
            found[fd] = it._sslobj
    return found


def _number(it: Any) -> int | None:
    with contextlib.suppress(Exception):  # closed, or whatever a driver raises then
        return int(it.fileno())
    return None


def _connection(
    fd: int,
    place: str,
    since: str,
    site: Site,
    tls: Any,
    objects: dict[int, Any],
    native: dict[int, Any],
) -> Iterator[Found]:
    if not (peer := peer_of(fd)):
        return
    code, by = "LW110", ""
    if tls is not None:
        host = f" to {tls.server_hostname}" if tls.server_hostname else ""
        code, by = "LW111", f", with {tls.version() or 'TLS before its handshake'}{host}"
    elif _encrypts(native.get(fd)):
        code, by = "LW111", ", with TLS"
    what = f"a socket is connected to {peer}{by}{since}, descriptor {fd}"
    yield Found(code, what, site, native.get(fd, objects.get(fd)), place, vague=bool(since))


def _encrypts(it: Any) -> bool:
    """psycopg and psycopg2 can be asked; both leave TLS to libpq."""
    inside = getattr(it, "pgconn", None) or getattr(it, "info", None)
    return getattr(inside, "ssl_in_use", False) is True


def peer_of(fd: int) -> str:
    """Whom a socket is connected to; "" if to nobody who would answer."""
    with borrowed(os.dup(fd)) as sock:
        try:
            peer = sock.getpeername()
        except OSError:
            return _asked(fd)  # listening, not connected, or about to be
        if sock.family == socket.AF_UNIX:
            # syslog and journal: a datagram is a line and nothing is answered.  A
            # peer without a name is a socketpair, a pipe of this process to itself.
            quiet = type_of(sock) == socket.SOCK_DGRAM or not peer
            return "" if quiet else f"unix:{os.fsdecode(peer)}"
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else str(peer)


def _asked(fd: int) -> str:
    """Whom a socket has asked for a connection that is not there yet."""
    inode = str(os.fstat(fd).st_ino)
    for table in ("tcp", "tcp6"):
        for line in files.lines(f"/proc/self/net/{table}"):
            words = line.split()
            if len(words) > 9 and words[9] == inode and words[3] == _SYN_SENT:
                return _address(words[2])
    return ""


def _address(text: str) -> str:
    """ "0100007F:1F90" as "127.0.0.1:8080": words of four bytes, each in the machine's order."""
    host, _, port = text.partition(":")
    words = (bytes.fromhex(host[at : at + 8]) for at in range(0, len(host), 8))
    packed = b"".join(word if sys.byteorder == "big" else word[::-1] for word in words)
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    return f"{socket.inet_ntop(family, packed)}:{int(port, 16)}"


def databases(look: Look) -> Iterator[Found]:
    """SQLite's: https://www.sqlite.org/howtocorrupt.html, 2.6.  Those in memory are copied."""
    for it in look.objects["sqlite"]:
        name, site = look.watch.databases.get(id(it), ("a database", NOWHERE))
        in_memory = (
            not name
            or name.startswith((":memory:", "file::memory:"))
            or (name.startswith("file:") and "mode=memory" in name)
        )
        if in_memory or _is_closed(it):
            continue
        path = os.path.abspath(name.removeprefix("file:").partition("?")[0])
        fds = (fd for fd in open_descriptors() - look.own if _leads_to(fd, path))
        fd = next(fds, None)
        place = "" if fd is None else key(fd)
        if fd is not None:
            look.descriptors.add(fd)  # its locks are SQLite's
        yield Found("LW113", f"an SQLite connection is open: {name}", site, it, place)


def _is_closed(connection: Any) -> bool:
    try:
        connection.total_changes  # noqa: B018  asks nothing of the database, in any thread
    except Exception:  # ProgrammingError of a module that we do not import
        return True
    return False


def _leads_to(fd: int, path: str) -> bool:
    with contextlib.suppress(OSError):  # closed meanwhile
        return os.readlink(f"/proc/self/fd/{fd}") == os.path.realpath(path)
    return False
