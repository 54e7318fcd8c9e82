"""Which handler stands behind the delegate that an application has answered a request's head with?

An `Application` tells by itself; before it may stand routers (`RuleRouter`, `HostMatches`, one
application in another) and delegates of the application's own.  Each keeps the next one in an
attribute: those of Tornado are known by name, others are looked at in the same places.
"""

from __future__ import annotations

from typing import Any

from tornado.web import RequestHandler

#: Where a delegate keeps the one that it speaks for: Tornado's `_RoutingDelegate`,
#: `_ProxyAdapter`, `_GzipMessageDelegate`, and ours.
_NEXT = ("_other", "delegate", "_delegate", "inner", "_inner")
#: Delegates that are looked through.
_DEEP = 12


def handler_behind(delegate: object) -> type[RequestHandler] | None:
    """None if it cannot be told (yet)."""
    for _ in range(_DEEP):
        found = getattr(delegate, "handler_class", None)
        if isinstance(found, type) and issubclass(found, RequestHandler):
            return found
        inner: Any = next((it for name in _NEXT if (it := getattr(delegate, name, None))), None)
        if inner is None or inner is delegate:
            return None
        delegate = inner
    return None


def keeps_bodies(delegate: object) -> bool:
    """Does it put a request's body together in memory, as far as is known?"""
    found = handler_behind(delegate)
    return found is not None and not getattr(found, "_stream_request_body", False)
