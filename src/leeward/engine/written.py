"""What tells that WebSocket messages have left us: one future for all of a turn of the loop.

Tornado makes a task for each message that is written, which ends in the loop's next turn: who
awaits it lets the others have their turn, and who looks later whether it is done (to leave
a picture out while the last one still waits) finds that it is.  So it is here; but nobody
waits, as a rule.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextvars import Context


class Written(asyncio.Future[None]):
    """Not one writer's: it cannot be cancelled."""

    def cancel(self, msg: Any = None) -> bool:
        """Whoever waits for it is cancelled in the next turn."""
        return False


class Turns:
    """Of one loop.

    context:  in which its futures are completed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, context: Context) -> None:
        self._loop = loop
        self._context = context
        self._future: Written | None = None

    def written(self) -> Written:
        """Done in the next turn."""
        if self._future is None:
            self._future = Written(loop=self._loop)
            self._loop.call_soon(self._turn, self._future, context=self._context)
        return self._future

    def _turn(self, future: Written) -> None:
        self._future = None
        future.set_result(None)
