"""Is a function of Tornado's the one that we know?

Two things must agree.  Where the function is looked up there must be a plain function
that belongs there: not a wrapper, which may wear the name and the source of what it
wraps.  And its code must be one of the released Tornados' (`accelerate.table`): names,
constants and bytecode, so that a backport or a fork is noticed too.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import sys
from types import CodeType, FunctionType
from typing import Any

from leeward.engine.accelerate.table import KNOWN

_LRU = type(functools.lru_cache(int))
_RUNNING = f"{sys.version_info[0]}.{sys.version_info[1]}"


def pristine(path: str) -> bool:
    """Is ``module:Class.function`` (or ``module:function``) as Tornado made it?"""
    function = find(path)
    return function is not None and fingerprint(function) in known(path)


def known(path: str) -> frozenset[str]:
    """The fingerprints of `path` in the Tornados that we know, on this Python."""
    return KNOWN.get(_RUNNING, {}).get(path, frozenset())


def find(path: str) -> FunctionType | None:
    """The function, if it is a plain one and at home where it is found."""
    name, _, qualified = path.partition(":")
    module = importlib.import_module(name)
    *classes, last = qualified.split(".")
    holder: Any = module
    for each in classes:
        holder = vars(holder).get(each)
        if not isinstance(holder, type):
            return None
    found = vars(holder).get(last)
    if type(found) is _LRU:
        found = found.__wrapped__
    elif type(found) is classmethod:
        found = found.__func__
    if type(found) is not FunctionType or found.__globals__ is not vars(module):
        return None
    if found.__qualname__ != qualified or hasattr(found, "__wrapped__"):
        return None
    return found


def fingerprint(function: FunctionType) -> str:
    return _fingerprint(function.__code__)


@functools.lru_cache(1024)
def _fingerprint(code: CodeType) -> str:
    # Kept, as a worker asks for the same 70 at its start and when it is ready: 2 ms.
    return hashlib.sha256(repr(_shape(code)).encode()).hexdigest()[:16]


def _shape(code: CodeType) -> tuple[object, ...]:
    # Not line numbers, nor the file's name; docstrings are constants and count.
    return (
        code.co_code,
        tuple(_constant(it) for it in code.co_consts),
        code.co_names,
        code.co_varnames,
        code.co_freevars,
    )


def _constant(value: object) -> object:
    if isinstance(value, CodeType):
        return _shape(value)
    if isinstance(value, frozenset):  # its order differs from run to run
        return sorted(map(repr, value))
    if isinstance(value, tuple):
        return [_constant(it) for it in value]
    return repr(value)
