"""How many connections each client address has: --max-conns-per-ip.

A connection counts under its address for as long as it lasts.  That of a peer who speaks for
others counts under whom he speaks for, while he does (`leeward.engine.spokesmen`).
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable
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
    speaks:      does the peer with this address speak for others?  Its connections are
                 not counted under it.
    """

    def __init__(self) -> None:
        self.most = 0
        self.introduced = False
        self.speaks: Callable[[Any], bool] = lambda address: False
        self._counts: Counter[str] = Counter()

    def tune(self, most: int, addresses: Iterable[Any]) -> None:
        """addresses:  of the connections that are there."""
        if most and not self.most:
            self._counts.clear()
            for address in addresses:
                self.enter(self._client(address))
        self.most = most

    def welcomes(self, peer: Any) -> bool:
        """May `peer` have one more, as far as one can say when it connects?"""
        return self.introduced or self.allows(peer)

    def allows(self, address: Any) -> bool:
        """May `address` have one more?"""
        return not self.most or self.has_room(self._client(address))

    def begins(self, address: Any) -> None:
        if self.most:
            self.enter(self._client(address))

    def ends(self, address: Any) -> None:
        if self.most:
            self.leave(self._client(address))

    def _client(self, address: Any) -> str:
        return "" if self.speaks(address) else client_of(address)

    # --- by client -------------------------------------------------------------------------------

    def has_room(self, client: str) -> bool:
        """May `client` have one more?  As `client_of` says it; "" may always."""
        return not client or self._counts[client] < self.most

    def enter(self, client: str) -> None:
        if client:
            self._counts[client] += 1

    def leave(self, client: str) -> None:
        """Who has none any more is not remembered."""
        if self._counts[client] > 1:
            self._counts[client] -= 1
        else:
            self._counts.pop(client, None)
