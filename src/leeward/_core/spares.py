"""The name of a spare in the process list: by it others know what it is, and whose."""

from __future__ import annotations

import re

_NAME = re.compile(r"spare ([0-9]+)")


def name(zygote: int) -> str:
    """At most 15 bytes, which is what the kernel keeps."""
    return f"spare {zygote}"


def zygote_of(comm: str | None) -> int | None:
    """Its zygote's pid, if a process of this name is a spare."""
    found = _NAME.fullmatch(comm or "")
    return int(found[1]) if found else None
