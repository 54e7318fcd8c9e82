"""The address that an adopted program asks for, and the socket that it is shown in its place."""

from __future__ import annotations

import os
import socket
from typing import Any

from leeward._core.record import Record
from leeward._sys import sockets
from leeward.errors import BindError, UsageError


class Want(Record):
    """One address that the program asked for.

    address:  as `--bind` writes it: ":8888", "127.0.0.1:8888", "[::1]:8888".
    line:     "app.py:12", where it was asked for.
    """

    address: str
    line: str


class Placeholder(socket.socket):
    """What `bind_sockets` gives an adopted program: no port is behind it."""

    want: Want
    name: Any = None

    def getsockname(self) -> Any:
        return super().getsockname() if self.name is None else self.name


def placeholders(want: Want, listeners: list[int]) -> list[socket.socket]:
    """One socket for each listener that has the port of `want`; one for `want` itself if none has.

    Not for others, which --bind or a service manager has put in their place: Bokeh's
    server ends if it finds another port than its own.  A rehearsal has no listeners.
    """
    made: list[socket.socket] = []
    for name in _names(want, listeners) or [_name_of(want)]:
        placeholder = Placeholder()
        placeholder.want, placeholder.name = want, name
        made.append(placeholder)
    return made


def _names(want: Want, listeners: list[int]) -> list[Any]:
    names = []
    for fd in listeners:
        with socket.socket(fileno=os.dup(fd)) as real:
            names.append(real.getsockname())
    try:
        port = sockets.parse(want.address).port
    except UsageError:  # whoever binds it says what is wrong
        return names
    return [name for name in names if isinstance(name, tuple) and port in (0, name[1])]


def _name_of(want: Want) -> Any:
    """What a socket there would say of itself: programs compare it with what they asked for."""
    try:
        found = sockets.resolve(sockets.parse(want.address))[0]
        if ":" not in found.host:
            return (found.host, found.port)
        host, _, interface = found.host.partition("%")
        return (host, found.port, 0, socket.if_nametoindex(interface) if interface else 0)
    except (BindError, UsageError, IndexError, OSError):  # whoever binds it says why it cannot be
        return None


def text(port: Any, address: str | None, family: int) -> str:
    """The address as `--bind` writes it."""
    host = address or ""
    if not host and family == socket.AF_INET:
        host = "0.0.0.0"
    elif not host and family == socket.AF_INET6:
        host = "::"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
