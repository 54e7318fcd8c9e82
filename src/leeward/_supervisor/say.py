"""What the supervisor says: one line when something changes, silence otherwise.

A line never blocks and never raises.  The reader of stderr may have stopped
(Ctrl-S, a stuck log shipper), gone away, or its disk may be full; the
supervisor must go on replacing workers all the same.  So each write is preceded
by a poll: POLLOUT on a pipe promises PIPE_BUF (4096) bytes, and a line is never
longer.  O_NONBLOCK would be simpler, but it belongs to the open file, which the
shell and the workers share.
"""

from __future__ import annotations

import errno
import json
import os
import select
import time
from collections import deque

_LONGEST = 4096
_PENDING = 1000
_LEVELS = {"info": 20, "warning": 30, "error": 40, "critical": 50}
_COLOURS = {"warning": "\x1b[33m", "error": "\x1b[31m"}


def _clean(text: str) -> str:
    """Control characters escaped: what an application says must not steer a terminal."""
    return "".join(
        c if c.isprintable() else "\n    " if c == "\n" else "    " if c == "\t" else ascii(c)[1:-1]
        for c in text
    )


class Voice:
    """Writes lines to `fd`.

    style: "pretty" or "json".  level: the lowest that is written.
    colours: only on a terminal.
    """

    def __init__(self, fd: int, style: str, level: str, colours: bool, stamped: bool) -> None:
        self._fd = fd
        self._json = style == "json"
        self._level = _LEVELS.get(level, 20)
        self._colours = colours
        self._stamped = stamped
        self._pending: deque[bytes] = deque()
        self._lost = 0

    def say(self, text: str, level: str = "info", **identity: object) -> None:
        """One event; `identity` is worker=, gen=, pid= in this order."""
        if _LEVELS[level] < self._level:
            return
        line = (
            self._as_json(text, level, identity)
            if self._json
            else self._as_text(text, level, identity)
        )
        self._write(line)

    def banner(self, line: str) -> None:
        """A line for people; a program that reads JSON gets it as an event."""
        if self._json:
            self.say(line.strip())
        else:
            self._write(_clean(line))

    def fail(self, text: str) -> None:
        """Why the whole instance ends: the guilty first, then the remedy, no decoration."""
        if self._json:
            self.say(text, "critical")
        else:
            self._write("leeward: " + "\n".join(_clean(line) for line in text.splitlines()))

    def _write(self, text: str) -> None:
        """Text as it stands, in pieces that a pipe takes whole."""
        data = (text + "\n").encode("utf-8", "backslashreplace")
        for start in range(0, len(data), _LONGEST):
            if len(self._pending) >= _PENDING:
                self._lost += 1
            else:
                self._pending.append(data[start : start + _LONGEST])
        self.flush()

    def flush(self) -> bool:
        """Writes what can be written now.  True when nothing is left to write."""
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        while self._pending:
            if not any(events & select.POLLOUT for _, events in poll.poll(0)):
                return self._gone(poll)
            line = self._pending[0]
            try:
                written = os.write(self._fd, line)
            except OSError as error:
                if error.errno == errno.EAGAIN:
                    return False
                # Full disk, no reader, closed: the line is lost, and counted.
                self._lost += 1
                written = len(line)
            else:
                if self._lost and written == len(line):
                    lost, self._lost = self._lost, 0
                    self._pending.append(f"leeward: {lost} lines could not be written\n".encode())
            if written < len(line):
                self._pending[0] = line[written:]
            else:
                self._pending.popleft()
        return True

    def _gone(self, poll: select.poll) -> bool:
        """No reader any more?  Then nothing will ever be written: drop it."""
        if any(e & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for _, e in poll.poll(0)):
            self._lost += len(self._pending)
            self._pending.clear()
            return True
        return False

    def _as_text(self, text: str, level: str, identity: dict[str, object]) -> str:
        who = " ".join(f"{key}={value}" for key, value in identity.items())
        stamp = time.strftime("%Y-%m-%d %H:%M:%S ") if self._stamped else ""
        body = _clean(f"{who} {text}" if who else text)
        if self._colours and level in _COLOURS:
            body = f"{_COLOURS[level]}{body}\x1b[0m"
        return f"{stamp}{body}"

    def _as_json(self, text: str, level: str, identity: dict[str, object]) -> str:
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        line = {
            "time": f"{stamp}.{int(now % 1 * 1000):03d}Z",
            "level": level,
            "logger": "leeward",
            "message": text,
            **identity,
        }
        return json.dumps(line)


def voice(log_format: str, level: str, terminal: bool) -> Voice:
    """The supervisor's voice on stderr, as the settings and the surroundings ask for.

    `auto` is pretty; journald stamps lines itself (JOURNAL_STREAM, systemd.exec(5)).
    """
    colours = terminal and "NO_COLOR" not in os.environ
    stamped = terminal or "JOURNAL_STREAM" not in os.environ
    style = "json" if log_format == "json" else "pretty"
    return Voice(2, style, level, colours, stamped)
