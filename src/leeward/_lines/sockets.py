"""Addresses, and how a socket comes to be connected: TCP, unix, TLS.

Plain non-blocking sockets, not asyncio's transports: after a fork the child must be able
to close its copy and touch nothing else.  A transport's `close()` would take the
descriptor out of the epoll set, which the child shares with its parent, and the parent
would be deaf on that connection from then on.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from leeward._lines.tls import Tls

#: Probes in the time of the whole silence: half of them are sent, so that a wire which
#: loses some packets is borne.
PROBES = 20
#: The most that Linux takes for TCP_KEEPIDLE and TCP_KEEPINTVL, in seconds; above, EINVAL.
_LONGEST = 32767


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server is.  `path` is empty for TCP."""

    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(given: str | tuple[str, int]) -> Address:
    """`HOST:PORT`, `[IPv6]:PORT`, `unix:/path` or (host, port).  Raises ValueError."""
    if isinstance(given, tuple):
        host, port = given
        return Address(host, _port(given, str(port)))
    if given.startswith("unix:"):
        if len(given) == len("unix:"):
            raise ValueError("unix: needs a path, like unix:/run/provider.sock")
        return Address("", 0, given.removeprefix("unix:"))
    host, colon, digits = given.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or (":" in host and not bracketed):
        raise ValueError(f"expected HOST:PORT, [IPv6]:PORT or unix:/path, not {given!r}")
    return Address(host.strip("[]") if bracketed else host, _port(given, digits))


def _port(given: object, digits: str) -> int:
    if not (digits.isascii() and digits.isdigit() and 0 < int(digits) < 65536):
        raise ValueError(f"a port is from 1 to 65535, not {digits!r} in {given!r}")
    return int(digits)


@dataclass(frozen=True, slots=True)
class Wire:
    """How to connect.

    peer_timeout:  seconds for which the peer's machine may acknowledge nothing, idle or
                   not; 0.0: as the kernel does it.
    tls:           None for none; `server_name` is what its certificate must name.
    """

    address: Address
    peer_timeout: float
    tls: ssl.SSLContext | None
    server_name: str


async def connect(
    loop: asyncio.AbstractEventLoop, wire: Wire, timeout: float, owned: set[socket.socket]
) -> tuple[socket.socket, Tls | None]:
    """A connected, non-blocking socket, and TLS on it, shaken hands.  Raises OSError.

    timeout:  seconds for all addresses of a name together: each has its share, so that
              one behind a black hole does not take the time of the next.
    owned:    each socket is in it from its first moment, for a forked child to close.
    """
    last = OSError(f"no address for {wire.address}")
    found = await _resolve(loop, wire.address)
    for family, address in found:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        owned.add(sock)
        try:
            if family != socket.AF_UNIX:
                _tune(sock, wire)
            async with asyncio.timeout(timeout / len(found)):
                await _connect(loop, sock, address)
                return sock, await _secure(loop, sock, wire)
        except OSError as error:
            last = error
            discard(sock, owned)
        except BaseException:
            discard(sock, owned)
            raise
    raise last


def discard(sock: socket.socket, owned: set[socket.socket]) -> None:
    owned.discard(sock)
    sock.close()


def abandon(sock: socket.socket) -> None:
    """Close a forked child's copy: only the descriptor, with no word to the peer.

    The Python object forgets it as well, or its end would close whatever has the number
    by then.
    """
    with contextlib.suppress(OSError):  # closed by somebody else, who went by numbers
        os.close(sock.detach())


async def _resolve(loop: asyncio.AbstractEventLoop, address: Address) -> list[tuple[int, Any]]:
    if address.path:
        return [(socket.AF_UNIX, address.path)]
    kind = socket.SOCK_STREAM
    try:
        # A number needs no thread to be resolved in.
        found = socket.getaddrinfo(
            address.host, address.port, type=kind, flags=socket.AI_NUMERICHOST
        )
    except socket.gaierror:
        found = await loop.getaddrinfo(address.host, address.port, type=kind)
    return [(int(family), where) for family, _, _, _, where in found]


def _tune(sock: socket.socket, wire: Wire) -> None:
    tcp = socket.IPPROTO_TCP
    sock.setsockopt(tcp, socket.TCP_NODELAY, 1)
    if wire.peer_timeout:
        idle = min(max(round(wire.peer_timeout / 2), 1), _LONGEST)
        interval = min(max(round(wire.peer_timeout / PROBES), 1), _LONGEST)
        silent = min(round(wire.peer_timeout * 1000), 2**31 - 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(tcp, socket.TCP_KEEPIDLE, idle)
        sock.setsockopt(tcp, socket.TCP_KEEPINTVL, interval)
        sock.setsockopt(tcp, socket.TCP_KEEPCNT, PROBES // 2)
        # It bounds the idle silence too (tcp(7)): less than that would be one lost probe.
        sock.setsockopt(tcp, socket.TCP_USER_TIMEOUT, silent)


async def _connect(loop: asyncio.AbstractEventLoop, sock: socket.socket, address: Any) -> None:
    try:
        sock.connect(address)
    except BlockingIOError:
        # A unix socket whose backlog is full says the same and is not under way at all:
        # it would be writable at once, and unconnected.
        if sock.family == socket.AF_UNIX:
            raise
        await _ready(loop, sock, loop.add_writer, loop.remove_writer)
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error)) from None
    # Where nobody listens on a port that the kernel gives to callers, it gives that one some
    # day, and TCP takes two that call each other for connected, and one that calls itself.
    if sock.family != socket.AF_UNIX and sock.getsockname() == sock.getpeername():
        raise ConnectionRefusedError(errno.ECONNREFUSED, "connected to itself: nobody listens")


async def _secure(loop: asyncio.AbstractEventLoop, sock: socket.socket, wire: Wire) -> Tls | None:
    if wire.tls is None:
        return None
    tls = Tls(sock, wire.tls, wire.server_name or None)
    while True:
        try:
            tls.shake_hands()
            return tls
        except ssl.SSLWantReadError:
            await _ready(loop, sock, loop.add_reader, loop.remove_reader)
            with contextlib.suppress(BlockingIOError):  # readable, and then not
                tls.take()
        except BlockingIOError:
            await _ready(loop, sock, loop.add_writer, loop.remove_writer)


async def _ready(
    loop: asyncio.AbstractEventLoop,
    sock: socket.socket,
    add: Callable[..., Any],
    remove: Callable[[socket.socket], Any],
) -> None:
    future = loop.create_future()
    add(sock, _wake, future)
    try:
        await future
    finally:
        remove(sock)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
