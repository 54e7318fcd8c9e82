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

from leeward._core.trust import Trusted, forwarded, node

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tornado.httputil import HTTPHeaders, RequestStartLine, ResponseStartLine

    from leeward._core.config import Config

_PROTOCOLS = ("http", "https")


class Member(Protocol):
    """A connection: who was its client when it asked last."""

    client: str


def trusted(config: Config) -> Trusted | None:
    """None if nobody is believed."""
    return Trusted(config.forwarded_allow_ips) if config.forwarded_allow_ips else None


def believed(trusted: Trusted, context: Any) -> bool:
    """Is the peer of this connection (Tornado's request context) one of `trusted`?"""
    if context.address_family == socket.AF_UNIX:
        return trusted.unix
    return context.remote_ip in trusted


class Forwarded(HTTPMessageDelegate):
    """One request of a peer that is believed, before `inner` sees it.

    context:  Tornado's request context of the connection, changed until the request is read.
    """

    def __init__(
        self, inner: HTTPMessageDelegate, context: Any, trusted: Trusted, member: Member
    ) -> None:
        self._inner = inner
        self._context = context
        self._trusted = trusted
        self._member = member
        self._before = (context.remote_ip, context.protocol)

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        context = self._context
        address, protocol = told(headers, self._trusted)
        if is_valid_ip(address):
            context.remote_ip = address
        if protocol in _PROTOCOLS:
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


def told(headers: HTTPHeaders, trusted: Trusted) -> tuple[str, str]:
    """The client's address and protocol by these headers, unchecked; "" where they say nothing."""
    get = headers.get
    chain, real = get("X-Forwarded-For"), get("X-Real-Ip")
    scheme = get("X-Scheme", get("X-Forwarded-Proto"))
    if chain is None and real is None and scheme is None:
        found = get("Forwarded")
        return ("", "") if found is None else _forwarded(found, trusted)
    address = real
    if address is None and chain is not None:
        address = trusted.nearest([it.strip() for it in chain.split(",")])
    return address or "", (scheme or "").split(",")[-1].strip()


def _forwarded(text: str, trusted: Trusted) -> tuple[str, str]:
    elements = forwarded(text)
    if not elements:
        return "", ""
    # Who hides itself ("unknown", "_x") is no address: the walk ends there.
    address = trusted.nearest([node(it.get("for", "")) for it in elements])
    return address, elements[-1].get("proto", "").lower()
