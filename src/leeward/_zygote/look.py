"""What the parts of an audit look at, and what they hand in."""

from __future__ import annotations

import functools
import os
import stat
import threading
from collections.abc import Iterable
from typing import Any

from leeward._core.hazards import Hazard
from leeward._core.record import Record, Struct, field
from leeward._sys import procfs
from leeward._zygote.objects import is_closed, scan
from leeward._zygote.origins import NOWHERE, Origins, Site, holders
from leeward._zygote.watch import Watch, is_long, note_of

#: Characters of each part of a hazard.
_LONGEST = 300


class Found(Record):
    """A hazard before it is known who holds it.  it: the object to ask for."""

    code: str
    what: str
    site: Site = NOWHERE
    it: object = None
    key: str = ""
    vague: bool = False  # who holds it knows the line better


class Look(Struct):
    """own: descriptors that were there before the import.  watch: what was written down.

    taken:  threads, processes and descriptors that belong to something that has been told.
    """

    own: frozenset[int]
    watch: Watch
    objects: dict[str, list[Any]] = field(default_factory=scan)
    threads: set[int] = field(default_factory=set)  # ids of Thread objects
    processes: set[int] = field(default_factory=set)  # pids
    descriptors: set[int] = field(default_factory=set)
    native: set[tuple[str, str]] = field(default_factory=set)  # a thread's libraries, its line
    pipes: set[int] = field(default_factory=set)  # ids of queues and their ends

    @functools.cached_property
    def background(self) -> frozenset[str]:
        """The lines that have started the threads that run now."""
        sites = [note_of(self.watch.threads, it, NOWHERE) for it in threading.enumerate()]
        native = procfs.threads_of(os.getpid())
        sites += [it for tid in native if (it := self.watch.lines.threads.get(tid, NOWHERE))]
        return frozenset(site.where for site in sites if site.where)

    @functools.cached_property
    def clients(self) -> list[Any]:
        """Those that are open, or do not tell."""
        return [it for it in self.objects["client"] if not is_closed(it)]

    def is_typed(self, seed: Any) -> bool:
        """Was it pasted: does it stand in the application's source?"""
        if not is_long(seed):
            return False
        number = abs(seed) if isinstance(seed, int) else bytes(seed)  # -1 is a 1 with a sign
        return number in self._literals

    @functools.cached_property
    def _literals(self) -> set[object]:
        return self.origins.literals()

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
        if it.vague and holder:
            where = holder.where
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


def opened(look: Look, fd: int, it: Any) -> tuple[Site, str]:
    """Where a descriptor was opened, and of what C code has opened, since which import.

    What follows "since" is vague: only that it came with that import, or after it.
    """
    inode = os.fstat(fd).st_ino
    watch = look.watch
    line = watch.lines.descriptors.get((fd, inode), NOWHERE)
    site = watch.sockets.get((fd, inode), NOWHERE)
    if site == NOWHERE and stat.S_ISSOCK(os.fstat(fd).st_mode):
        # Its number has changed since: dup, detach, wrap_socket.
        same = (site for (_, other), site in watch.sockets.items() if other == inode)
        site = next(same, NOWHERE)
    if site == NOWHERE:
        site = note_of(watch.made, it, NOWHERE)
    name, native = watch.census.native.get((fd, inode), ("", NOWHERE))
    since = f", by native code since the import of {name}" if site == NOWHERE and name else ""
    if site.where or line.where:
        since = since if native.where == line.where else ""
        return site if site.where else Site(line.where, site.library), since
    if since:
        return native, since
    if (fd, inode) not in watch.lines.known and len(look.background) == 1:
        (where,) = look.background  # opened after the import, by the one who was left to do so
        return Site(where, site.library), ""
    return site, ""
