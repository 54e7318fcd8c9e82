"""What a worker prints: its own lines, and the application's records.

Both carry the identity ``worker=2 gen=5 pid=4711`` and go to descriptor 2 in
one write per record.  Leeward's own lines do not pass through `logging`: they
look the same whatever the application does with its loggers.

The application's records are printed by a handler on the root logger, and only
if the application left the root logger without one.
"""

from __future__ import annotations

import json
import logging
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}

_COLOURS = {"debug": "2", "warning": "33", "error": "31", "critical": "1;31"}

#: Control characters (C0, DEL, C1) and the two separators that terminals and
#: log readers may take for line ends, each as its escape.
_ESCAPES = {
    code: f"\\x{code:02x}" for code in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if code != 0x09
} | {0x0A: "\\n", 0x0D: "\\r", 0x1B: "\\e", 0x2028: "\\u2028", 0x2029: "\\u2029"}


class Log:
    """Leeward's own lines in a worker, and the format of all.

    slot, generation:  the identity; the pid is asked for each line, because a
                       process that the application forks prints under its own.
    level:             lines below it are not printed.
    form:              auto | pretty | json; auto is pretty, coloured on a terminal.
    """

    def __init__(self, slot: int, generation: int, level: str, form: str, fd: int = 2) -> None:
        self.slot = slot
        self.generation = generation
        self.level = LEVELS[level]
        self.json = form == "json"
        self.fd = fd
        try:
            self.colour = not self.json and os.isatty(fd) and "NO_COLOR" not in os.environ
        except OSError:
            self.colour = False

    def say(self, level: str, text: str) -> None:
        """Print a line of leeward's own.  Never raises."""
        if LEVELS[level] >= self.level:
            self.write(self.render(time.time(), level, "leeward", text, ""))

    def render(self, when: float, level: str, name: str, text: str, trace: str) -> str:
        """One record, complete with its line ends."""
        if self.json:
            return self._as_json(when, level, name, text, trace)
        return "".join(f"{line}\n" for line in self._as_lines(when, level, name, text, trace))

    def _as_json(self, when: float, level: str, name: str, text: str, trace: str) -> str:
        record = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(when))
            + f".{int(when % 1 * 1000):03d}Z",
            "level": level,
            "worker": self.slot,
            "gen": self.generation,
            "pid": os.getpid(),
            "logger": name,
            "message": text,
        }
        if trace:
            record["exception"] = trace
        return json.dumps(record, separators=(",", ":")) + "\n"

    def _as_lines(self, when: float, level: str, name: str, text: str, trace: str) -> Iterator[str]:
        clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))
        who = f"worker={self.slot} gen={self.generation} pid={os.getpid()}"
        label = f"{level:<8}"
        if self.colour and level in _COLOURS:
            label = f"\x1b[{_COLOURS[level]}m{label}\x1b[0m"
        yield (
            f"{clock}.{int(when % 1 * 1000):03d} {label} {who} "
            f"{name.translate(_ESCAPES)}: {text.translate(_ESCAPES)}"
        )
        for line in trace.split("\n") if trace else ():
            yield f"{who} | {line.translate(_ESCAPES)}"

    def write(self, text: str) -> None:
        """Write all of `text`, or as much as can be: a full disk, a closed pipe and
        a non-blocking pipe that nobody reads are no reason to fail a request."""
        data = text.encode("utf-8", "backslashreplace")
        try:
            while data:
                data = data[os.write(self.fd, data) :]
        except OSError:
            return


class Printer(logging.Handler):
    """Prints the application's records through a `Log`."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self.log = log

    def filter(self, record: logging.LogRecord) -> bool | logging.LogRecord:  # type: ignore[override]
        return False if printed_elsewhere(record.name) else super().filter(record)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            trace = ""
            if record.exc_info and record.exc_info[0] is not None:
                trace = _TRACES.formatException(record.exc_info)
            if record.stack_info:
                trace = f"{trace}\n{record.stack_info}" if trace else record.stack_info
            level = record.levelname.lower()
            message = record.getMessage()
            self.log.write(self.log.render(record.created, level, record.name, message, trace))
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """A record that cannot be formatted is told with its origin, never raised."""
        if logging.raiseExceptions:
            self.log.say(
                "error",
                f"cannot format a log record of {record.pathname}:{record.lineno}: "
                f"{str(record.msg)[:200]!r} with {len(record.args or ())} arguments",
            )


_TRACES = logging.Formatter()


def printed_elsewhere(name: str) -> bool:
    """Has a logger below the root on the way of `name` a handler of its own?

    A NullHandler is none: libraries put one on their loggers to keep silent.
    """
    logger = logging.Logger.manager.loggerDict.get(name)
    while isinstance(logger, logging.Logger) and logger.parent is not None:
        if any(not isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            return True
        logger = logger.parent
    return False


def install(log: Log) -> bool:
    """Print the application's records, unless it has seen to that itself.

    To be called after the application's factory.  True if a handler was added.
    """
    root = logging.getLogger()
    if root.handlers:
        return False
    root.addHandler(Printer(log))
    if root.level == logging.WARNING:  # Python's default: the application set none
        root.setLevel(log.level)
    return True
