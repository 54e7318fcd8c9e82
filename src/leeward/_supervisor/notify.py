"""systemd's notification protocol (sd_notify(3)): what the service manager is told.

READY comes with the first ready worker of the first generation and not before;
a watchdog ticks only if the environment asks for one.  Without NOTIFY_SOCKET
all of this does nothing.

Nothing here waits.  What the manager could not take (its queue is full, it is being
restarted) is kept and sent again, in order: with a lost READY it would kill a service
that serves, or believe for ever that it reloads.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Mapping

#: Variables that speak to the supervisor alone; no other process may see them.
VARIABLES = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
)

_DATAGRAMS = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
#: Characters of a line: systemd drops a message of more than 4096 bytes.
_LONGEST = 600
#: Seconds until what was not taken is sent again, twice as many after each time, and at most.
_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
#: The manager is there, and short of something.
_SHORT = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM})
#: Times in a row that it is not there (20 s in all).  Then we no longer wake up for it: what is
#: left goes with the next thing that there is to say.
_TRIES = 10


class Notify:
    """Tells the service manager.

    say:  told, in words, when it cannot be reached.
    """

    def __init__(self, environ: Mapping[str, str], pid: int, say: Callable[[str], object]) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        # From the start: when it is needed there may be no descriptor left.
        self._sock = socket.socket(socket.AF_UNIX, _DATAGRAMS) if path else None
        #: Seconds between watchdog ticks, or None.
        self.interval = _watchdog_interval(environ, pid) if path else None
        self._feeds_at = 0.0
        self._say = say
        self._status = ""
        self._stops = False
        #: What was not taken yet, the last of each kind, oldest first.
        self._unsent: dict[str, bytes] = {}
        self._again = 0.0
        self._pause = _PAUSE
        self._tries = 0

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

    def next_deadline(self) -> float | None:
        due = [] if self.interval is None else [self._feeds_at]
        if self._unsent and self._tries < _TRIES:
            due.append(self._again)
        return min(due, default=None)

    def tick(self, now: float) -> None:
        """Feeds the watchdog, and sends again what was not taken, if it is time."""
        if self.interval is not None and now >= self._feeds_at:
            self._feeds_at = now + self.interval
            self._send("WATCHDOG=1")
        if self._unsent and self._tries < _TRIES and now >= self._again:
            error = self._flush()
            if error is not None:
                self._put_off(now, error)

    def close(self) -> None:
        """What is left goes now or never."""
        if self._sock is not None:
            self._flush()
            self._sock.close()
            self._sock = None

    def _send(self, *lines: str) -> None:
        if self._sock is not None:
            kind = lines[0].partition("=")[0]
            self._unsent.pop(kind, None)
            text = "\n".join(line[:_LONGEST] for line in lines)
            self._unsent[kind] = text.encode("utf-8", "backslashreplace")
            self._flush()  # or else `tick` does

    def _flush(self) -> OSError | None:
        """Sends what is taken now.  Returns why that is not all."""
        while self._unsent and self._sock is not None:
            kind, data = next(iter(self._unsent.items()))
            try:
                self._sock.sendto(data, self._address)
            except OSError as error:
                if error.errno in _SHORT:
                    self._tries = 0
                return error
            del self._unsent[kind]
        self._again, self._pause, self._tries = 0.0, _PAUSE, 0
        return None

    def _put_off(self, now: float, error: OSError) -> None:
        self._again = now + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self._tries += error.errno not in _SHORT
        if self._tries == _TRIES:
            kinds = ", ".join(self._unsent)
            self._say(f"the service manager (NOTIFY_SOCKET) cannot be told {kinds}: {error}")


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
