"""Objects that must never be freed, not even while the interpreter ends."""

from __future__ import annotations


def keep_for_ever(thing: object) -> None:
    """Have `thing` live as long as the process.

    For generators that a forked child has inherited: freeing one throws GeneratorExit into
    it, and its `finally` would say goodbye on its parent's connection.  A module's list does
    not do: it is freed when the interpreter ends.
    """
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
