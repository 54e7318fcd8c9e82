"""Garbage is collected seldom while the application is imported.

What an import makes is modules, classes and functions, which stay: to look for cycles among them
all the time finds next to nothing, and what there is is collected before the first fork, and all
of it frozen then (`leeward._zygote.fork.freeze`).  numpy and pandas are imported in 0.96 of the
processor time (`bench/audit.py`), more than watching them costs, in the same memory.

Not `gc.disable()`: an import that makes garbage all the time would need memory without a bound,
and one that itself switches the collector off could not be told from us.
"""

from __future__ import annotations

import gc
import os

#: Containers more than were freed, until the young ones are looked through: 2000 by default
#: in 3.13.  No number that an application would choose.
_SELDOM = 100_003


class Seldom:
    """An application that asks for the threshold is told the one before, which it may multiply;
    the one that it sets counts from then on, and stays.
    """

    def __init__(self) -> None:
        self._before = gc.get_threshold()
        self._asked = gc.get_threshold
        self._told = self._asked  # what an application is given in its place

    def begin(self) -> None:
        """From now on.  Once in the life of a process."""
        if not 0 < self._before[0] < _SELDOM:  # 0: never
            return
        before, asked = self._before, self._asked

        def get_threshold() -> tuple[int, int, int]:
            """Return the current collection thresholds."""
            real = asked()
            return before if real[0] == _SELDOM else real

        self._told = gc.get_threshold = get_threshold
        gc.set_threshold(_SELDOM, *before[1:])
        # What the application forks meanwhile goes its own way.
        os.register_at_fork(after_in_child=self.end)

    def end(self) -> None:
        """As it was before.  May be called again."""
        if self._asked()[0] == _SELDOM:
            gc.set_threshold(*self._before)
        # Somebody may have put something around ours meanwhile: ours passes on.
        if gc.get_threshold is self._told:
            gc.get_threshold = self._asked
