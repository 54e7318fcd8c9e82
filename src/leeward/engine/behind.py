"""Which handler stands behind the delegate that an application has answered a request's head with?

An `Application` tells by itself; before it may stand routers (`RuleRouter`, `HostMatches`, one
application in another) and delegates of the application's own.  Each keeps the next one in an
attribute: those of Tornado are known by name, others are looked at in the same places.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tornado.web import RequestHandler

#: Where a delegate keeps the one that it speaks for: Tornado's `_RoutingDelegate`,
#: `_ProxyAdapter`, `_GzipMessageDelegate`, and ours.
_NEXT = ("_other", "delegate", "_delegate", "inner", "_inner")
#: Delegates that are looked through.
_DEEP = 12


def handler_behind(delegate: object) -> type[RequestHandler] | None:
    """None if it cannot be told (yet)."""
    for it in _chain(delegate):
        found = getattr(it, "handler_class", None)
        if isinstance(found, type) and issubclass(found, RequestHandler):
            return found
    return None


def keeps_bodies(delegate: object) -> bool:
    """Does it put a request's body together in memory, as far as is known?"""
    found = handler_behind(delegate)
    if found is not None:
        return not getattr(found, "_stream_request_body", False)
    # Tornado's `_CallableAdapter`, before a function that answers requests.
    return any(hasattr(it, "_chunks") for it in _chain(delegate))


def _chain(delegate: object) -> Iterator[object]:
    """`delegate`, the one that it speaks for, and so on."""
    for _ in range(_DEEP):
        yield delegate
        inner: Any = next((it for name in _NEXT if (it := getattr(delegate, name, None))), None)
        if inner is None or inner is delegate:
            return
        delegate = inner
