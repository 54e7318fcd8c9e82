"""systemd's notification protocol (sd_notify(3)): what the service manager is told.

READY comes with the first ready worker of the first generation and not before;
a watchdog ticks only if the environment asks for one.  Without NOTIFY_SOCKET
all of this does nothing.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping

#: Variables that speak to the supervisor alone; no other process may see them.
VARIABLES = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
)


class Notify:
    """Tells the service manager.  `interval`: seconds between watchdog ticks, or None."""

    def __init__(self, environ: Mapping[str, str], pid: int) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self.interval = _watchdog_interval(environ, pid) if path else None
        self.due = 0.0
        self._status = ""
        self._stops = False

    def ready(self, status: str) -> None:
        if not self._stops:  # a reload may end in the delay of a stop
            self._send("READY=1", f"STATUS={status}")

    def reloading(self, now: float) -> None:
        # Type=notify-reload compares this stamp with the time of its own signal.
        self._send("RELOADING=1", f"MONOTONIC_USEC={int(now * 1_000_000)}")

    def stopping(self) -> None:
        self._stops = True
        self._send("STOPPING=1", "STATUS=stopping")

    def status(self, status: str) -> None:
        if status != self._status:
            self._status = status
            self._send(f"STATUS={status}")

    def tick(self, now: float) -> None:
        """Feeds the watchdog if it is time."""
        if self.interval is not None and now >= self.due:
            self.due = now + self.interval
            self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        # The manager may be restarting or its queue full; it asks again by its
        # own time-outs, and the service must not stop for it.
        with (
            contextlib.suppress(OSError),
            socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            ) as sock,
        ):
            sock.sendto("\n".join(lines).encode(), self._address)


def _watchdog_interval(environ: Mapping[str, str], pid: int) -> float | None:
    """Half of WATCHDOG_USEC, as sd_watchdog_enabled(3) recommends, if it is meant for us."""
    try:
        usec = int(environ.get("WATCHDOG_USEC", "0"))
        meant_for = int(environ.get("WATCHDOG_PID", str(pid)))
    except ValueError:
        return None
    return usec / 2_000_000 if usec > 0 and meant_for == pid else None


def without(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for children: the same, less what speaks to us alone."""
    return {key: value for key, value in environ.items() if key not in VARIABLES}
