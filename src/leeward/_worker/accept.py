"""Takes connections from the shared listeners, one for each wake.

All workers of an instance poll the same listeners, level-triggered.  Things
that do not work:

* `loop.create_server(sock=)`: asyncio and uvloop call `listen()` on it again,
  with a backlog of 100, in every worker.
* accepting until EAGAIN, as Tornado and asyncio do: the worker that wakes first
  takes a whole burst while its siblings sleep.
* going on polling at EMFILE: the listener stays readable and the loop spins
  (99 % CPU and 6-9 MB/s of tracebacks with Tornado).
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from leeward._core.config import Config
    from leeward._worker.logs import Log

#: Seconds without polling after the kernel had no descriptor or memory for us:
#: doubled from the first to the last while it lasts.
PAUSES = (0.1, 1.0)

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


@dataclass
class _Port:
    """One listener as this worker sees it."""

    sock: socket.socket
    address: str
    pause: float = PAUSES[0]
    timer: asyncio.TimerHandle | None = None


class Acceptor:
    """Accepts on `listeners` and gives each connection to `serve`.

    listeners: (descriptor, address) pairs; owned from now on.
    accepted:  called once for each connection, before `serve`.
    """

    def __init__(
        self,
        listeners: tuple[tuple[int, str], ...],
        serve: Callable[[socket.socket, Any], None],
        accepted: Callable[[], None],
        log: Log,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._serve = serve
        self._accepted = accepted
        self._log = log
        self._said = -1.0  # when we last logged, monotonic
        self._ports = [_Port(socket.socket(fileno=fd), address) for fd, address in listeners]

    def start(self) -> None:
        for port in self._ports:
            port.sock.setblocking(False)
            self._loop.add_reader(port.sock.fileno(), self._wake, port)

    def stop(self, *, sweep: bool = False) -> None:
        """Accept no more and close our descriptors of the listeners.

        sweep: first take what already stands in the kernel's queues.  Only for
               a stop of the whole instance: else siblings will serve them.
        """
        ports, self._ports = self._ports, []
        deadline = time.monotonic() + SWEEP_SECONDS
        for port in ports:
            self._loop.remove_reader(port.sock.fileno())
            if port.timer is not None:
                port.timer.cancel()
            if sweep:
                for _ in range(SWEEP_MOST):
                    if not self._take(port) or time.monotonic() > deadline:
                        break
            port.sock.close()

    def _wake(self, port: _Port) -> None:
        self._take(port)

    def _take(self, port: _Port) -> bool:
        """Accept one.  False when there is none, or none can be had."""
        try:
            connection, address = port.sock.accept()
        except (BlockingIOError, InterruptedError):
            return False  # a sibling was faster
        except OSError as error:
            if error.errno in PASSING:
                return True
            # EMFILE, ENFILE, ENOBUFS, ENOMEM; or EINVAL for ever, if somebody
            # called shutdown() on the listener.
            self._pause(port, error)
            return False
        port.pause = PAUSES[0]
        self._accepted()
        self._serve(connection, address)
        return True

    def _pause(self, port: _Port, error: OSError) -> None:
        if port not in self._ports:
            return  # sweeping: whoever comes next will serve them
        self._loop.remove_reader(port.sock.fileno())
        port.timer = self._loop.call_later(port.pause, self._resume, port)
        now = time.monotonic()
        if self._said < 0 or now - self._said >= 1.0:
            self._said = now
            self._log.say(
                "error",
                f"cannot accept on {port.address}: {error.strerror}; "
                f"clients wait in the backlog, trying again in {port.pause * 1000:.0f} ms",
            )
        port.pause = min(port.pause * 2, PAUSES[1])

    def _resume(self, port: _Port) -> None:
        port.timer = None
        self._loop.add_reader(port.sock.fileno(), self._wake, port)

    def tune(self, config: Config) -> None:
        """Settings have changed that may change while we run: none that concern us."""

    def abandon(self) -> None:
        """In a forked child: close the listeners there.  The loop is the parent's."""
        ports, self._ports = self._ports, []
        for port in ports:
            port.sock.close()
