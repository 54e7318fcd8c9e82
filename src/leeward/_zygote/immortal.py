"""No reference counts for what the program's text defines: its pages stay shared.

A worker that calls a function or makes an instance of a class counts a reference, which is a
write, and the kernel copies the page for it.  Objects that are *immortal* (PEP 683, Python 3.12
and newer) are not counted.  CPython has those that it defines itself; the zygote does the same
for the application's, just before it freezes.

Measured with numpy and pandas, four workers, 1000 requests: of its own a worker has 8.8 MiB and
not 11.6, the tree 112 and not 124, for 67,000 objects in 80 ms of a slow processor.

Only what holds nothing whose end anybody waits for: classes, functions without a closure, their
code with its constants, modules, and what extensions define.  What does not work: all objects
(0.8 MiB less for each worker), as files, sockets and weak references that the application drops
would never close.  Lists, other strings, closures and instances' attributes bring nothing.

CPython has no call for it before 3.15, so the counts themselves are written; and only where
objects that are immortal by definition, and one that is not, have the counts that they should.
Extensions built for an older stable ABI do count, down or up: after 2**31 times that makes an
object mortal, with so many references that it never ends (PEP 683, "Accidental
De-Immortalizing").
"""

from __future__ import annotations

import ctypes
import gc
import itertools
import sys
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

from leeward._zygote.objects import Inventory

#: What CPython 3.12 and 3.13 have in the low half of a count that never changes.
_IMMORTAL = 2**32 - 1
_VERSIONS = ((3, 12), (3, 13))
#: Words of four bytes, more than any machine has addresses for: x86-64 has 2**47 bytes for a
#: process, arm64 2**48.
_WORDS = 2**60
#: An object's hash is its address with the lowest four bits put on top.  All that is made at run
#: time has none there; of what an extension's file holds some have, 119 of 31,000, and are left.
_UNALIGNED = 2**60
_BY_DEFINITION = (None, True, (), "", b"", 0, object, type, int)

#: Exactly these: whoever derives from `property` may keep something.
_PLAIN = (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    ModuleType,
    WrapperDescriptorType,
    classmethod,
    property,
    staticmethod,
)
_CONSTANTS = frozenset((bytes, float, frozenset, tuple))


def immortalize(inventory: Inventory) -> int:
    """Have no process that is forked later count references to what the text defines.

    inventory:  among these.

    Returns the number of objects: 0 where this Python has no immortal ones, or has them
    otherwise (3.11, 3.14, free-threaded and some debug builds, big-endian machines).
    """
    if not _is_known():
        return 0
    # One array over all addresses, and `hash` for `id`: audit hooks are told of each `from_address`
    # and each `id`: 10 ms for 31,000.
    counts = (ctypes.c_uint32 * _WORDS).from_address(0)
    number = 0
    for place in map(object.__hash__, _defined(inventory)):
        if 0 <= place < _UNALIGNED:
            counts[place << 2] = _IMMORTAL
            number += 1
    return number


def _is_known() -> bool:
    """Are counts where, and immortal ones what, we take them for?"""
    if sys.implementation.name != "cpython" or sys.version_info[:2] not in _VERSIONS:
        return False
    mortal = object()
    counted = sys.getrefcount(mortal) - 1  # its own argument
    known = all(_count(id(it)) == _IMMORTAL for it in _BY_DEFINITION)
    placed = object.__hash__(mortal) << 4 == id(mortal)
    return known and placed and _count(id(mortal)) == counted


def _count(address: int) -> int:
    """The whole word there, as a little-endian machine has it."""
    return int.from_bytes(ctypes.string_at(address, 8), "little")


def _defined(inventory: Inventory) -> list[object]:
    distinct = inventory.types
    makers = {key for key, it in distinct.items() if any(base is type for base in it.__mro__)}
    plain = {key for key, it in distinct.items() if any(it is known for known in _PLAIN)}
    found: dict[Any, list[Any]] = {key: [] for key in makers | plain}
    for it, key in inventory.of(found):
        found[key].append(it)
    classes = [it for key in makers for it in found[key]]
    # Their own: names, bases, order of resolution.
    own = [it for it in gc.get_referents(*classes) if type(it) in (dict, tuple)]
    codes = []
    for key in plain:
        if distinct[key] is FunctionType:
            found[key] = [it for it in found[key] if it.__closure__ is None]
            codes = [it.__code__ for it in found[key]]
        elif distinct[key] is BuiltinFunctionType:
            # `[].append` is one too, and holds its list.
            found[key] = [
                it
                for it in found[key]
                if type(it.__self__) is ModuleType or type(it.__self__) is type
            ]
    constants = []
    for code in codes:  # which grows
        for it in code.co_consts:
            if type(it) is CodeType:
                codes.append(it)
            elif type(it) in _CONSTANTS:
                constants.append(it)
    return [*itertools.chain.from_iterable(found.values()), *own, *codes, *constants]
