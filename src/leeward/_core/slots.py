"""The slot in names of files: ``app.w2.log``."""

from __future__ import annotations


def with_slot(path: str, slot: int) -> str:
    """`path` with the slot before the last extension, or at the end.

    >>> with_slot("/var/log/app.log", 2)
    '/var/log/app.w2.log'
    >>> with_slot("/var/log.d/app", 2)
    '/var/log.d/app.w2'
    """
    folder, slash, name = path.rpartition("/")
    stem, dot, extension = name.rpartition(".")
    if not stem:  # no extension, or a hidden file without one
        stem, dot, extension = name, "", ""
    return f"{folder}{slash}{stem}.w{slot}{dot}{extension}"
