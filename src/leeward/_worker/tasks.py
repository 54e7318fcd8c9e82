"""Does the application's task factory suit the loop?  Without tasks nobody can be served.

The loops do not call it alike.  asyncio passes `(loop, coro)`, and `context=` to whoever asks for
one; uvloop passes `context=` always and, where it takes Python for 3.13 or later, `eager_start=`:
Python 3.13.0's own `asyncio.eager_task_factory` does not take that.  What was set once the
worker serves is found by each connection (`leeward.engine.unserved`).
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any

from leeward._worker import loops
from leeward.adapters import blame
from leeward.errors import TargetError


def check(loop: asyncio.AbstractEventLoop) -> None:
    """Raises TargetError if the task factory of `loop`, tried once, makes no task."""
    error = misfit(loop)
    if error is None:
        return
    kind = loops.kind(loop)
    remedy = "Let it take whatever a loop passes: def factory(loop, coro, **kwargs)"
    if kind == "uvloop" and loops.is_ours():
        remedy += "; or serve with --loop asyncio"
    raise TargetError(
        f"the application's task factory makes no task when {kind} calls it: {blame.words(error)}\n"
        f"  it is {_name(loop.get_task_factory())}",
        remedy,
    )


def misfit(loop: asyncio.AbstractEventLoop) -> Exception | None:
    """What making a task by the factory of `loop` raises, if one is set."""
    if loop.get_task_factory() is None:
        return None
    work = _nothing()
    try:
        loop.create_task(work).add_done_callback(_forget)
    except Exception as error:
        work.close()
        return error
    return None


async def _nothing() -> None:
    pass


def _forget(task: object) -> None:
    pass


def _name(factory: Any) -> str:
    """ "module:qualname (file:line)" as far as it has them."""
    while isinstance(factory, functools.partial):
        factory = factory.func
    if not hasattr(factory, "__qualname__"):
        factory = type(factory)
    code = getattr(factory, "__code__", None)
    where = "" if code is None else f" ({blame.shown(code.co_filename)}:{code.co_firstlineno})"
    return f"{factory.__module__}:{factory.__qualname__}{where}"
