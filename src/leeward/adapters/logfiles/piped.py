"""Handlers of `logging` that write to a pipe: what it would not take whole goes by the ring.

`StreamHandler.emit` is exchanged, as FileHandlers and lastResort end in it too: the
application's handlers keep their streams.  A line that is short costs 0.1 µs more.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from typing import Any

from leeward._sys import longlines

_EMIT = logging.StreamHandler.emit


def install(tell: Callable[[], object]) -> None:
    """From now on no line is torn.  tell:  called when the first one goes by the ring."""
    handler: Any = logging.StreamHandler
    handler.emit = _emitter(tell)


def uninstall() -> None:
    """For tests."""
    handler: Any = logging.StreamHandler
    handler.emit = _EMIT


def _emitter(tell: Callable[[], object]) -> Callable[[Any, logging.LogRecord], None]:
    told = False

    def emit(self: Any, record: logging.LogRecord) -> None:
        """Emit a record, as `logging.StreamHandler` does."""
        nonlocal told
        try:
            text = self.format(record) + self.terminator
            stream = self.stream
            if (len(text) > longlines.SHORT or longlines.behind()) and _by_ring(self, record, text):
                if not told:
                    told = True
                    tell()
                return
            stream.write(text)
            self.flush()
        except RecursionError:
            raise
        except Exception:
            self.handleError(record)

    emit.__qualname__, emit.__module__ = _EMIT.__qualname__, __name__
    return emit


def _by_ring(handler: Any, record: logging.LogRecord, text: str) -> bool:
    """Did it go that way?  Raises OSError and ValueError as the stream would."""
    stream = handler.stream
    if type(stream) is not io.TextIOWrapper:
        return False  # whatever its `write` does with a text
    try:
        fd = stream.fileno()
    except (OSError, ValueError):
        return False
    pipe = longlines.of(fd, getattr(handler, "baseFilename", ""))
    if pipe is None:
        return False
    data = text.encode(stream.encoding, stream.errors or "strict")
    if len(data) <= longlines.MOST and not pipe.is_behind():
        return False
    handler.flush()  # what was printed before
    return pipe.put(record.levelno or logging.INFO, data)
