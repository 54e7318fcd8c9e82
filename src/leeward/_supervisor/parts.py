"""What the room of every verb works with."""

from __future__ import annotations

from collections.abc import Callable

from leeward._core.record import Record
from leeward._core.supervisor import Supervisor
from leeward._supervisor.control import Control
from leeward._supervisor.notify import Notify
from leeward._supervisor.processes import Processes
from leeward._supervisor.say import Voice


class Parts(Record):
    """The parts of one instance.  monotonic: the clock, in seconds."""

    core: Supervisor
    processes: Processes
    control: Control
    voice: Voice
    notify: Notify
    monotonic: Callable[[], float]

    @property
    def stops(self) -> bool:
        """Has a stop begun, or is one near?"""
        return bool(self.core.stopping) or self.processes.withdrawn
