"""What an application may say about one of its handlers, and never must: `leeward.deadlines`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Never, TypeVar

from leeward._core.durations import LONGEST
from leeward._core.record import Record, replace

#: Where a class keeps its `Deadlines`; its subclasses have them too.
ATTRIBUTE = "_leeward_deadlines"

#: Classes that have some.  While there are none, no request asks.
DECLARED: set[type] = set()

C = TypeVar("C", bound=type)


class Deadlines(Record):
    """Seconds, 0.0 for never, None for what the instance's settings say; `rate` in bytes."""

    body: float | None = None
    rate: float | None = None
    handler: float | None = None
    poll: float | None = None
    write: float | None = None
    idle: float | None = None
    ping: float | None = None
    ping_timeout: float | None = None


#: Those that end a connection whose request, and so whose route, nobody knows yet.
_BEFORE = ("header", "silent")


def deadlines(
    *,
    body: float | None = None,
    rate: float | None = None,
    handler: float | None = None,
    poll: float | None = None,
    write: float | None = None,
    idle: float | None = None,
    ping: float | None = None,
    ping_timeout: float | None = None,
    **unknown: Never,
) -> Callable[[C], C]:
    """Have a RequestHandler's requests obey these instead of the instance's settings.

        @leeward.deadlines(handler=5.0, body=0)
        class Upload(RequestHandler): ...

    body:          seconds that a request's body may be silent for (`--body-timeout`).
    rate:          bytes of it that earn a second more (`--min-body-rate`); 0: any does.
    handler:       seconds for the answer, from the end of the request (`--handler-timeout`).
    poll:          the same for a long-poll or a stream of events (`--max-poll-age`).
    write:         seconds without a byte that the client takes (`--write-timeout`).
    idle:          seconds between this handler's answer and the next request (`--idle-timeout`).
    ping:          seconds of silence before a WebSocket is pinged (`--ws-ping-interval`).
    ping_timeout:  seconds for its answer (`--ws-ping-timeout`).

    0 is never.  A subclass inherits them, and may say otherwise for each.  Honoured by the
    default engine, `handler`, `idle` and pings by Tornado's server too; without leeward the
    class is as it was.

    The class is not decorated by what is no number of seconds (ValueError), nor by any other
    name (TypeError): a connection is `silent`, or in its `header`, before its route is known.
    """
    given = {
        "body": body,
        "rate": rate,
        "handler": handler,
        "poll": poll,
        "write": write,
        "idle": idle,
        "ping": ping,
        "ping_timeout": ping_timeout,
    }
    said = {name: value for name, value in given.items() if value is not None}

    def declare(cls: C) -> C:
        name = f"{cls.__module__}.{cls.__qualname__}"
        for key in unknown:
            raise TypeError(f"{name}: deadlines({key}=…): {_why_not(key)}")
        for key, value in said.items():
            if not _is_duration(value):
                unit = "bytes, 0 for any number" if key == "rate" else "seconds, 0 for never"
                raise ValueError(f"{name}: deadlines({key}={value!r}): expected {unit}")
        inherited = getattr(cls, ATTRIBUTE, Deadlines())
        own = {key: float(value) for key, value in said.items()}
        setattr(cls, ATTRIBUTE, replace(inherited, **own))
        DECLARED.add(cls)
        return cls

    return declare


def _why_not(key: str) -> str:
    if key in _BEFORE:
        return f"no route is known yet then; --{key}-timeout is for all of them"
    return f"expected one of {', '.join(Deadlines.FIELDS)}"


def _is_duration(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value <= LONGEST  # type: ignore[operator]
