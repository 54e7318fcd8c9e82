"""Who waits for a future: read from its callbacks, where asyncio and Tornado keep it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tornado import gen

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable

    Callback = tuple[Callable[[Any], object], contextvars.Context]

#: Callbacks of modules whose futures belong to the one who waits.
PRIVATE = ("tornado.locks", "tornado.queues", "tornado.iostream", "leeward.engine.waits")
EXECUTOR = ("asyncio.futures", "_chain_future.<locals>._call_check_cancel")
#: At the future that `asyncio.shield` made: by it what is shielded is let go.
SHIELD = ("asyncio.tasks", "shield.<locals>._outer_done_callback")
#: Callbacks of nobody who waits.
_HARMLESS = (
    "tornado.web",
    "leeward.engine.execute",
    "leeward.engine.leaving",
    "leeward.engine.stream",
    "leeward.engine.unanswered",
)
_BOOKKEEPING = (
    "_wrap_awaitable.<locals>.<lambda>",
    "coroutine.<locals>.wrapper.<locals>.<lambda>",
    "with_timeout.<locals>.<lambda>",
    "with_timeout.<locals>.error_callback",
)


def waiting(future: asyncio.Future[Any]) -> list[object]:
    """The callbacks of those who wait for it, as far as can be told."""
    return [callback for callback, _ in callbacks(future) if not _is_bookkeeping(callback)]


def others(future: asyncio.Future[Any], mine: object) -> bool:
    """Does anybody but `mine` wait for it?"""
    return any(callback is not mine for callback in waiting(future))


def followed_by(future: asyncio.Future[Any], module: str) -> bool:
    """Does `module` wait for it, by a callback of its own or one that an IOLoop calls for it?"""
    return any(
        name(it)[0] == module
        for callback, _ in callbacks(future)
        for it in (callback, *held(callback))
    )


def let_go(future: asyncio.Future[Any], mine: Callable[[Any], object] | None) -> None:
    """Nobody waits for `future` any more on behalf of `mine`."""
    if mine is not None:
        future.remove_done_callback(mine)
    if not getattr(future, "_callbacks", None) and not isinstance(future, asyncio.Task):
        # Should it fail one day: asyncio logs errors that nobody has looked at.  Of a bare
        # future whoever sets the error knows it, of a task nobody does.
        future.add_done_callback(_looked_at)


def _looked_at(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


def callbacks(future: asyncio.Future[Any]) -> list[Callback]:
    return [it for it in getattr(future, "_callbacks", None) or () if it[0] is not _looked_at]


def find(future: asyncio.Future[Any], is_it: Callable[[object], bool]) -> Callback | None:
    return next((it for it in callbacks(future) if is_it(it[0])), None)


def tie(future: asyncio.Future[Any], to: asyncio.Future[Any]) -> Callable[[Any], object] | None:
    """The callback by which `to`, a future of several or of another, hears of `future`."""
    found = find(future, lambda it: any(inner is to for inner in held(it)))
    return None if found is None else found[0]


def runner_of(future: asyncio.Future[Any]) -> gen.Runner | None:
    """The Runner whose result `future` is: `gen.coroutine` ties them by a callback."""
    for callback, _ in callbacks(future):
        for inner in held(callback):
            if isinstance(inner, gen.Runner) and inner.result_future is future:
                return inner
    return None


def resumes(callback: object) -> gen.Runner | None:
    """The Runner that `callback` resumes (`IOLoop.add_future` wraps `Runner.run`)."""
    for outer in held(callback):
        for inner in held(outer):
            if isinstance(inner, gen.Runner):
                return inner
    return None


def name(callback: object) -> tuple[str, str]:
    """Module and qualified name of a function, or of an object's class."""
    named = callback if hasattr(callback, "__qualname__") else type(callback)
    return getattr(named, "__module__", "") or "", getattr(named, "__qualname__", "")


def held(callback: object) -> list[Any]:
    """The values that a function was made with."""
    found = []
    for cell in getattr(callback, "__closure__", None) or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # not set yet
            continue
    return found


def _is_bookkeeping(callback: object) -> bool:
    called = name(callback)
    return (
        called in (EXECUTOR, SHIELD)
        or called[0] in PRIVATE
        or called[0] in _HARMLESS
        or called[1] in _BOOKKEEPING
    )
