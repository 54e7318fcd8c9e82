"""What a handler of `logging` does with its file, and which way its lines go therefore.

LEAVE      it appends, or is no file: right as it is
SHARED     it rotates by rules that the collector has too, or would empty the file
EXCLUSIVE  it rotates by code that only it has
"""

from __future__ import annotations

import logging
import os
import stat
from enum import Enum
from logging.handlers import BaseRotatingHandler, RotatingFileHandler, TimedRotatingFileHandler
from typing import Any

from leeward._core.rollover import WHENS, pattern
from leeward._core.sinks import Spec


class Way(Enum):
    LEAVE = "left as it is"
    SHARED = "written and rotated by the collector"
    EXCLUSIVE = "rotated by its own code, one worker at a time"


#: Seconds: the end of a day.
_DAY = 86400

#: What a handler rotates by.  A subclass that has one of its own knows something that the
#: collector does not.
_ROTATION = (
    "doRollover",
    "shouldRollover",
    "rotate",
    "rotation_filename",
    "computeRollover",
    "getFilesToDelete",
    "_open",
)

#: Rotating handlers that see to several processes themselves.
_SAFE = ("concurrent_log_handler",)


def way(handler: logging.FileHandler) -> Way:
    """Which way its lines go.  It is complete: its constructor has returned."""
    if type(handler).__module__.partition(".")[0] in _SAFE:
        return Way.LEAVE
    if isinstance(handler, BaseRotatingHandler) and rotates(handler):
        return Way.EXCLUSIVE if spec(handler) is None else Way.SHARED
    return Way.SHARED if empties(handler) and not opens_itself(handler) else Way.LEAVE


def opens_itself(handler: logging.FileHandler) -> bool:
    """Has its class its own idea of a stream?"""
    return type(handler)._open is not logging.FileHandler._open


def empties(handler: logging.FileHandler) -> bool:
    """Would each process that opens the file empty it?"""
    return "w" in handler.mode and "+" not in handler.mode and "b" not in handler.mode


def rotates(handler: logging.FileHandler) -> bool:
    """A RotatingFileHandler does not where it has no size, or nowhere to put the old file."""
    if has_its_own(handler) or not isinstance(handler, RotatingFileHandler):
        return isinstance(handler, BaseRotatingHandler)
    return handler.maxBytes > 0 and handler.backupCount > 0


def has_its_own(handler: logging.FileHandler) -> bool:
    """Does it rotate by code of the application?"""
    for base in (RotatingFileHandler, TimedRotatingFileHandler):
        if isinstance(handler, base):
            names = [it for it in _ROTATION if hasattr(base, it)]
            own = any(getattr(type(handler), it) is not getattr(base, it) for it in names)
            named: Any = handler
            patched = any(it in vars(handler) for it in _ROTATION)
            return own or patched or named.namer is not None or named.rotator is not None
    return True


def spec(handler: logging.FileHandler) -> Spec | None:
    """How the collector is to rotate as this handler would; None: it cannot.

    The handler's own rule is `size + octets >= maxBytes`, the collector's is `>`.
    """
    path, rotating = handler.baseFilename, isinstance(handler, BaseRotatingHandler)
    if not rotating or not rotates(handler):
        return Spec("file", path, permissions=permissions(path))
    if has_its_own(handler):
        return None
    if isinstance(handler, RotatingFileHandler):
        return Spec(
            "file",
            path,
            rotate_bytes=max(1, handler.maxBytes - 1),
            keep=handler.backupCount,
            permissions=permissions(path),
        )
    assert isinstance(handler, TimedRotatingFileHandler)
    at = handler.atTime
    if handler.when not in WHENS or handler.interval < 1 or handler.interval % 1:
        return None
    if handler.backupCount > 0 and pattern(handler.suffix) is None:
        return None  # which files are its old ones only `extMatch` may know
    return Spec(
        "file",
        path,
        when=handler.when,
        interval=int(handler.interval),
        at=_DAY if at is None else (at.hour * 60 + at.minute) * 60 + at.second,
        due=int(getattr(handler, "rolloverAt", 0)),
        utc=bool(handler.utc),
        keep=max(0, handler.backupCount),  # of the standard library any number below 1 is all
        suffix=handler.suffix,
        permissions=permissions(path),
    )


def permissions(path: str) -> int:
    """Of the file as it is; those that the collector gives to the next one."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return 0o644
