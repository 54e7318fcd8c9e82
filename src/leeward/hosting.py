"""Whose the resources of this process are: a worker's, or the program's that runs alone.

Every worker loads this, and nothing more while its application has declared none:
`leeward.opening` comes with the first of them, maybe in the factory, and finds here for whom
it opens them.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from leeward.resources import Resource

#: Seconds for all closers of a program that runs alone.
ALONE = 5.0


class Teller(Protocol):
    """Whom a book tells of closers that fail, and asks for how long they may take."""

    def failed(self, resource: Resource[Any], error: BaseException) -> None: ...

    def late(self, resource: Resource[Any], seconds: float, task: Any) -> None: ...

    def lost(self, resource: Resource[Any], error: BaseException | None) -> None:
        """It is closed, and nobody has asked for that.  What its closer raised was told."""

    def alarm(self, seconds: float, task: Any) -> contextlib.AbstractContextManager[object]:
        """Around a step of `task`: raise `Overdue` in it if it blocks for so long."""

    def patience(self) -> float:
        """Seconds for all closers, when `asyncio.run` ends."""

    def over(self) -> bool:
        """Does this process leave, so that nothing opens any more?"""


class Alone:
    """The `Teller` of a program that runs without leeward: its log, and no alarms."""

    def failed(self, resource: Resource[Any], error: BaseException) -> None:
        import logging

        logging.getLogger("leeward").error("closing %s failed", resource, exc_info=error)

    def late(self, resource: Resource[Any], seconds: float, task: Any) -> None:
        import logging

        logging.getLogger("leeward").error("%s did not close within %.3g s", resource, seconds)

    def lost(self, resource: Resource[Any], error: BaseException | None) -> None:
        import logging

        logging.getLogger("leeward").error("%s is lost: it has closed by itself", resource)

    def alarm(self, seconds: float, task: Any) -> contextlib.AbstractContextManager[object]:
        return contextlib.nullcontext()

    def patience(self) -> float:
        return ALONE

    def over(self) -> bool:
        return False


class Host:
    """A worker, which opens and closes by itself; or a rehearsal of one.

    book:  what it has opened (`leeward.lives.Book`); None until somebody asks.
    """

    def __init__(self, teller: Teller) -> None:
        self.pid = os.getpid()
        self.teller = teller
        self.book: Any = None


#: This process, or the one that it was forked from.
current: Host | None = None


def host(teller: Teller) -> Host:
    """This process is a worker."""
    global current
    current = Host(teller)
    return current
