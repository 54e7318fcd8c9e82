"""What asyncio itself cancels on behalf of a task that was ended: by the same rules.

A TaskGroup cancels its members, and `asyncio.wait_for` on Python 3.11 what it waits for, once
CancelledError has come to them.  A future of the application that a member waits for, or
that was given to `wait_for`, would be cancelled with them, under all others who have it.

The two functions are wrapped once a process, and do as ever for every task that
`leeward.engine.interrupt` has not ended.  Python 3.12 and later wait in `wait_for` as the
caller does, and cancel nothing.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from typing import TYPE_CHECKING, Any

from leeward.engine import interrupt
from leeward.engine.peeking import local

if TYPE_CHECKING:
    from types import FrameType

_MARK = "_leeward"


def install() -> None:
    """Wrap what is not wrapped yet."""
    group: Any = asyncio.TaskGroup
    if not hasattr(group._abort, _MARK):
        group._abort = _marked(_aborting(group._abort))
    tasks: Any = asyncio.tasks
    if sys.version_info < (3, 12) and not hasattr(tasks._cancel_and_wait, _MARK):
        tasks._cancel_and_wait = _marked(_cancelling(tasks._cancel_and_wait))


def _marked(function: Any) -> Any:
    setattr(function, _MARK, True)
    return function


def _aborting(abort: Any) -> Any:
    @functools.wraps(abort)
    def aborting(self: Any) -> None:
        threads = interrupt.threads_without(self._parent_task)
        if threads is None:
            abort(self)
            return
        self._aborting = True
        for member in list(self._tasks):
            interrupt.interrupt(member, threads)

    return aborting


def _cancelling(cancel_and_wait: Any) -> Any:
    @functools.wraps(cancel_and_wait)
    async def cancelling(fut: asyncio.Future[Any], loop: asyncio.AbstractEventLoop) -> None:
        task, frame = asyncio.current_task(loop), sys._getframe(1)
        threads = interrupt.threads_without(task)
        if threads is None or _has_timed_out(frame):
            await cancel_and_wait(fut, loop=loop)
        elif interrupt.give_up(fut, None, threads, _a_library_calls(frame, task)):
            await asyncio.wait([fut])

    return cancelling


def _has_timed_out(wait_for: FrameType) -> bool:
    """Is it over by its own timeout?  Then it expects a result, if only a CancelledError."""
    waiter = local(wait_for, "waiter")
    return waiter is None or (waiter.done() and not waiter.cancelled())


def _a_library_calls(wait_for: FrameType, task: Any) -> bool:
    """Is it a library that waits by `wait_for`?  If that is all of `task`, nobody knows."""
    caller = wait_for.f_back
    if caller is None or getattr(task.get_coro(), "cr_frame", None) is wait_for:
        return False
    return interrupt.is_library(caller.f_code.co_filename)
