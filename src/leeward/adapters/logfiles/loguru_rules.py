"""How the collector is to rotate as a sink of loguru would.

loguru makes functions of what it was told; what they mean is read from them.  Those of the
application, and what the collector does not know (other compressions than gz, a year, a name with
the time in it), are `None`: the sink then rotates by its own code.

Two things differ.  A file in which nothing stands is not put away; and "friday at 09:00" is that,
where loguru puts a file that was begun earlier on another day away at 09:00 of that day.
"""

from __future__ import annotations

import datetime
import functools
import math
import sys
from types import ModuleType
from typing import Any

from leeward._core.record import replace
from leeward._core.sinks import Spec
from leeward.adapters.logfiles.kinds import permissions

#: What a sink may have told `open` beside mode, buffering and encoding.
_OPENED_WITH = {"mode", "buffering", "encoding", "errors"}
_HOUR, _DAY, _WEEK = 3600, 86400, 604800
#: Octets, seconds, files: no number that is larger means anything.
_MOST = 1 << 40


def spec(sink: Any, path: str) -> Spec | None:
    """What the collector is told of the file at `path`; None: it cannot do the same."""
    try:
        return _spec(sink, path, sys.modules[type(sink).__module__])
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        return None  # another loguru than those we know, or a size of infinity


def empties(sink: Any) -> bool:
    """Would each process that opens the file empty it?"""
    return "w" in sink._kwargs["mode"]


def _spec(sink: Any, path: str, loguru: ModuleType) -> Spec | None:
    kwargs = sink._kwargs
    its_own = type(sink) is not loguru.FileSink or kwargs.keys() - _OPENED_WITH
    if its_own or kwargs["mode"] not in ("a", "w") or "{" in sink._path:
        return None
    plain = Spec("file", path, begun=True, permissions=permissions(path))
    rotates = sink._rotation_function is not None
    found = _rotated(sink._rotation_function, plain, loguru.Rotation) if rotates else plain
    for rule in (_kept, _compressed):
        if found is None:
            return None
        found = rule(sink, found, loguru)
    # Without a rotation they happen when the sink is stopped, which only the sink knows.
    return found if rotates or found == plain else None


def _rotated(function: Any, plain: Spec, rotation: Any) -> Spec | None:
    if isinstance(function, functools.partial) and function.func is rotation.rotation_size:
        octets = _whole(math.floor(function.keywords["size_limit"]))
        return None if octets is None else replace(plain, rotate_bytes=octets)
    if type(function) is not rotation.RotationTime:
        return None
    step, at = function._step_forward, function._time_init
    if at is None:
        return _periodic(step, plain, rotation)
    if at.microsecond or at.tzinfo not in (None, datetime.UTC):
        return None
    moment = (at.hour * 60 + at.minute) * 60 + at.second
    daily = replace(plain, utc=at.tzinfo is not None, when="MIDNIGHT", interval=_DAY, at=moment)
    if step is rotation.forward_day:
        return daily
    if isinstance(step, functools.partial) and step.func is rotation.forward_weekday:
        return replace(daily, when=f"W{step.keywords['weekday']}", interval=_WEEK)
    return None


def _periodic(step: Any, plain: Spec, rotation: Any) -> Spec | None:
    if isinstance(step, functools.partial) and step.func is rotation.forward_interval:
        seconds = _whole(step.keywords["interval"].total_seconds())
        return None if seconds is None else replace(plain, when="S", interval=seconds)
    frequencies = sys.modules["loguru._string_parsers"].Frequencies
    for every in ("hourly", "daily", "weekly", "monthly"):
        if step is getattr(frequencies, every):
            return replace(plain, rotate_every=every)
    return None


def _kept(sink: Any, found: Spec, loguru: ModuleType) -> Spec | None:
    function = sink._retention_function
    if function is None:
        return found
    if isinstance(function, functools.partial):
        if function.func is loguru.Retention.retention_count:
            number = _whole(function.keywords["number"])
            return None if number is None else replace(found, keep=number)
        if function.func is loguru.Retention.retention_age:
            seconds = _whole(function.keywords["seconds"])
            return None if seconds is None else replace(found, keep_for=seconds)
    return None


def _compressed(sink: Any, found: Spec, loguru: ModuleType) -> Spec | None:
    function = sink._compression_function
    if function is None:
        return found
    if isinstance(function, functools.partial) and function.func is loguru.Compression.compression:
        return replace(found, compress=True) if function.keywords["ext"] == ".gz" else None
    return None


def _whole(number: Any) -> int | None:
    """It as a whole number above 0; None where it is none, or has no meaning."""
    return int(number) if 1 <= number < _MOST and number == int(number) else None
