"""Where a process of ours stands: what its log files are called, and who writes them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from leeward._core.slots import with_slot
from leeward._sys import funnel, procfs
from leeward._sys.appending import empty_once
from leeward._sys.ring import TableFull
from leeward.adapters.logfiles import kinds
from leeward.adapters.logfiles.kinds import Way

if TYPE_CHECKING:
    from leeward._core.config import Config
    from leeward._core.sinks import Spec

#: Seconds between two tellings of one file's trouble.
_TELL_EVERY = 1.0
#: What a line of the log tells of a file.
_WORDS = {
    Way.LEAVE: "a file for each worker",
    Way.SHARED: "written by the collector, for all workers",
    Way.EXCLUSIVE: "rotated by its own code, in one worker at a time",
}


class Place:
    """One for each process: the zygote's, and each worker's.

    config:      its `log_files`.
    supervisor:  pid.  What was written before that process began is of an earlier instance.
    began:       when it did, in seconds since the epoch, as the clock told then.
    rehearsal:   a start for nobody: it empties no file.
    """

    def __init__(
        self, config: Config, supervisor: int, began: float, rehearsal: bool = False
    ) -> None:
        self.shared = config.log_files == "shared"
        self.per_worker = config.log_files == "per-worker"
        self.slot: int | None = None
        self._pid = os.getpid()
        self._rehearsal = rehearsal
        self._supervisor, self._began = supervisor, began
        self._told: dict[str, str] = {}
        self._say: Callable[[str], object] | None = None
        #: Called with (level, text) of what the operator must know.
        self.complain: Callable[[str, str], object] = lambda level, text: None
        self._troubles: dict[str, str] = {}
        self._tell_at: dict[str, float] = {}

    def begin(self, slot: int) -> None:
        """This process is a worker from now on."""
        self.slot, self._pid = slot, os.getpid()
        self._told.clear()
        self._troubles.clear()

    # --- files ------------------------------------------------------------------------------

    def path(self, path: str) -> str:
        """Of the file that this process is to write instead of `path`."""
        if self.slot is None or not self.moves(path):
            return path
        return with_slot(path, self.slot)

    def moves(self, path: str) -> bool:
        """Has each worker a file of its own instead?"""
        return self.per_worker and not _is_special(path)

    def is_older(self, path: str) -> bool:
        """Has nobody of this instance written to it?"""
        if self._rehearsal:
            return False
        try:
            told = os.stat(path)
        except OSError:
            return False
        return told.st_size > 0 and told.st_mtime < self._since()

    def empty_once(self, path: str) -> None:
        """Raises OSError."""
        if not self._rehearsal and not _is_special(path):
            empty_once(path, self._since())

    def _since(self) -> float:
        """When the supervisor began: all that is younger was written since.

        The clock may have been set meanwhile, and the times of files are not: of what it told
        then and would tell now, the earlier, so that a file is rather kept than emptied.
        """
        age = procfs.age(self._supervisor)
        if age is not None:
            self._began = min(self._began, time.time() - age)
        return self._began

    # --- handlers ---------------------------------------------------------------------------

    def choose(self, handler: logging.FileHandler) -> tuple[Way, bytes]:
        """Which way its lines go, and the sink's specification for the collector, or b""."""
        way = Way.LEAVE if _is_special(handler.baseFilename) else kinds.way(handler)
        if way is not Way.SHARED:
            return way, b""
        spec = kinds.spec(handler)
        if spec is not None and self.takes(spec):
            return way, spec.to_json()
        return (Way.EXCLUSIVE if kinds.rotates(handler) else way), b""

    def takes(self, spec: Spec) -> bool:
        """May the collector write this file?"""
        return self.shared and not _is_special(spec.path) and self._has_room(spec.to_json())

    def _has_room(self, spec: bytes) -> bool:
        way = funnel.current()
        if way is None:
            # A zygote's workers will have one, and what a worker forks appends to the file.
            return self.slot is None or os.getpid() != self._pid
        try:
            way.sink(spec)
        except TableFull:
            return False
        return True

    # --- telling ----------------------------------------------------------------------------

    def tell(self, path: str, who: str, way: Way) -> None:
        """Say once what becomes of this file; in a rehearsal of that of slot 0."""
        if self.moves(path):
            way = Way.LEAVE
            path = with_slot(path, 0) if self._rehearsal else path
        self._tell(path, f"log file {path} ({who}): {_WORDS[way]}")

    def tell_failure(self, handler: logging.FileHandler, error: Exception) -> None:
        """Say once that this handler is left as it is, and why."""
        path, who = handler.baseFilename, type(handler).__name__
        self._tell(path, f"log file {path} ({who}): left as it is ({error})")

    def tell_trouble(self, path: str, why: str) -> None:
        """Say what this file is held by, at most once a second, and ("") that it goes on."""
        before, now = self._troubles.get(path, ""), time.monotonic()
        if why == before or (why and now < self._tell_at.get(path, 0.0)):
            return
        self._troubles[path], self._tell_at[path] = why, now + _TELL_EVERY
        if why:
            self.complain("error", f"log file {path}: {why}")
        else:
            self.complain("info", f"log file {path}: can be written again")

    def _tell(self, path: str, line: str) -> None:
        if self._told.get(path) != line:
            self._told[path] = line
            if self._say is not None:
                self._say(line)

    def say(
        self,
        say: Callable[[str], object],
        complain: Callable[[str, str], object] | None = None,
    ) -> None:
        """Say what was not said yet, and all from now on."""
        self._say = say
        if complain is not None:
            self.complain = complain
        for line in self._told.values():
            say(line)


def _is_special(path: str) -> bool:
    """No file that could be rotated: a terminal, a pipe, /dev/null."""
    return os.path.exists(path) and not os.path.isfile(path)
