"""The header of the PROXY protocol, by which a proxy says whose connection it passes on.

Source: HAProxy's doc/proxy-protocol.txt, version 1 (a line of text) and 2 (binary).  It
stands before everything else on a connection, before TLS too, and once.

Read strictly, with one leniency that HAProxy and nginx have as well: version 2's address
families and transports that mean nothing to us keep the real address.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

#: What versions each setting lets pass.
VERSIONS = {"off": (), "v1": (1,), "v2": (2,), "any": (1, 2)}

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_WORD = b"PROXY "
#: Octets of version 1's longest line, and of what we take of version 2: HAProxy's own
#: bound; certificates in it have 2 KiB.
_LINE, MOST = 107, 16 * 1024

_FIXED = 16  # octets of version 2 up to its length
_PORT = rb"(0|[1-9][0-9]{0,4})"
_TCP = re.compile(
    rb"PROXY TCP(?:4 ([0-9.]{7,15}) ([0-9.]{7,15})|6 ([0-9A-Fa-f:.]{2,39}) ([0-9A-Fa-f:.]{2,39})) "
    + _PORT
    + rb" "
    + _PORT
    + rb"\r\n"
)
_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [ -~]*)?\r\n")

#: By family and transport of version 2: its name, and octets of both its addresses.
_FAMILIES = {0x11: ("inet", 12), 0x21: ("inet6", 36), 0x31: ("unix", 216)}

#: Why a header is refused, by the name that log and counter have for it.
RULES = {
    "proxy-peer": "the peer is not in --proxy-allow-from",
    "proxy-missing": "no PROXY header",
    "proxy-version": "a PROXY header of another version than --proxy-protocol says",
    "proxy-v1": "an improper line of version 1",
    "proxy-v2": "an improper header of version 2",
    "proxy-size": f"a header of more than {MOST} octets",
    "proxy-late": "the PROXY header was not complete in time",
}


class BadHeader(Exception):
    """`rule` is one of `RULES`."""

    def __init__(self, rule: str) -> None:
        super().__init__(RULES[rule])
        self.rule = rule


class Header(NamedTuple):
    """length:  octets that it takes; what follows is the connection's own.

    family:  "inet", "inet6", "unix", or "" to keep the real address.
    host, port:  who the client is; a path, perhaps empty, for "unix".
    """

    length: int
    family: str = ""
    host: str = ""
    port: int = 0


def read(data: bytes, versions: tuple[int, ...]) -> Header | None:
    """The header at the start of `data`; None if more must come, all of `data` being its own.

    Raises BadHeader as soon as no octets that may follow could put it right.
    """
    if _SIGNATURE.startswith(data[: len(_SIGNATURE)]):
        found = 2
    elif _WORD.startswith(data[: len(_WORD)]):
        found = 1
    else:
        raise BadHeader("proxy-missing")
    if data and found not in versions:
        raise BadHeader("proxy-version")
    return _read_line(data) if found == 1 else _read_binary(data)


def _read_line(data: bytes) -> Header | None:
    end = data.find(b"\n", 0, _LINE)
    if end < 0:
        if len(data) >= _LINE:
            raise BadHeader("proxy-v1")
        return None
    line = data[: end + 1]
    if _UNKNOWN.fullmatch(line):
        return Header(len(line))
    match = _TCP.fullmatch(line)
    if match is None or int(match[5]) > 65535 or int(match[6]) > 65535:
        raise BadHeader("proxy-v1")
    try:
        if match[1] is not None:
            hosts = [str(IPv4Address(it.decode())) for it in match.group(1, 2)]
            return Header(len(line), "inet", hosts[0], int(match[5]))
        hosts = [_text(IPv6Address(it.decode())) for it in match.group(3, 4)]
        return Header(len(line), "inet6", hosts[0], int(match[5]))
    except ValueError:
        raise BadHeader("proxy-v1") from None


def _read_binary(data: bytes) -> Header | None:
    # Each octet as soon as it is there: a wrong one is not waited for to be complete.
    command = data[12] if len(data) > 12 else 0x20
    if command not in (0x20, 0x21):
        raise BadHeader("proxy-v2")
    if len(data) < _FIXED:
        return None
    size = int.from_bytes(data[14:_FIXED], "big")
    length = _FIXED + size
    if length > MOST:
        raise BadHeader("proxy-size")
    local = command == 0x20
    family, addresses = ("", 0) if local else _FAMILIES.get(data[13], ("", 0))
    if size < addresses:
        raise BadHeader("proxy-v2")
    if len(data) < length:
        return None
    block = data[_FIXED:length]
    if not family:
        return Header(length)
    _check_tlvs(block[addresses:])
    if family == "inet":
        port = int.from_bytes(block[8:10], "big")
        return Header(length, family, str(IPv4Address(block[:4])), port)
    if family == "inet6":
        port = int.from_bytes(block[32:34], "big")
        return Header(length, family, _text(IPv6Address(block[:16])), port)
    path = block[:108].partition(b"\0")[0]
    return Header(length, family, path.decode("utf-8", "surrogateescape"))


def _check_tlvs(block: bytes) -> None:
    """Raise unless `block` is type, length and value, again and again to its very end."""
    at = 0
    while at < len(block):
        at += 3 + int.from_bytes(block[at + 1 : at + 3], "big")
    if at != len(block):
        raise BadHeader("proxy-v2")


def _text(address: IPv6Address) -> str:
    """As the kernel writes it: Python before 3.13 has hexadecimal for a mapped IPv4 address."""
    mapped = address.ipv4_mapped
    return str(address) if mapped is None else f"::ffff:{mapped}"
