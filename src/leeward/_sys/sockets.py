"""Listening sockets: bound to an address, adopted, described.

Used by the CLI (which binds before anything is executed, so that "in use" is said
in the terminal) and by workers; the supervisor only holds the descriptors.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from typing import Any

from leeward._core.config import Listener
from leeward._core.record import replace
from leeward._sys import holders, socketfiles
from leeward._sys.addresses import Address as Address
from leeward._sys.addresses import digits
from leeward._sys.addresses import parse as parse
from leeward._sys.files import read
from leeward.errors import BindError

#: Before an IPv4 address that is written as one of IPv6, ::ffff:127.0.0.1.
_MAPPED = bytes(10) + b"\xff\xff"

# --- binding ---------------------------------------------------------------------------


def resolve(address: Address) -> list[Address]:
    """Each numeric address that a host name stands for; others as they are.

    May ask DNS and so take seconds.  Raises BindError.
    """
    if address.kind != "tcp":
        return [address]
    if not address.host:
        return [replace(address, host=host) for host in ("0.0.0.0", "::")]
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        _, percent, interface = address.host.partition("%")
        if percent:
            raise BindError(
                f"cannot bind {address.text}: no interface is called {interface!r}, or the "
                "address is none of a link",
                "see `ip -6 addr`: what begins with fe80: is followed by % and its interface",
            ) from None
        raise BindError(
            f"cannot bind {address.text}: the name {address.host!r} does not resolve ({error})",
            "try --bind 127.0.0.1:8000",
        ) from None
    hosts = dict.fromkeys(_host(entry[4]) for entry in found)
    return [replace(address, host=host) for host in hosts]


def _host(name: tuple[Any, ...]) -> str:
    """The number in a socket's name, with its interface where it is none without."""
    host = str(name[0])
    return f"{host}%{_interface(name[3])}" if len(name) > 3 and name[3] else host


def _interface(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:
        return str(index)  # gone since; the number is understood too


def bind(address: Address, backlog: int, uds_mode: int = 0o666) -> socket.socket:
    """A listening socket on one address: non-blocking, close-on-exec.

    backlog:   length of the kernel's queue (cut by net.core.somaxconn).
    uds_mode:  mode of a unix socket's file, umask set aside.
    Of a name with several addresses it takes the first; see `bind_all`.
    Raises BindError.
    """
    if address.kind == "fd":
        return _adopt(address)
    if address.kind == "unix":
        return _bind_unix(address, backlog, uds_mode)
    return _bind_tcp(resolve(address)[0], backlog)


def bind_all(address: Address, backlog: int, uds_mode: int = 0o666) -> list[socket.socket]:
    """A listening socket on each address that `address` stands for, at least one.

    Port 0 becomes the same port on all.  A family or address that this machine
    does not have (localhost is ::1 in /etc/hosts of a container without IPv6) is
    left out if another of the same name works.  Raises BindError; then none is left open.
    """
    if address.kind != "tcp":
        return [bind(address, backlog, uds_mode)]
    attempts = 8 if address.port == 0 else 1
    while True:
        try:
            return _bind_each(resolve(address), backlog)
        except PortTaken:
            # Port 0: the first address's free port is taken on the second.
            attempts -= 1
            if not attempts:
                raise


class _Missing(BindError):
    """This machine has no such address or family."""


class PortTaken(BindError):
    """The port is in use.  address: the one, numeric, that could not be bound."""

    address: Address


def _bind_each(addresses: list[Address], backlog: int) -> list[socket.socket]:
    made: list[socket.socket] = []
    missing: _Missing | None = None
    try:
        for address in addresses:
            if made and address.port == 0:
                address = replace(address, port=made[0].getsockname()[1])
            try:
                made.append(_bind_tcp(address, backlog))
            except _Missing as error:
                missing = error
    except BaseException:
        for sock in made:
            sock.close()
        raise
    if missing is not None and not made:
        raise missing
    return made


def _bind_tcp(address: Address, backlog: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock: socket.socket | None = None
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
        # Not SO_REUSEPORT: a second instance on our port would silently take half
        # of the connections instead of being refused.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind(
            socket.getaddrinfo(
                address.host,
                address.port,
                family,
                socket.SOCK_STREAM,
                flags=socket.AI_NUMERICHOST,
            )[0][4]
        )
        sock.listen(backlog)
    except OSError as error:
        if sock is not None:
            sock.close()
        raise _tcp_error(address, error) from None
    return sock


def _tcp_error(address: Address, error: OSError) -> BindError:
    host = f"[{address.host}]" if ":" in address.host else address.host
    what = f"cannot bind {host}:{address.port}"
    if error.errno == errno.EADDRINUSE:
        held = holders.of_port(address.host, address.port)
        by = f" by {held}" if held else ""
        taken = PortTaken(
            f"{what}: the port is in use{by}",
            f"stop it, or choose another port: --bind {host}:{(address.port % 65535) + 1}",
        )
        taken.address = address
        return taken
    if error.errno in (errno.EACCES, errno.EPERM):
        return BindError(
            f"{what}: this user may not bind ports below {_first_free_port()}",
            "choose a higher port, as in --bind :8000, or give the service "
            "CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE)",
        )
    if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) or isinstance(
        error, socket.gaierror
    ):
        return _Missing(
            f"{what}: no interface of this machine has that address",
            f"see `ip addr`, or bind all interfaces: --bind :{address.port}",
        )
    return BindError(f"{what}: {error.strerror}", _remedy(address, error))


def _remedy(address: Address, error: OSError) -> str:
    """What to write in place of an IPv6 address that the kernel calls invalid."""
    if error.errno != errno.EINVAL or ":" not in address.host:
        return ""
    packed = socket.inet_pton(socket.AF_INET6, address.host.partition("%")[0])
    if packed.startswith(_MAPPED):
        # Our IPv6 sockets take IPv6 alone (IPV6_V6ONLY), so that both families can have a port.
        return f"it is an IPv4 address: --bind {'.'.join(map(str, packed[12:]))}:{address.port}"
    if packed[0] == 0xFE and packed[1] & 0xC0 == 0x80:
        return (
            "an address of a link needs its interface, see `ip -6 addr`: "
            f"--bind '[{address.host}%eth0]:{address.port}'"
        )
    return ""


def _first_free_port() -> int:
    """The first port that needs no privilege."""
    text = read("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    return int(text) if text else 1024


# --- unix sockets ----------------------------------------------------------------------


def _bind_unix(address: Address, backlog: int, uds_mode: int) -> socket.socket:
    what = f"cannot bind unix:{address.path}"
    sock: socket.socket | None = None
    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        with _directory_lock(os.path.dirname(address.path)):
            _clear_dead(address.path, what)
            # The umask decides the mode at the moment the file comes to be.  What
            # does not work: chmod afterwards (a moment in which anybody connects);
            # bind to another name, chmod and rename (getsockname and /proc/net/unix
            # go on telling the other name).
            before = os.umask(0o777 & ~uds_mode)
            try:
                sock.bind(address.path)
            finally:
                os.umask(before)
            sock.listen(backlog)
    except (OSError, BindError) as error:
        if sock is not None:
            sock.close()
        if isinstance(error, BindError):
            raise
        raise BindError(
            f"{what}: {error.strerror}",
            f"its directory must exist and be writable: ls -ld {os.path.dirname(address.path)}",
        ) from None
    return sock


@contextlib.contextmanager
def _directory_lock(directory: str) -> Iterator[None]:
    """One starter at a time looks, clears and binds in `directory`.

    Without it two that find the same dead socket unlink each other's live one.
    Waits at most a second and then goes on: anybody may hold a lock on /tmp.
    """
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        yield  # we may search it and not read it
        return
    try:
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:
                break  # a file system without locks
        yield
    finally:
        os.close(fd)


def _clear_dead(path: str, what: str) -> None:
    """Remove a socket at `path` that nobody listens on.  Raises BindError for all else."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise BindError(
            f"{what}: there is a file of another kind, which is left alone",
            f"move it away, or choose another path: ls -l {path}",
        )
    if is_live(path):
        held = holders.of_unix(path)
        by = f" by {held}" if held else ""
        raise BindError(f"{what}: the socket is in use{by}", "stop it, or choose another path")
    socketfiles.remove(path, found)  # unless its owner has just done so


def is_live(path: str) -> bool:
    """Whether somebody listens on the unix socket at `path`, of whatever type.

    Anything but a plain refusal counts as alive (a full backlog, no permission):
    only what is certainly dead is cleared away.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True


# --- sockets that somebody else made ---------------------------------------------------


def _adopt(address: Address) -> socket.socket:
    what = f"cannot use fd://{address.fd}"
    remedy = "systemd hands over sockets from descriptor 3 on: see `systemctl cat UNIT.socket`"
    try:
        sock = socket.socket(fileno=address.fd)
    except OSError as error:
        raise BindError(f"{what}: {error.strerror}", remedy) from None
    families = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
    if (
        sock.family not in families
        or sock.type != socket.SOCK_STREAM
        or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    ):
        sock.detach()
        raise BindError(f"{what}: it is not a listening stream socket", remedy)
    sock.setblocking(False)
    sock.set_inheritable(False)
    return sock


def listen_fds(environ: Mapping[str, str], pid: int) -> list[int]:
    """Descriptors that a service manager handed to process `pid`, sd_listen_fds(3).

    [] when the variables are missing, wrong, or meant for another process (an
    ancestor that did not remove them).
    """
    if environ.get("LISTEN_PID") != str(pid):
        return []
    count = digits(environ.get("LISTEN_FDS", ""), 4096)
    return list(range(3, 3 + count)) if count else []


# --- what is it called -----------------------------------------------------------------


def describe(sock: socket.socket, tls: bool = False) -> tuple[str, str]:
    """(address, url) of a bound socket: the truth, and what a person may click.

    ``("0.0.0.0:8000", "http://127.0.0.1:8000")``: a browser cannot open the wildcard.
    """
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        if isinstance(name, bytes):  # an abstract name starts with NUL
            name = "@" + os.fsdecode(name[1:])
        return f"unix:{name}", f"unix:{name}"
    host, port = name[0], name[1]
    near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    if sock.family == socket.AF_INET6:
        if len(name) > 3 and name[3] and "%" not in host:
            host = near = _host(name)
        host, near = f"[{host}]", f"[{near}]"
    scheme, usual = ("https", 443) if tls else ("http", 80)
    suffix = "" if port == usual else f":{port}"
    return f"{host}:{port}", f"{scheme}://{near}{suffix}"


def listener(sock: socket.socket, fd: int, made: bool = True, tls: bool = False) -> Listener:
    """The `Listener` record of `sock` as descriptor `fd`.

    made:  False for a socket that was adopted: its file is not ours to remove.
    tls:   https is spoken there.
    """
    address, url = describe(sock, tls)
    path = ""
    if made and sock.family == socket.AF_UNIX and address.startswith("unix:/"):
        path = address[len("unix:") :]
    return Listener(fd=fd, address=address, url=url, path=path, made=made)
