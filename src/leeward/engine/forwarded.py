"""Who the client is when a proxy asks for it: X-Forwarded-For and its relatives.

The peers of --forwarded-allow-ips are believed, each of their requests for itself.
What a request's `remote_ip` and `protocol` become is what Tornado's `xheaders=True`
makes of them with these peers as `trusted_downstream`: X-Real-Ip before the rightmost
address of X-Forwarded-For that is none of them, X-Scheme before X-Forwarded-Proto,
and values that are no address or protocol change nothing.  Two things are more than
Tornado has: networks, and Forwarded (RFC 7239) where there is none of the four.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Protocol

from tornado.httputil import HTTPMessageDelegate
from tornado.netutil import is_valid_ip

from leeward._core.trust import Trusted, elements, node
from leeward.engine import layout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from tornado.httputil import HTTPHeaders, RequestStartLine, ResponseStartLine

    from leeward._core.config import Config

_PROTOCOLS = ("http", "https")
_HEADERS = ("X-Forwarded-For", "X-Real-Ip", "X-Scheme", "X-Forwarded-Proto", "Forwarded")

#: What was told before is not read again (6 µs): so many answers, of headers that have
#: together no more than so many characters.
_KNOWN, _LONGEST = 1024, 512


class Member(Protocol):
    """A connection: who was its client when it asked last."""

    client: str


class Forwarding:
    """Whom we believe, and what they have told; one for all connections.

    peers:  as `leeward._core.trust.entry` has them.
    """

    def __init__(self, peers: Sequence[str]) -> None:
        self._trusted = Trusted(peers)
        self._known: dict[tuple[str | None, ...], tuple[str, str]] = {}

    def believes(self, context: Any) -> bool:
        """Is the peer of this connection (Tornado's request context) one of them?"""
        if context.address_family == socket.AF_UNIX:
            return self._trusted.unix
        return context.remote_ip in self._trusted

    def trusts(self, address: Any) -> bool:
        """The same by its address, as accept() gives it or a PROXY header."""
        if not isinstance(address, tuple):
            return self._trusted.unix
        return address[0] in self._trusted

    def told(self, headers: HTTPHeaders) -> tuple[str, str]:
        """The client's address and protocol by these headers; "" where they say nothing."""
        fields = layout.lists(headers)
        said = tuple(",".join(fields[name]) if name in fields else None for name in _HEADERS)
        known = self._known.get(said)
        if known is None:
            address, protocol = self._read(*said)
            known = (
                address if is_valid_ip(address) else "",
                protocol if protocol in _PROTOCOLS else "",
            )
            if sum(len(it) for it in said if it) <= _LONGEST:
                if len(self._known) >= _KNOWN:
                    self._known.clear()
                self._known[said] = known
        return known

    def _read(
        self,
        chain: str | None,
        real: str | None,
        scheme: str | None,
        proto: str | None,
        forwarded: str | None,
    ) -> tuple[str, str]:
        if scheme is None:
            scheme = proto
        if chain is None and real is None and scheme is None:
            return ("", "") if forwarded is None else self._read_forwarded(forwarded)
        address = real
        if address is None and chain is not None:
            address = self._trusted.nearest([it.strip() for it in chain.split(",")])
        return address or "", (scheme or "").split(",")[-1].strip()

    def _read_forwarded(self, text: str) -> tuple[str, str]:
        found = elements(text)
        if not found:
            return "", ""
        # Who hides himself ("unknown", "_x") is no address: the walk ends there.
        address = self._trusted.nearest([node(it.get("for", "")) for it in found])
        return address, found[-1].get("proto", "").lower()


def forwarding(config: Config) -> Forwarding | None:
    """None if nobody is believed."""
    return Forwarding(config.forwarded_allow_ips) if config.forwarded_allow_ips else None


class Forwarded(HTTPMessageDelegate):
    """One request of a peer that is believed, before `inner` sees it.

    context:  Tornado's request context of the connection, changed until the request is read.
    """

    def __init__(
        self, inner: HTTPMessageDelegate, context: Any, forwarding: Forwarding, member: Member
    ) -> None:
        self._inner = inner
        self._context = context
        self._forwarding = forwarding
        self._member = member
        self._before = (context.remote_ip, context.protocol)

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        context = self._context
        address, protocol = self._forwarding.told(headers)
        if address:
            context.remote_ip = address
        if protocol:
            context.protocol = protocol
        self._member.client = context.remote_ip
        return self._inner.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._inner.data_received(chunk)

    def finish(self) -> None:
        self._inner.finish()
        self._restore()

    def on_connection_close(self) -> None:
        self._inner.on_connection_close()
        self._restore()

    def _restore(self) -> None:
        """What was told of one request must not be said of the next."""
        self._context.remote_ip, self._context.protocol = self._before
