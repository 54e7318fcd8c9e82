"""Takes connections from the shared listeners, one for each wake, and politely.

All workers of an instance poll the same listeners, level-triggered.  Whether a worker takes
what has woken it or leaves it to a sibling says `leeward._core.admission`; what becomes of a
worker that is full, `leeward._worker.crowding`.  Things that do not work:

* `loop.create_server(sock=)`: asyncio and uvloop call `listen()` on it again,
  with a backlog of 100, in every worker.
* accepting until EAGAIN, as Tornado and asyncio do: the worker that wakes first
  takes a whole burst while its siblings sleep.
* going on polling at EMFILE: the listener stays readable and the loop spins
  (99 % CPU and 6-9 MB/s of tracebacks with Tornado).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import time
from typing import TYPE_CHECKING

from leeward._core.admission import PAUSE, Courtesy, Streak
from leeward._core.record import Struct, field
from leeward._sys import peers
from leeward._sys.newcomers import keep_out
from leeward._worker.company import Company
from leeward._worker.crowding import Crowding, waits
from leeward._worker.rebalancing import Rebalancing

if TYPE_CHECKING:
    from collections.abc import Callable

    from leeward._core.config import Config
    from leeward._worker.birth import Birth
    from leeward._worker.logs import Log
    from leeward.engine.server import Server

#: Seconds without polling after an error of the listener itself: doubled from the
#: first to the last while it lasts.
PAUSES = (0.1, 1.0)

#: The kernel has no descriptor or no memory for another connection.
SHORTAGE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

#: Errors of that one connection, which Linux hands to accept() (accept(2), "Error
#: handling"), and a firewall's EPERM.  The next connection may be sound.
PASSING = frozenset(
    {
        errno.ECONNABORTED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENONET,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.EPERM,
        errno.EPROTO,
        errno.ETIMEDOUT,
    }
)

#: At a stop, connections taken from one kernel queue, and seconds for all.
SWEEP_MOST, SWEEP_SECONDS = 4096, 0.25


class _Port(Struct):
    """One listener as this worker sees it.

    timer:  of a decline or a pause; it is not polled meanwhile.
    """

    sock: socket.socket
    address: str
    pause: float = PAUSES[0]
    timer: asyncio.TimerHandle | None = None
    streak: Streak = field(default_factory=Streak)


class Acceptor:
    """Accepts on the listeners of `birth`, which it owns from now on, for `server`.

    accepted:  called once for each connection, before it is served.
    """

    def __init__(
        self, birth: Birth, server: Server, accepted: Callable[[], None], log: Log
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = server
        self._company = company = Company(birth.page, birth.row_index)
        self._accepted = accepted
        self._log = log
        self._said = -1.0  # when we last logged, monotonic
        self._short = False  # of descriptors or memory, when we swept
        self._ports = [_Port(socket.socket(fileno=fd), address) for fd, address in birth.listeners]
        self._courtesy = Courtesy()
        sockets = [port.sock for port in self._ports]
        self._crowding = Crowding(
            sockets, server, company, birth.config, log, self._halt, self._go_on
        )
        self._rebalancing = Rebalancing(server, company, birth.config, log)
        self._watched_by = _peers(birth.config)
        # The listeners have what an older generation, with another timeout, gave them.
        peers.tune([port.sock.fileno() for port in self._ports], birth.config)

    def start(self) -> None:
        for port in self._ports:
            port.sock.setblocking(False)
        self._company.begin()
        self._go_on()

    def tune(self, config: Config) -> None:
        """Settings have changed while we run."""
        self._crowding.tune(config)
        if self._ports:
            self._rebalancing.tune(config)
            self._crowding.took()  # there may be more connections than may be, now
        if (found := _peers(config)) != self._watched_by:
            self._watched_by = found
            listeners = [port.sock.fileno() for port in self._ports]
            peers.tune([*listeners, *(it for it in self._server.descriptors() if it >= 0)], config)

    def gone(self) -> None:
        """A connection has ended."""
        self._crowding.gone()

    def stop(self, *, sweep: bool = False, refuse: bool = False) -> None:
        """Accept no more and close our descriptors of the listeners.

        sweep:   first take what already stands in the kernel's queues: nobody else may.
        refuse:  then, if none is left there, have the kernel refuse whoever comes, for all
                 processes that hold them.
                 Only for a stop of the whole instance, whose own they are: else siblings
                 will serve them, or who handed them in.
        """
        ports, self._ports = self._ports, []
        if not ports:
            return
        self._company.end()
        self._crowding.close()
        self._rebalancing.end()
        deadline = time.monotonic() + SWEEP_SECONDS
        for port in ports:
            self._look_away(port)
            if refuse:
                keep_out(port.sock)  # else who comes behind the last look would be reset
            emptied = not sweep or self._sweep(port, deadline)
            if refuse and emptied:
                # By closing alone they would be taken by the kernel until the last of us has
                # closed, siblings that are blocked and the supervisor too (2-18 ms under
                # load, in 9 of 12 stops), and be reset then.  So is at once who still waits.
                with contextlib.suppress(OSError):  # ENOTCONN: a sibling was faster
                    port.sock.shutdown(socket.SHUT_RD)
            port.sock.close()

    def _sweep(self, port: _Port, deadline: float) -> bool:
        """Take what stands in its queue.  False if some may be left, which siblings can take."""
        for _ in range(SWEEP_MOST):
            if not self._take(port):
                return not self._short
            if time.monotonic() > deadline:
                break
        return False

    # --- one wake --------------------------------------------------------------------------

    def _wake(self, port: _Port) -> None:
        self._company.woke()
        if self._is_ours(port):
            self._take(port)
        else:
            self._loop.remove_reader(port.sock.fileno())
            port.timer = self._loop.call_later(PAUSE, self._again, port)

    def _is_ours(self, port: _Port) -> bool:
        """Or has one of the others fewer?"""
        company, courtesy = self._company, self._courtesy
        now = time.monotonic()
        if now < courtesy.haste_until:
            return True
        others = company.others()
        return not others or courtesy.accepts(port.streak, company.own(), others, now)

    def _again(self, port: _Port) -> None:
        """We have declined; is it still there?

        Asked of the kernel, and not by polling again: it could become readable at any
        later time by another connection, and nobody could count how often we declined one.
        """
        port.timer = None
        self._company.woke()
        if not waits(port.sock):
            self._courtesy.nobody_waits(port.streak, self._company.others(), time.monotonic())
        elif self._is_ours(port):
            self._take(port)
        else:
            port.timer = self._loop.call_later(PAUSE, self._again, port)
        if port.timer is None and port in self._ports and not self._crowding.full:
            self._poll(port)

    def _take(self, port: _Port) -> bool:
        """Accept one.  False when there is none, or none can be had."""
        try:
            connection, address = port.sock.accept()
        except (BlockingIOError, InterruptedError):
            self._courtesy.nobody_waits(port.streak, (), 0.0)
            return False  # a sibling was faster
        except OSError as error:
            if error.errno in PASSING:
                return True
            self._failed(port, error)
            return False
        port.pause = PAUSES[0]
        self._accepted()
        if not self._server.addresses.welcomes(address):
            self._crowding.turn_away(connection)
            return True
        self._server.accept(connection, address)
        self._rebalancing.begin()
        if self._ports:
            self._crowding.took()
        return True

    # --- not polling -------------------------------------------------------------------------

    def _poll(self, port: _Port) -> None:
        self._loop.add_reader(port.sock.fileno(), self._wake, port)

    def _look_away(self, port: _Port) -> None:
        self._loop.remove_reader(port.sock.fileno())
        if port.timer is not None:
            port.timer.cancel()
            port.timer = None

    def _halt(self) -> None:
        for port in self._ports:
            self._look_away(port)

    def _go_on(self) -> None:
        for port in self._ports:
            self._poll(port)

    def _failed(self, port: _Port, error: OSError) -> None:
        if not self._ports:
            self._short = error.errno in SHORTAGE
            return  # sweeping: whoever comes next will serve them
        if error.errno in SHORTAGE:
            self._crowding.refused(port.address, error)
            return
        # EINVAL for ever, if somebody called shutdown() on the listener: a sibling does at a stop,
        # of which we hear soon.
        self._look_away(port)
        port.timer = self._loop.call_later(port.pause, self._resume, port)
        now = time.monotonic()
        stops = error.errno == errno.EINVAL and port.pause == PAUSES[0]
        if not stops and (self._said < 0 or now - self._said >= 1.0):
            self._said = now
            self._log.say(
                "error",
                f"cannot accept on {port.address}: {error.strerror}; "
                f"clients wait in the backlog, trying again in {port.pause * 1000:.0f} ms",
            )
        port.pause = min(port.pause * 2, PAUSES[1])

    def _resume(self, port: _Port) -> None:
        port.timer = None
        if not self._crowding.full:
            self._poll(port)

    def abandon(self) -> None:
        """In a forked child: close the listeners there.  The loop is the parent's."""
        ports, self._ports = self._ports, []
        self._company.abandon()
        self._crowding.abandon()
        self._rebalancing.abandon()
        for port in ports:
            port.sock.close()


def _peers(config: Config) -> tuple[object, ...]:
    """What `leeward._sys.peers` makes its options of."""
    if not config.peer_timeout:
        return ()
    return config.peer_timeout, config.write_timeout, "write_timeout" in config.given
