"""What tells of a WebSocket message that has left us already: nobody asks, as a rule.

Tornado makes a task for each message that is written, which ends in the loop's next turn:
who awaits it lets the others have their turn.  A `Written` does the same for whoever looks
at it, from then on; until somebody does it costs nothing, and is given to all.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context


class Written(asyncio.Future[None]):
    """Done in the turn behind that in which somebody first looks at it.

    context:  of the call that makes it so.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, context: Context) -> None:
        super().__init__(loop=loop)
        self._context = context
        #: Has somebody looked at it?
        self.seen = False

    def add_done_callback(
        self, callback: Callable[[asyncio.Future[None]], object], *, context: Any = None
    ) -> None:
        self._see()
        super().add_done_callback(callback, context=context)

    def done(self) -> bool:
        self._see()
        return super().done()

    def cancel(self, msg: Any = None) -> bool:
        """Never: others may wait for it, and what was written is written."""
        self._see()
        return False

    def _see(self) -> None:
        if not self.seen:
            self.seen = True
            self.get_loop().call_soon(self.set_result, None, context=self._context)
