"""Is a task that meets CancelledError itself to end?"""

from __future__ import annotations

import asyncio


def ending() -> bool:
    """Has somebody cancelled the task that asks?

    If not, the error is an answer like another: of a task that the application waited for and
    has cancelled, or of a client whose connection broke.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
