"""What the parts of an audit look at, and what they hand in."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from leeward._core.hazards import Hazard
from leeward._zygote.objects import scan
from leeward._zygote.origins import NOWHERE, Origins, Site, holders
from leeward._zygote.watch import Watch

#: Characters of each part of a hazard.
_LONGEST = 300


@dataclass(frozen=True)
class Found:
    """A hazard before it is known who holds it.  it: the object to ask for."""

    code: str
    what: str
    site: Site = NOWHERE
    it: object = None
    key: str = ""


@dataclass
class Look:
    """own: descriptors that were there before the import.  watch: what was written down.

    taken:  threads, processes and descriptors that belong to something that has been told.
    """

    own: frozenset[int]
    watch: Watch
    objects: dict[str, list[Any]] = field(default_factory=scan)
    threads: set[int] = field(default_factory=set)  # ids of Thread objects
    processes: set[int] = field(default_factory=set)  # pids
    descriptors: set[int] = field(default_factory=set)

    @property
    def origins(self) -> Origins:
        return self.watch.origins


def named(found: Iterable[Found], origins: Origins) -> list[Hazard]:
    """With who holds each, asked for all of them at once."""
    found = list(found)
    held = holders((it.it for it in found if it.it is not None), origins) if found else {}
    hazards = []
    for it in found:
        holder = held.get(id(it.it)) if it.it is not None else None
        where = it.site.where or (holder.where if holder else "")
        who = holder.words if holder else ""
        what, at, library, by = map(_printable, (it.what, where, it.site.library, who))
        hazards.append(Hazard(it.code, what, at, library, by, it.key))
    return hazards


def _printable(text: str) -> str:
    """In one line of a bounded length, whatever a thread or a file is called."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text[:_LONGEST])
    return text if len(text) < _LONGEST else text[: _LONGEST - 1] + "…"


def key(fd: int) -> str:
    """ "7:48213": a descriptor, and what it is that it stands for."""
    return f"{fd}:{os.fstat(fd).st_ino}"
