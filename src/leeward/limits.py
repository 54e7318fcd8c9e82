"""What an application may say about one of its handlers, and never must: `leeward.deadlines`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

#: Where a class keeps its `Deadlines`; its subclasses have them too.
ATTRIBUTE = "_leeward_deadlines"

#: Classes that have some.  While there are none, no request asks.
DECLARED: set[type] = set()

C = TypeVar("C", bound=type)


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds, 0.0 for never, None for what the instance's settings say."""

    body: float | None = None
    handler: float | None = None
    idle: float | None = None


def deadlines(
    *, body: float | None = None, handler: float | None = None, idle: float | None = None
) -> Callable[[C], C]:
    """Have a RequestHandler's requests obey these instead of the instance's settings.

        @leeward.deadlines(handler=5.0, body=0)
        class Upload(RequestHandler): ...

    body:     seconds that a request's body may be silent for (`--body-timeout`).
    handler:  seconds for the answer, from the end of the request (`--handler-timeout`).
    idle:     seconds between this handler's answer and the next request (`--idle-timeout`).

    0 is never.  A subclass inherits them, and may say otherwise for each.  Honoured by the
    default engine, `handler` and `idle` by Tornado's server too; without leeward the class is
    as it was.  Raises ValueError for what is
    no number of seconds.
    """
    given = {"body": body, "handler": handler, "idle": idle}
    for name, value in given.items():
        if value is not None and not _is_duration(value):
            raise ValueError(f"deadlines({name}={value!r}): expected seconds, 0 for never")
    said = {name: float(value) for name, value in given.items() if value is not None}

    def declare(cls: C) -> C:
        inherited = getattr(cls, ATTRIBUTE, Deadlines())
        setattr(cls, ATTRIBUTE, replace(inherited, **said))
        DECLARED.add(cls)
        return cls

    return declare


def _is_duration(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and value >= 0  # type: ignore[arg-type,operator]
