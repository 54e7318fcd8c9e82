"""Which handler a path leads to, remembered.

Tornado asks each rule's regular expression for each request.  Where every rule that
was asked looks at nothing but the path, the answer for a path is always the same:
until the rules are changed, which is noticed because they are compared each time
(10 ns a rule; matching one costs 300).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tornado.routing import AnyMatches, PathMatches, Rule, URLSpec
from tornado.web import Application, RequestHandler, _ApplicationRouter

from leeward.engine.seen import Seen

if TYPE_CHECKING:
    from tornado.httputil import HTTPServerRequest

#: Paths that are remembered, of those that came at least twice: clients choose them.
_PATHS = 1024
#: Longer ones are not.
_LONGEST = 512


class Route(NamedTuple):
    rule: Rule
    args: list[bytes]
    kwargs: dict[str, bytes]


class Routes:
    """The remembered routes of one application."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._outer: list[Rule] = []
        self._inner: list[Rule] = []
        self._seen: Seen[str, Route] = Seen(_PATHS)

    def known(self, path: str) -> Route | None:
        route = self._seen.entries.get(path)
        if route is not None and self._unchanged():
            return route
        return None

    def learn(self, request: HTTPServerRequest) -> None:
        """Remember where this path leads, if that is all that matters."""
        path = request.path
        if len(path) > _LONGEST or not (self._unchanged() or self._read()):
            return
        for rule in self._inner:
            matcher = rule.matcher
            if type(matcher) is not PathMatches or type(rule) not in (Rule, URLSpec):
                return
            found: dict[str, Any] | None = matcher.match(request)
            if found is not None:
                target = rule.target
                if isinstance(target, type) and issubclass(target, RequestHandler):
                    route = Route(rule, found.get("path_args", []), found.get("path_kwargs", {}))
                    if self._seen.again(path):
                        self._seen.keep(path, route)
                return

    def _unchanged(self) -> bool:
        application = self._application
        # Rules have no __eq__: lists are equal if they hold the very same.
        return bool(self._inner) and (
            application.default_router.rules == self._outer
            and application.wildcard_router.rules == self._inner
        )

    def _read(self) -> bool:
        """Take the rules as they are now; False where other things than the path count."""
        self._seen = Seen(_PATHS)
        self._inner = []
        default, wildcard = self._application.default_router, self._application.wildcard_router
        if type(default) is not _ApplicationRouter or type(wildcard) is not _ApplicationRouter:
            return False
        self._outer = list(default.rules)
        if len(self._outer) != 1 or self._outer[0].target is not wildcard:
            return False
        if type(self._outer[0].matcher) is not AnyMatches:
            return False
        self._inner = list(wildcard.rules)
        return True
