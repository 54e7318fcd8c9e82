"""Addresses as people write them."""

from __future__ import annotations

import os
import socket

from leeward._core.record import Record
from leeward.errors import UsageError

_EXPECTED = (
    "expected HOST:PORT, :PORT (all interfaces), [IPv6]:PORT, PORT (127.0.0.1), "
    "unix:/path or fd://N"
)
#: sun_path holds 108 bytes with the closing NUL, unix(7).
_UNIX_PATH = 107


class Address(Record):
    """One parsed address.

    kind:  "tcp" (`host`, `port`), "unix" (`path`, absolute) or "fd" (`fd`).
    host:  a name or number; "" for all interfaces, IPv4 and IPv6.
    text:  as it was written.
    """

    kind: str
    text: str
    host: str = ""
    port: int = 0
    path: str = ""
    fd: int = -1


def parse(text: str) -> Address:
    """The address in `text`.  Raises UsageError that says what was expected."""
    if text.startswith("unix:"):
        return _parse_unix(text)
    if text.startswith("fd://"):
        fd = digits(text[len("fd://") :], 2**20)
        if fd is None or fd < 3:
            raise _unexpected(text, "fd:// needs the number of a descriptor, 3 or more")
        return Address("fd", text, fd=fd)
    if "/" in text:
        raise _unexpected(text, "an address is written without http:// and without a path")
    host, colon, port_text = text.rpartition(":")
    if not colon:
        host = "127.0.0.1"
    elif host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not _is_ipv6(host):
            raise _unexpected(text, "in the brackets stands no IPv6 address")
    elif ":" in host:
        raise _unexpected(text, "an IPv6 address needs brackets, as in [::1]:8000")
    elif not all(char.isalnum() or char in "-._" for char in host):
        raise _unexpected(text, "before the port stands no host name")
    port = digits(port_text, 65535)
    if port is None:
        raise _unexpected(text, "it needs a port from 0 to 65535")
    return Address("tcp", text, host=host, port=port)


def _parse_unix(text: str) -> Address:
    path = text[len("unix:") :]
    if not path or path.startswith("@") or "\0" in path or path.endswith("/"):
        raise _unexpected(text, "unix: needs the path of a file")
    if path.startswith("//"):
        path = "/" + path.lstrip("/")  # unix:///run/app.sock
    # Joined and not normalised: with symbolic links a/../b is not always b.
    path = os.path.join(os.getcwd(), path)
    if len(os.fsencode(path)) > _UNIX_PATH:
        raise _unexpected(text, f"the path of a unix socket has at most {_UNIX_PATH} bytes")
    return Address("unix", text, path=path)


def _unexpected(text: str, why: str) -> UsageError:
    shown = text if len(text) <= 120 else text[:120] + "…"
    return UsageError(f"address {shown!r}: {why}", _EXPECTED)


def digits(text: str, most: int) -> int | None:
    """The number from 0 to `most` that `text` writes in plain decimal, else None."""
    # isdigit alone takes '²' and Arabic digits; int alone takes '+1', ' 1' and '1_0'.
    if not (text.isascii() and text.isdigit() and len(text) <= 7):
        return None
    number = int(text)
    return number if number <= most else None


def _is_ipv6(host: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    except (OSError, ValueError):
        return False
    return True
