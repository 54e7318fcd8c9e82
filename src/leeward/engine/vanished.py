"""Finds peers that vanished while they were sent a little: `leeward._core.vanished` decides.

One timer for a worker, none while it has no connections.  The kernel is asked only about those
that were sent something since the last look, and about those in doubt: 1.5 us each; to
pass over the others takes 0.2 us.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from time import monotonic
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from leeward._core.connection import Life
from leeward._core.vanished import LOOKS, Doubt
from leeward.engine.kernel import unheard

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Collection

    from leeward.engine.telling import Account

#: Connections in one turn of the loop.
_SLICE = 2000
_MEANT = (Life.ACTIVE, Life.UPGRADED)
_RESET = struct.pack("ii", 1, 0)


class Sent(Protocol):
    """A connection."""

    life: Life
    account: Account

    @property
    def descriptor(self) -> int: ...

    def cut(self) -> None: ...


M = TypeVar("M", bound=Sent)


class Vanished(Generic[M]):
    """members:  all connections of a worker, whoever they are at the time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, members: Collection[M]) -> None:
        self._loop = loop
        self._members = members
        self._timeout = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._doubts: dict[M, Doubt] = {}
        self._last = 0.0
        #: Peers that were given up.
        self.count = 0

    def tune(self, timeout: float) -> None:
        """timeout:  seconds, 0.0 for never."""
        self._timeout = timeout
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.begin()

    def begin(self) -> None:
        """There is a connection."""
        if self._timer is None and self._timeout and self._members:
            self._timer = self._loop.call_later(self._timeout / LOOKS, self._look)

    def _look(self) -> None:
        last, self._last = self._last, monotonic()
        self._some(tuple(self._members), 0, last)

    def _some(self, members: tuple[M, ...], at: int, last: float) -> None:
        self._timer = None
        doubts: dict[M, Doubt] = {}
        for member in members[at : at + _SLICE]:
            if member.life not in _MEANT:
                continue
            before = self._doubts.pop(member, None)
            if before is not None or member.account.moved >= last:
                doubt = self._ask(member, before)
                if doubt is not None:
                    doubts[member] = doubt
        at += _SLICE
        if at < len(members):
            self._doubts |= doubts
            self._timer = self._loop.call_later(0.01, self._some, members, at, last)
        else:
            # Whoever is left of the old ones has gone.
            self._doubts = {it: by for it, by in self._doubts.items() if it in self._members}
            self._doubts |= doubts
            self.begin()

    def _ask(self, member: M, doubt: Doubt | None) -> Doubt | None:
        found = unheard(member.descriptor)
        if found is None:
            return None
        now = monotonic()
        doubt = doubt or Doubt(now)
        if not doubt.gone(now, found, self._timeout):
            return doubt
        self.count += 1
        # What lies in the kernel is for nobody.
        with (
            contextlib.suppress(OSError),
            socket.socket(fileno=os.dup(member.descriptor)) as sock,
        ):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        member.cut()
        return None
