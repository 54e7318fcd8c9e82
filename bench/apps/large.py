"""`heavy` with what large applications do at import besides: compile their tables."""

from __future__ import annotations

import re

from heavy import asgi, make_app, plain_app

__all__ = ["asgi", "make_app", "plain_app"]

#: Routes of some large application: about 200 ms.
_ROUTE = r"^/part%d/(?P<item>[\w.-]+)/(\d{1,4}|last|all)(\.html)?$"
ROUTES = [re.compile(_ROUTE % number) for number in range(900)]
