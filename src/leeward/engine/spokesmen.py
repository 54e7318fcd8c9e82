"""Whom a connection counts under whose peer speaks for others (--max-conns-per-ip).

To a worker behind a proxy all connections come from one address, and each carries many clients
one after the other: who it is says each request (`leeward.engine.forwarded`).  So such a
connection counts under nobody while it waits, and under the client of its request until that
is answered; one that is taken over, as by a WebSocket, until it ends.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from leeward.engine.addresses import client_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from leeward.engine.addresses import Addresses
    from leeward.engine.exchange import Exchange
    from leeward.engine.forwarded import Forwarding
    from leeward.engine.link import Link


class Spokesmen:
    """forwarding:  whom we believe, or None.
    xheaders:    everybody is believed, in the way of Tornado: a program wants it.
    """

    def __init__(
        self, addresses: Addresses, forwarding: Forwarding | None, *, xheaders: bool
    ) -> None:
        self._addresses = addresses
        self._forwarding = forwarding
        self._xheaders = xheaders
        #: May there be any?
        self.any = xheaders or forwarding is not None
        addresses.speaks = self._speaks

    def _speaks(self, address: Any) -> bool:
        told = self._forwarding
        return self._xheaders or (told is not None and told.trusts(address))

    # --- one connection --------------------------------------------------------------------------

    def admits(self, link: Link, exchange: Exchange) -> bool:
        """A request begins: may its client have one more?  Then it counts."""
        if not self._addresses.most or not self._speaks(link.address):
            return True
        client = self._client(link, exchange)
        if not self._addresses.has_room(client):
            return False
        self._count(link, exchange, client)
        return True

    def answered(self, link: Link) -> None:
        """Its request has its answer, or the connection has ended."""
        client, link.counts_as = link.counts_as, ""
        self._addresses.leave(client)

    def taken_over(self, link: Link, exchange: Exchange) -> None:
        """By `exchange`, whose answer may have been given already, as a WebSocket's is."""
        if not link.counts_as:
            self._count(link, exchange, exchange.counts_as)

    def recount(self, links: Iterable[Link]) -> None:
        """There is a bound from now on, and there was none."""
        for link in links:
            exchange = link.exchange or link.account.taken_by
            if exchange is not None and self._speaks(link.address):
                self._count(link, exchange, self._client(link, exchange))

    def _count(self, link: Link, exchange: Exchange, client: str) -> None:
        link.counts_as = exchange.counts_as = client
        self._addresses.enter(client)

    # --- whom it speaks for ----------------------------------------------------------------------

    def _client(self, link: Link, exchange: Exchange) -> str:
        """As `client_of` says it; without a word about others it is the peer itself."""
        headers = exchange.head.headers()
        if self._forwarding is not None:
            told = self._forwarding.told(headers)[0]
        else:
            # The connection's own stays as it is: nobody would put it right behind a refusal.
            context = copy.copy(link.context)
            context._unapply_xheaders()
            own = context.remote_ip
            context._apply_xheaders(headers)
            told = "" if context.remote_ip == own else context.remote_ip
        return client_of((told, 0) if told else link.address)
