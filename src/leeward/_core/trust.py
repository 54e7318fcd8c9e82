"""Who may say for whom it speaks, and what is made of its word: X-Forwarded-For and Forwarded.

A proxy appends the address that it was asked from.  So the list is true from its right
end on, up to and with the first address that is no trusted proxy's; what stands left of
it the client may have made up.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

#: Whoever it is, and whoever comes through a Unix socket (nginx's set_real_ip_from).
EVERYBODY, UNIX = "*", "unix:"

#: Answers that are remembered: proxies are few, and clients come again.  Nothing longer is any
#: address, but in X-Forwarded-For it may stand.
_KNOWN, _LONGEST = 1024, 64

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = r'"(?:[\t \x21\x23-\x5B\x5D-\x7E\x80-\xFF]|\\[\t \x21-\x7E\x80-\xFF])*"'
#: RFC 7239 §4; white space round the separators as RFC 9110 §5.6.1 has it for lists.
#: White space can be matched in one way only: else 64 KiB of it take minutes.
_PAIR = re.compile(rf"[ \t]*(?:({_TOKEN})=({_TOKEN}|{_QUOTED})[ \t]*)?([;,]|\Z)")
_ESCAPE = re.compile(r"\\(.)")
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::(?:[0-9]{1,5}|_[A-Za-z0-9._\-]+))?")


def entry(text: str) -> str:
    """One entry of a list of peers: ``*``, ``unix:``, an address or a network.

    Raises ValueError that says what was expected.
    """
    if text == EVERYBODY:
        return text
    if text in (UNIX, "unix"):
        return UNIX
    try:
        ip_network(text)
    except ValueError:
        pass
    else:
        return text
    try:
        meant = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f"expected an IP address, a network such as 10.0.0.0/8, unix: or *, found {text!r}"
        ) from None
    raise ValueError(f"{text} has bits behind its prefix; did you mean {meant}?")


class Trusted:
    """entries: as `entry` lets them pass."""

    def __init__(self, entries: Sequence[str]) -> None:
        self.everybody = EVERYBODY in entries
        self.unix = self.everybody or UNIX in entries
        self._networks = [ip_network(it) for it in entries if it not in (EVERYBODY, UNIX)]
        self._known: dict[str, bool] = {}

    def __contains__(self, address: str) -> bool:
        """Is this IP address trusted?  What is none never is, but for ``*``."""
        known = self._known.get(address)
        if known is None:
            known = self.everybody or self._holds(address)
            if len(address) > _LONGEST:
                return known
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[address] = known
        return known

    def _holds(self, text: str) -> bool:
        try:
            address: IPv4Address | IPv6Address = ip_address(text)
        except ValueError:
            return False
        if isinstance(address, IPv6Address):
            # What an IPv4 peer is called on a socket of both families.
            address = address.ipv4_mapped or address
        return any(address in network for network in self._networks)

    def nearest(self, addresses: Sequence[str]) -> str:
        """From the right the first that is not trusted, or the leftmost; "" for none."""
        found = ""
        for found in reversed(addresses):
            if found not in self:
                break
        return found


def elements(text: str) -> list[dict[str, str]]:
    """The elements of a Forwarded header, parameter names in lower case; [] if it is wrong.

    RFC 7239: a parameter must not come twice in one element.
    """
    found: list[dict[str, str]] = [{}]
    at = 0
    while True:
        match = _PAIR.match(text, at)
        if match is None:
            return []
        name, value, end = match.groups()
        if name is not None:
            name = name.lower()
            if name in found[-1]:
                return []
            if value.startswith('"'):
                value = _ESCAPE.sub(r"\1", value[1:-1])
            found[-1][name] = value
        at = match.end()
        if end == ",":
            found.append({})
        elif not end:
            return [it for it in found if it]


def node(text: str) -> str:
    """The address in a node of Forwarded, without its port; what has none stays as it is."""
    match = _NODE.fullmatch(text)
    return text if match is None else match[1] or match[2]
