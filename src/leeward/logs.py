"""A `logging.Handler` that several processes may share.

    handler = leeward.logs.Handler("app.log", maxBytes=10_000_000, backupCount=5)
    logging.getLogger().addHandler(handler)

In a worker each record goes into the worker's log ring, and the collector writes it:
no line is lost, doubled or torn when workers or the collector are killed, or the file is rotated.
The event loop never waits for a disk or a reader; only an ERROR waits, up to 50 ms, when
the ring is full.  Anywhere else, in ``python app.py`` and in tests, it is one of
`logging`'s own file or stream handlers.
"""

from __future__ import annotations

import copy
import logging
import logging.handlers
import os
from typing import TYPE_CHECKING, Any

from leeward._core.sinks import Spec
from leeward._core.slots import with_slot
from leeward._sys import lines
from leeward._sys.sharing import SharedStream

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Set in every process of an instance, and in what those start.
_INSTANCE = "LEEWARD_INSTANCE"
_WHENS = ("", "midnight")

#: Where lines without a file go in this process: that of --log-file, or stderr.
_default = b""


def attach(spec: bytes) -> None:
    """This process is a worker whose own lines go to the sink of `spec`."""
    global _default
    _default = spec


class Handler(logging.Handler):
    """filename:     relative to the directory that one is in now; None: where leeward's own
                  lines go, as a rule stderr.
    maxBytes, backupCount:  as of `logging.handlers.RotatingFileHandler`.
    when:         "midnight", as of `TimedRotatingFileHandler`, with utc and backupCount.
    per_worker:   a file for each worker: app.log becomes app.w2.log in that of slot 2.

    Without a formatter of its own its lines look as leeward's: time, level, identity, logger.
    Control characters, line ends in a message among them, are escaped whatever the formatter;
    further lines of a record, those of a traceback, begin by ``| ``.

    Raises ValueError for what cannot be meant.
    """

    terminator = "\n"

    def __init__(
        self,
        filename: str | os.PathLike[str] | None = None,
        maxBytes: int = 0,
        backupCount: int = 0,
        when: str = "",
        utc: bool = False,
        encoding: str = "utf-8",
        per_worker: bool = False,
        level: int | str = logging.NOTSET,
    ) -> None:
        super().__init__(level)
        when = when.lower()
        if when not in _WHENS:
            raise ValueError(f'when={when!r}: "midnight", or nothing')
        if when and maxBytes:
            raise ValueError("a file is rotated by when or by maxBytes, not by both")
        if filename is None and (when or maxBytes or per_worker):
            raise ValueError("without a filename there is nothing to rotate")
        if maxBytes < 0 or backupCount < 0:
            raise ValueError(f"maxBytes={maxBytes}, backupCount={backupCount}: expected 0 or more")
        if filename is not None and b"\0" in os.fsencode(filename):
            raise ValueError(f"no file can be called {filename!r}")
        self.filename = None if filename is None else os.path.abspath(os.fspath(filename))
        self.maxBytes = maxBytes
        self.backupCount = backupCount
        self.when = when
        self.utc = utc
        self.encoding = encoding
        self.per_worker = per_worker
        self._stream: SharedStream | None = None
        self._plain: logging.StreamHandler[Any] | None = None
        self._pid = 0
        self._look = lines.Look("pretty", -1 if self.filename else 2)
        if self.filename:
            self._look.stamped = True  # who else would say when, in a file

    # --- a record ----------------------------------------------------------------------------

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record) + self.terminator
            if _INSTANCE not in os.environ:
                self._emit_plainly(record, text)
                return
            stream = self._shared()
            stream.level = record.levelno
            stream.write(text)
            stream.flush()
        except Exception:
            self.handleError(record)

    def format(self, record: logging.LogRecord) -> str:
        """The record, in one line but for a traceback, without its end."""
        if self.formatter is None:
            raised = record.exc_info
            trace = _TRACES.formatException(raised) if raised and raised[0] else ""
            if record.stack_info:
                trace = f"{trace}\n{record.stack_info}".strip("\n")
            message, level = record.getMessage(), record.levelname.lower()
            made = self._look.render(
                record.created, level, _identity(), record.name, message, trace
            )
            return made[:-1]
        message = record.getMessage()
        if not message.isprintable():
            record = copy.copy(record)  # 10 µs, so not each time
            record.msg, record.args = lines.clean(message), None
        text = self.formatter.format(record)
        if text.isprintable():
            return text
        first, *rest = text.split("\n")
        return "\n".join([lines.clean(first), *(f"| {lines.clean(it)}" for it in rest)])

    # --- in a process of an instance --------------------------------------------------------

    def _shared(self) -> SharedStream:
        if self._stream is not None and self._pid != os.getpid():
            self._stream.abandon()
            self._stream = None
        if self._stream is None:
            self._pid = os.getpid()
            self._stream = self._open()
        return self._stream

    def _open(self) -> SharedStream:
        if self.filename is None:
            return SharedStream("", _default or Spec("stderr").to_json(), self.encoding, _ERRORS)
        spec = Spec(
            "file",
            self._path(self.filename),
            # Its own rule is `size + octets >= maxBytes`, the collector's is `>`.
            rotate_bytes=max(1, self.maxBytes - 1) if self.maxBytes and self.backupCount else 0,
            rotate_every="daily" if self.when else "",
            utc=self.utc,
            keep=self.backupCount,
            suffix="%Y-%m-%d" if self.when else "",
        )
        return SharedStream(spec.path, spec.to_json(), self.encoding, _ERRORS)

    def _path(self, path: str) -> str:
        slot = os.environ.get("LEEWARD_SLOT", "")
        return with_slot(path, int(slot)) if self.per_worker and slot else path

    # --- elsewhere ---------------------------------------------------------------------------

    def _emit_plainly(self, record: logging.LogRecord, text: str) -> None:
        if self._plain is None:
            self._plain = self._make_plain()
            self._plain.setFormatter(_Finished())
            self._plain.terminator = ""
        finished = copy.copy(record)
        finished.msg = text
        self._plain.emit(finished)

    def _make_plain(self) -> logging.StreamHandler[Any]:
        if self.filename is None:
            return logging.StreamHandler()
        if self.when:
            return logging.handlers.TimedRotatingFileHandler(
                self.filename,
                self.when,
                backupCount=self.backupCount,
                encoding=self.encoding,
                utc=self.utc,
                errors=_ERRORS,
            )
        return logging.handlers.RotatingFileHandler(
            self.filename,
            maxBytes=self.maxBytes,
            backupCount=self.backupCount,
            encoding=self.encoding,
            errors=_ERRORS,
        )

    # --- the end -----------------------------------------------------------------------------

    def flush(self) -> None:
        if self._plain is not None:
            self._plain.flush()

    def close(self) -> None:
        """A record that comes later opens it anew."""
        self.acquire()
        try:
            if self._plain is not None:
                self._plain.close()
            if self._stream is not None:
                self._stream.close()
            self._plain = self._stream = None
        finally:
            self.release()
        super().close()


class _Finished(logging.Formatter):
    """For a line that is complete."""

    def format(self, record: logging.LogRecord) -> str:
        return str(record.msg)


_ERRORS = "backslashreplace"
_TRACES = logging.Formatter()


def _identity() -> Mapping[str, object]:
    """``worker=2 gen=5 pid=4711``; of a process that is no worker its pid."""
    environ = os.environ
    who: dict[str, object] = {}
    if "LEEWARD_SLOT" in environ:
        who["worker"] = environ["LEEWARD_SLOT"]
        who["gen"] = environ.get("LEEWARD_GENERATION", "")
    who["pid"] = os.getpid()
    return who
