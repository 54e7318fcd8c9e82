"""When a worker is full: it looks away from its listeners, and makes room where all are full.

`leeward._core.admission` decides; here descriptors are looked at, connections are evicted
and clients answered.  Full is who has --max-conns connections, who has come near its limit
of descriptors, however it came there (the application may have opened files), or whom the
kernel has refused one.  While another worker accepts, that is all: it looks every `LOOK`
seconds whether there is room again, and after each end of a connection.

Are all full and clients wait in the backlog, then connections without a byte and idle
keep-alives give way to them, those first that waited longest; HTTP allows it (RFC 9112 §9.3),
and nobody's work is lost.  Is nobody idle either, clients are told 503 instead of being
kept waiting, by means of a descriptor that is kept for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
from typing import TYPE_CHECKING, Any

from leeward._core import admission
from leeward._core.admission import Step
from leeward._sys import descriptors
from leeward.engine import overload

if TYPE_CHECKING:
    from collections.abc import Callable

    from leeward._core.config import Config
    from leeward._worker.company import Company
    from leeward._worker.logs import Log
    from leeward.engine.server import Server


#: Seconds between two lines in the log.
EVERY = 1.0


class Crowding:
    """halt, go_on:  called when polling is to end, and to begin again.

    company:    whose row says that we are full, and who else is not.
    """

    def __init__(
        self,
        listeners: list[socket.socket],
        server: Server,
        company: Company,
        config: Config,
        log: Log,
        halt: Callable[[], None],
        go_on: Callable[[], None],
    ) -> None:
        self._listeners = listeners
        self._server = server
        self._company = company
        self._log = log
        self._halt, self._go_on = halt, go_on
        self._loop = asyncio.get_running_loop()
        self._most = config.max_conns
        self._timer: asyncio.TimerHandle | None = None
        self._shortage = admission.Shortage()
        self._resume_at = 0  # connections
        self._said = float("-inf")
        self._teller: asyncio.TimerHandle | None = None
        self._why = ""  # not told yet
        self._evicted = self._shed = 0  # not told yet
        self._spare = -1
        self._have_spare()

    @property
    def full(self) -> bool:
        return self._timer is not None

    def tune(self, config: Config) -> None:
        self._most = config.max_conns
        if self.full:
            self._look_again()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._teller is not None:
            self._teller.cancel()
            self._teller = None
            self._say()
        self._drop_spare()

    def abandon(self) -> None:
        """In a forked child: the loop is the parent's."""
        self._timer = None
        self._drop_spare()

    # --- becoming full ---------------------------------------------------------------------

    def took(self) -> None:
        """A connection was accepted: is there room for one more?"""
        why = self._why_full()
        if why:
            self._become_full(f"full: {why}; accepting again when some have gone")

    def refused(self, address: str, error: OSError) -> None:
        """The kernel has no descriptor or no memory for another connection."""
        self._become_full(
            f"cannot accept on {address}: {error.strerror}; clients wait in the backlog"
        )

    def _become_full(self, why: str) -> None:
        if self.full:
            return
        count = self._server.open()
        self._resume_at = count - admission.room_after(count)
        self._why = why
        self._company.full()
        self._halt()
        self._timer = self._loop.call_later(admission.LOOK, self._look)
        self._tell()

    def _why_full(self) -> str:
        try:
            # Not the number of the connection that was accepted last: among connections that
            # come and go it is one of those that have gone, and what is kept back is eaten up.
            number = descriptors.lowest_free(self._listeners[0].fileno())
        except OSError as error:
            return f"{error.strerror}"
        return admission.why_full(self._server.open(), number, self._caps())

    def _caps(self) -> admission.Caps:
        return admission.Caps(descriptors.limit(), self._most)

    # --- while it is full --------------------------------------------------------------------

    def gone(self) -> None:
        """A connection has ended."""
        if self.full and self._server.open() <= self._resume_at:
            self._resume()

    def _look(self) -> None:
        self._timer = self._loop.call_later(admission.LOOK, self._look)
        self._have_spare()
        if not self._resume():
            self._make_room()

    def _look_again(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._look()

    def _resume(self) -> bool:
        """Poll again, if there is room."""
        if self._why_full():
            return False
        assert self._timer is not None
        self._timer.cancel()
        self._timer = None
        self._company.begin()
        self._go_on()
        return True

    def _make_room(self) -> None:
        waiting = [it for it in self._listeners if waits(it)]
        now = self._loop.time()
        others = bool(self._company.others())
        step = self._shortage.look(now, waiting=bool(waiting), others=others)
        if step is Step.REST:
            return
        count = self._server.evict(self._caps().files)
        self._shortage.evicted(count, now)
        self._evicted += count
        if not count and step is Step.SHED:
            for listener in waiting:
                self._answer(listener)
        self._tell()

    def _answer(self, listener: socket.socket) -> None:
        """Tell clients of this listener that there is no place for them."""
        for _ in range(admission.SHED_MOST):
            self._drop_spare()
            try:
                connection, _ = listener.accept()
            except OSError:
                break
            self.turn_away(connection)
            self._have_spare()
        self._have_spare()

    def turn_away(self, connection: socket.socket) -> None:
        """Answer 503 and close.  Never blocks."""
        overload.turn_away(connection, plain=self._server.plain)
        self._shed += 1
        self._server.shed()
        self._tell()

    # --- the spare descriptor ------------------------------------------------------------------

    def _have_spare(self) -> None:
        if self._spare < 0:
            # None to be had: some answers less.
            with contextlib.suppress(OSError):
                self._spare = os.eventfd(0, os.EFD_CLOEXEC)

    def _drop_spare(self) -> None:
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1

    # --- telling -----------------------------------------------------------------------------

    def _tell(self) -> None:
        """Say what has happened since the last line: now, or when that is a second old."""
        if self._teller is not None or not (self._why or self._evicted or self._shed):
            return
        wait = self._said + EVERY - self._loop.time()
        if wait > 0:
            self._teller = self._loop.call_later(wait, self._say)
        else:
            self._say()

    def _say(self) -> None:
        self._teller = None
        self._said = self._loop.time()
        parts = [self._why] if self._why else []
        if self._evicted:
            parts.append(f"closed {self._evicted} idle to make room")
        if self._shed:
            parts.append(f"answered {self._shed} by 503")
        self._log.say("warning", "; ".join(parts))
        self._why, self._evicted, self._shed = "", 0, 0


def waits(listener: Any) -> bool:
    """Does a connection wait there?"""
    poll = select.poll()
    poll.register(listener.fileno(), select.POLLIN)
    return bool(poll.poll(0))
