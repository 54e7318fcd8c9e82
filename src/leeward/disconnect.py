"""Marks for handlers: what becomes of them when their client leaves.

A mark changes nothing about the function or the class that it is put on; a worker looks
for it when a client has left (`--on-disconnect` says what happens without one).  On a
class it holds for all of its methods that have none of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from leeward._core.leaving import MARK_CANCEL, MARK_FINISH

T = TypeVar("T", bound=Callable[..., Any])

_MARK = "__leeward_on_disconnect__"


def cancel_on_disconnect(handler: T) -> T:
    """End this handler as soon as its client leaves, whatever the method."""
    return _mark(handler, MARK_CANCEL)


def finish_anyway(handler: T) -> T:
    """Let this handler run to its end, whether its client waits or not."""
    return _mark(handler, MARK_FINISH)


def mark_of(handler: object, method: str) -> str:
    """The mark of the handler's `method`, or of its class; "" for none."""
    kind = type(handler)
    function = getattr(kind, method.lower(), None)
    return str(getattr(function, _MARK, "") or getattr(kind, _MARK, ""))


def _mark(handler: T, mark: str) -> T:
    if not callable(handler):
        raise TypeError(f"a handler's method or class is marked, not {handler!r}")
    # Plain attributes: functools.wraps copies them, so that @gen.coroutine and
    # @authenticated may stand above or below.
    setattr(handler, _MARK, mark)
    return handler
