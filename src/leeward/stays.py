"""What the task of an open resource waits for, and who cancels it there.

Two do so.  `asyncio.run` cancels all tasks when it ends, while its loop stands still (as does
`tornado.testing` behind a test, and uvloop's `run`); or a program does, in a shutdown of its
own.  And a scope around the `yield` cancels this one task, by a callback of the running loop.
The task itself is told the same by all of them; so it is looked at who calls `cancel()`, and,
where that is nobody we know, who else was there and whether they were cancelled too.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

#: Scopes that cancel the task which has entered them.
SCOPES = (
    "asyncio.taskgroups",
    "asyncio.timeouts",
    "anyio._backends._asyncio",
    "async_timeout",
)


class Stay(asyncio.Future[None]):
    """Awaited by `task`, whose `cancel()` calls that of what it waits for, at once.

    stood:   did the loop stand still when it was cancelled?
    scoped:  was it by a scope?
    """

    def __init__(self, task: asyncio.Task[Any]) -> None:
        super().__init__(loop=task.get_loop())
        self.stood = self.scoped = False
        self._task = task
        self._beside: set[asyncio.Task[Any]] = set()

    def cancel(self, msg: Any | None = None) -> bool:
        if not self.done():
            loop = self.get_loop()
            self.stood = not loop.is_running()
            # The task's own `cancel()` is in C, and has no frame.
            self.scoped = sys._getframe(1).f_globals.get("__name__") in SCOPES
            # Whoever cancels all others may be a task, and goes on.
            self._beside = asyncio.all_tasks(loop) - {self._task, asyncio.current_task(loop)}
        return super().cancel(msg)

    def beside(self, counts: Callable[[asyncio.Task[Any]], bool]) -> list[bool]:
        """Of the tasks that were there and that count: was each cancelled too?"""
        others = {task for task in self._beside if counts(task)}
        # One that has ended meanwhile, as any task does, says nothing.
        return [task.cancelling() > 0 for task in others if not task.done() or task.cancelling()]
