"""Has something of what we know of Tornado been replaced, now that requests are served?

Instruments patch Tornado at import as a rule, and `ready()` looks again; but some do it
in the first request, or when a switch is thrown.  To compare all functions by identity
costs 5 µs, a seventh of a request, so it is done every `LOOK` seconds at most: a server
with less than a hundred requests a second compares at each.  What was replaced is
honoured by every request that begins later than `LOOK` after it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from operator import is_
from typing import Any

from leeward.engine.accelerate.install import ACCELERATIONS
from leeward.engine.execute import REPLACED, SKIPPED

#: Seconds between two looks, at least.
LOOK = 0.01

#: All that we replace, skip, or take for granted.
PLACES = tuple(
    {
        **dict.fromkeys(REPLACED),
        **dict.fromkeys(path for each in ACCELERATIONS for path in (each.place, *each.needs)),
    }
)


class Watch:
    """What was where when it was made; of `application` its class and itself too."""

    __slots__ = ("_application", "_own", "_spaces")

    def __init__(self, application: object) -> None:
        #: Where to look, at which names, and what there was.
        self._spaces = tuple(
            (space.get, tuple(names), tuple(map(space.get, names))) for space, names in _spaces()
        )
        self._application = application
        self._own = self._skipped()

    def changed(self) -> bool:
        """Is something else there now?"""
        for get, names, found in self._spaces:
            # By identity: a wrapper may say that it equals what it wraps (wrapt's do).
            if not all(map(is_, map(get, names), found)):
                return True
        return not all(map(is_, self._skipped(), self._own))

    def _skipped(self) -> list[Any]:
        """By the class, and by the instance."""
        kind, own = type(self._application), getattr(self._application, "__dict__", {})
        found = [getattr(kind, name, None) for name in SKIPPED]
        return found + [own.get(name) for name in SKIPPED]


def _spaces() -> Iterable[tuple[Mapping[str, Any], Iterable[str]]]:
    """Modules and classes, each with the names in it that `PLACES` go by."""
    spaces: dict[str, tuple[Mapping[str, Any], dict[str, None]]] = {}
    for path in PLACES:
        module, _, qualified = path.partition(":")
        where = module
        space: Mapping[str, Any] = vars(importlib.import_module(module))
        for name in qualified.split("."):
            # A class that was replaced as a whole is another object in its module.
            spaces.setdefault(where, (space, {}))[1][name] = None
            where, found = f"{where}.{name}", space.get(name)
            space = vars(found) if isinstance(found, type) else {}
    return spaces.values()
