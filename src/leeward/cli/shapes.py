"""Is an answer what a supervisor of ours would say?

Root asks everybody's, and a newer or older leeward is asked too: what it says is looked at before
anybody reads it, so that one that says something else is a line and no traceback, and nobody is
sent to another file than that of a process.

A shape is one of the functions here, a list of one shape, or a dict: its keys, of which those
with "?" may be missing or null; `{text: shape}` for any keys.
"""

from __future__ import annotations

from typing import Any

#: PID_MAX_LIMIT of the kernel.
_PIDS = 1 << 22
#: What 64 bits hold; beyond it a number cannot even be printed.
_COUNTS = 1 << 64
#: Seconds, either way.
_LONG = 1e12
#: Of a list: more than any instance has workers.
_MOST = 1 << 16


def text(found: object) -> bool:
    return type(found) is str


def flag(found: object) -> bool:
    return type(found) is bool


def count(found: object) -> bool:
    return type(found) is int and 0 <= found < _COUNTS


def pid(found: object) -> bool:
    return type(found) is int and 0 <= found <= _PIDS


def seconds(found: object) -> bool:
    # Neither infinite nor NaN, which JSON has none of and json.loads reads.
    return type(found) in (int, float) and -_LONG < found < _LONG  # type: ignore[operator]


def fault(found: Any, shape: Any, where: str = "its answer") -> str:
    """What is wrong about `found`; "" for nothing."""
    if isinstance(shape, list):
        if type(found) is not list or len(found) > _MOST:
            return f"{where} is no list"
        return next(filter(None, (fault(it, shape[0], where) for it in found)), "")
    if isinstance(shape, dict):
        return _fault_of_keys(found, shape, where)
    return "" if shape(found) else f"{where} is no {shape.__name__}: {found!r:.40}"


def _fault_of_keys(found: Any, shape: dict[Any, Any], where: str) -> str:
    if type(found) is not dict:
        return f"{where} is no object"
    if text in shape:
        return next(filter(None, (fault(it, shape[text], where) for it in found.values())), "")
    for key, inner in shape.items():
        name = key.removesuffix("?")
        value = found.get(name)
        if value is None and name != key:
            continue
        if wrong := fault(value, inner, f"{name!r} of {where}"):
            return wrong
    return ""
