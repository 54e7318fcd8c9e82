"""Who asks for a resource while it opens itself, and who is to blame when that fails."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import Any

from leeward._core.resources import way
from leeward.errors import NotOpen
from leeward.resources import Resource, mentioned

#: The resource that is being opened by whoever asks.
asker: ContextVar[Resource[Any] | None] = ContextVar("leeward_opening", default=None)

_BLAMED = "_leeward_resource"


def blamed(error: BaseException, resource: Resource[Any]) -> BaseException:
    """Note on `error` whose opening it ended: the innermost one is guilty."""
    if not hasattr(error, _BLAMED):
        with contextlib.suppress(AttributeError):  # a class with slots
            setattr(error, _BLAMED, resource)
    return error


def guilty(error: BaseException, asked: Resource[Any]) -> Resource[Any]:
    """The resource whose opening `error` ended, if it is noted, else `asked`."""
    found: Resource[Any] = getattr(error, _BLAMED, asked)
    return found


def await_it(resource: Resource[Any]) -> NotOpen:
    who, name = asker.get(), resource.name
    if who is None:
        return NotOpen(
            f"{resource} is not open: it is asynchronous, and nobody has opened it yet",
            f"`await {name}` opens it; `leeward serve` opens all before the first request",
        )
    back = way(resource, who, lambda key: (*key.needs, *mentioned(key)))
    if back:
        return cycle([who, *back])
    return NotOpen(
        f"{who} asks for {resource} while it opens, which is not open yet",
        f"Say so before: @leeward.per_worker(needs=[{name}]), or ask by `await {name}`",
    )


def cycle(path: list[Any]) -> NotOpen:
    return NotOpen(
        "resources wait for each other: " + " → ".join(str(it) for it in path),
        "Have one of them ask for the other when it is used, not while it opens",
    )
