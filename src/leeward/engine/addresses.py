"""How many connections each client address has: --max-conns-per-ip."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable
from typing import Any


def client_of(address: Any) -> str:
    """Whose connection it is, "" for nobody's: unix sockets have no address.

    address: as accept() gives it.  An IPv6 client is known by its /64: any house has that
    many addresses for itself.
    """
    if not isinstance(address, tuple) or not address:
        return ""
    host = str(address[0]).partition("%")[0]
    if ":" not in host:
        return host
    number = ipaddress.IPv6Address(host)
    if number.ipv4_mapped is not None:
        return str(number.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(number) >> 64 << 64))


class Addresses:
    """most:        connections of one client; 0 for any number, and nothing is counted.
    introduced:  clients come by a proxy, which says who they are (--proxy-protocol).
    """

    def __init__(self) -> None:
        self.most = 0
        self.introduced = False
        self._counts: Counter[str] = Counter()

    def tune(self, most: int, addresses: Iterable[Any]) -> None:
        """addresses:  of the connections that are there."""
        if most and not self.most:
            self._counts = Counter(map(client_of, addresses))
        self.most = most

    def welcomes(self, peer: Any) -> bool:
        """May `peer` have one more, as far as one can say when it connects?"""
        return self.introduced or self.allows(peer)

    def allows(self, address: Any) -> bool:
        """May `address` have one more?"""
        client = client_of(address) if self.most else ""
        return not client or self._counts[client] < self.most

    def begins(self, address: Any) -> None:
        if self.most:
            self._counts[client_of(address)] += 1

    def ends(self, address: Any) -> None:
        if not self.most:
            return
        client = client_of(address)
        self._counts[client] -= 1
        if self._counts[client] <= 0:
            del self._counts[client]
