"""What a worker prints: its own lines, and the application's records.

Both carry the identity ``worker=2 gen=5 pid=4711`` and go to descriptor 2 in
one write per record.  Leeward's own lines do not pass through `logging`: they
look the same whatever the application does with its loggers.

The application's records are printed by a handler on the root logger, and only
if the application left the root logger without one.
"""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING

from leeward._core import logrings
from leeward._sys import lines, whole
from leeward._worker.batch import Batch, marked

if TYPE_CHECKING:
    from leeward._worker.ringed import Outlet

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}

#: The logger on which Tornado tells of requests.
ACCESS = "tornado.access"


class Log:
    """Leeward's own lines in a worker, and the look of all.

    slot, generation:  the identity; the pid is asked for each line, because a
                       process that the application forks prints under its own.
    level:             lines below it are not printed.
    form:              auto | pretty | json.
    outlet:            takes all lines; None: they are written to `fd`, by `batch`.
    terminal:          `fd` leads to one, through a pipe.
    mark:              in front of each line on its way there (`leeward._core.capturing`).
    """

    def __init__(
        self,
        slot: int,
        generation: int,
        level: str,
        form: str,
        fd: int = 2,
        outlet: Outlet | None = None,
        terminal: bool = False,
        mark: str = "",
    ) -> None:
        self.slot = slot
        self.generation = generation
        self.level = LEVELS[level]
        self.fd = fd
        self.outlet = outlet
        self.terminal = terminal
        self.mark = mark
        self.look = self.look_of(form)
        #: None where there is an outlet, and in a process that the application forked.
        self.batch = Batch(fd, self._lost, mark) if outlet is None else None

    def say(self, level: str, text: str) -> None:
        """Print a line of leeward's own.  Never raises and never waits for long."""
        if LEVELS[level] < self.level:
            return
        self.write(self.render(time.time(), level, lines.OURS, text, ""), LEVELS[level])

    def render(self, when: float, level: str, name: str, text: str, trace: str) -> str:
        """One record, complete with its line ends."""
        return self.look.render(when, level, self.identity(), name, text, trace)

    def identity(self) -> dict[str, int]:
        return {"worker": self.slot, "gen": self.generation, "pid": os.getpid()}

    def look_of(self, form: str) -> lines.Look:
        """How lines of this form look where they go."""
        if self.outlet is None:
            return lines.Look(form, self.fd, self.terminal)
        look = lines.Look(form, -1)
        look.stamped = True  # who else would say when, in a file
        return look

    def write(self, text: str, level: int = logging.INFO) -> None:
        """Print one record.  A full disk, a closed pipe and one that nobody reads are no reason
        to fail a request, or to hold one up."""
        if self.outlet is not None:
            self.outlet.write(level, text.encode("utf-8", "backslashreplace"))
        elif self.batch is not None:
            self.batch.write(level, text)
        else:
            self._write_as_a_child(text)

    def _write_as_a_child(self, text: str) -> None:
        """And wait for the reader: nobody would come back to what it has not taken."""
        data = marked(text, self.mark).encode("utf-8", "backslashreplace")
        try:
            while data:
                data = data[whole.write(self.fd, data) :]
        except OSError:
            return

    def _lost(self, counts: tuple[int, ...], why: str) -> str:
        text = logrings.telling(counts, f"lost ({why})")
        return self.render(time.time(), "warning", lines.OURS, text, "")

    def end(self, patience: float) -> None:
        """The process ends: wait up to `patience` seconds for the reader of what is left."""
        if self.batch is not None:
            self.batch.end(patience)

    def abandon(self) -> None:
        """In a process that the application forked: what the worker has not written is not ours."""
        if self.batch is not None:
            self.batch.abandon()
        self.batch = self.outlet = None


class Printer(logging.Handler):
    """Prints the application's records through a `Log`.  access:  those of requests too."""

    def __init__(self, log: Log, access: bool = True) -> None:
        super().__init__()
        self.log = log
        self.access = access

    def filter(self, record: logging.LogRecord) -> bool | logging.LogRecord:  # type: ignore[override]
        if record.name == ACCESS and not self.access:
            return False
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
            text = self.log.render(record.created, level, record.name, message, trace)
            self.log.write(text, record.levelno)
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """A record that cannot be formatted is told with its origin, never raised."""
        if logging.raiseExceptions:
            what = _message_of(record)
            where = f"{record.pathname}:{record.lineno}"
            self.log.say("error", f"cannot format a log record of {where}: {what}")


_TRACES = logging.Formatter()


def _message_of(record: logging.LogRecord) -> str:
    """What is to be formatted, which may be what cannot be: an exception without a text."""
    try:
        return f"{str(record.msg)[:200]!r} with {len(record.args or ())} arguments"
    except Exception as error:
        return f"a {type(record.msg).__qualname__}, whose text raises {type(error).__name__}"


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


def install(log: Log, access: bool = True) -> Printer | None:
    """Print the application's records, unless it has seen to that itself.

    To be called after the application's factory.  The handler that was added, if one was.
    """
    root = logging.getLogger()
    if root.handlers:
        return None
    printer = Printer(log, access)
    root.addHandler(printer)
    if root.level == logging.WARNING:  # Python's default: the application set none
        root.setLevel(log.level)
    return printer


def tune(log: Log, level: str) -> None:
    """Another level from now on, of the application's records too if it left that to us."""
    root = logging.getLogger()
    ours = any(isinstance(it, Printer) for it in root.handlers) and root.level == log.level
    log.level = LEVELS[level]
    if ours:
        root.setLevel(log.level)
