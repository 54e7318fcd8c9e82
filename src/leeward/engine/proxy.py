"""Receives the PROXY header of each connection, before anything else and before TLS.

It is read from the socket itself, and not one octet more than belongs to it: what
follows is the handshake's, or the first request's.  `MSG_PEEK` shows what has come,
`leeward._core.proxy` says how much of it is header, and only that is taken.  (What was
seen must be taken at once: a poll for octets that stay in the socket never sleeps.)

A connection without a right header, in time, from a peer of --proxy-allow-from, is closed
without an answer: its client, or a proxy that is set up otherwise, could do nothing with it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

from leeward._core.proxy import MOST, VERSIONS, BadHeader, Header, read
from leeward._core.trust import Trusted

if TYPE_CHECKING:
    from collections.abc import Callable

    from leeward._core.config import Config

#: Seconds for the header.  HAProxy's specification has "at least 3 seconds to cover a
#: TCP retransmit"; Linux's second one comes after 3 s.
SECONDS = 5.0

#: Octets to look at first: a header that came in one segment, as the specification has it.
_FIRST = 536

_FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6, "unix": socket.AF_UNIX}

_log = logging.getLogger("leeward.proxy")


class _Nothing(BadHeader):
    """Not one octet: a balancer that looks whether somebody listens, and no news."""


class Place(NamedTuple):
    """Where a client is: what `accept` would have said of it, without the proxy."""

    family: int
    address: Any


class Gate:
    """Lets connections in by their header.

    refused:  told the name of the rule (`leeward._core.proxy.RULES`) for each that is not.
    """

    def __init__(self, config: Config, refused: Callable[[str], None]) -> None:
        self._versions = VERSIONS[config.proxy_protocol]
        self._peers = Trusted(config.proxy_allow_from)
        self._refused = refused
        self._loop = asyncio.get_running_loop()
        self._said = float("-inf")
        self._unsaid = 0

    async def admit(self, connection: socket.socket, address: Any) -> Place | None:
        """Who the client is; None: the peer itself.  Raises BadHeader, counted and logged.

        address:  of the peer, as `accept` gave it.
        """
        connection.setblocking(False)
        try:
            if not self._allows(connection, address):
                raise BadHeader("proxy-peer")
            try:
                async with asyncio.timeout(SECONDS):
                    header = await self._header(connection)
            except TimeoutError:
                raise BadHeader("proxy-late") from None
        except BadHeader as error:
            self._refused(error.rule)
            if not isinstance(error, _Nothing):
                self._say(error, connection, address)
            raise
        return _place(header)

    def _allows(self, connection: socket.socket, address: Any) -> bool:
        if connection.family == socket.AF_UNIX:
            return self._peers.unix
        return address[0] in self._peers

    async def _header(self, connection: socket.socket) -> Header:
        held = b""
        while True:
            try:
                seen = connection.recv(MOST if held else _FIRST, socket.MSG_PEEK)
                if not seen:
                    raise BadHeader("proxy-missing") if held else _Nothing("proxy-missing")
                header = read(held + seen, self._versions)
                mine = len(seen) if header is None else header.length - len(held)
                held += connection.recv(mine)
            except BlockingIOError:
                await _readable(self._loop, connection)
                continue
            except OSError:  # a reset
                raise BadHeader("proxy-missing") from None
            if header is not None:
                return header

    def _say(self, error: BadHeader, connection: socket.socket, address: Any) -> None:
        """At most once a second: scanners come in swarms, and so do a proxy's connections."""
        now = self._loop.time()
        if now - self._said < 1.0:
            self._unsaid += 1
            return
        peer = "a unix socket" if connection.family == socket.AF_UNIX else address[0]
        more = f" (and {self._unsaid} more)" if self._unsaid else ""
        self._said, self._unsaid = now, 0
        _log.warning("closed a connection of %s: %s [%s]%s", peer, error, error.rule, more)


def gate(config: Config, refused: Callable[[str], None]) -> Gate | None:
    """None if there is no PROXY protocol."""
    return Gate(config, refused) if VERSIONS[config.proxy_protocol] else None


def _place(header: Header) -> Place | None:
    if not header.family:
        return None
    if header.family == "unix":
        return Place(socket.AF_UNIX, header.host)
    rest = (0, 0) if header.family == "inet6" else ()
    return Place(_FAMILIES[header.family], (header.host, header.port, *rest))


async def _readable(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
    """Wait until there is something to read, or the end."""
    ready = asyncio.Event()
    fd = connection.fileno()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)
