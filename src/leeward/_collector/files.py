"""A log file: opened, rotated by size and by time, kept and compressed, opened anew.

A collector may be killed between any two calls here.  Renames go from the highest number to
the lowest, and stop at the first gap, so that a rotation which was broken off is finished by
the next one without losing a file; a compressed file has its name only once it is complete.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import stat
import time
from collections.abc import Callable, Iterable

from leeward._collector.shrink import GZ, PART, Shrinker
from leeward._collector.streams import BATCH, Stream
from leeward._core import rollover, sinks
from leeward._core.record import replace
from leeward._core.sinks import Spec
from leeward._sys.ring import Intent

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
#: Of files called by when they were begun (`Spec.begun`), and where loguru keeps that moment,
#: so that an earlier or later instance, or the bare program, gives the same name.
_BEGUN = "%Y-%m-%d_%H-%M-%S_%f"
_BEGUN_PATTERN = r"\.\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_\d{6}(\.\d+)?"
_BEGUN_AT = "user.loguru_crtime"


class File(Stream):
    """The file at `spec.path`, made where it is missing.

    shrinker:  compresses what was rotated, a little at a time.
    say:       called with (level, text) of what the operator must know.
    """

    def __init__(
        self,
        spec: Spec,
        shrinker: Shrinker,
        now: Callable[[], float] = time.time,
        say: Callable[[str, str], object] = lambda level, text: None,
    ) -> None:
        super().__init__(-1)
        self._adopt(spec)
        self._new: Spec | None = None
        self._shrinker = shrinker
        self._now = now
        self._say = say
        self._stuck: set[str] = set()  # could not be removed when that was tried last
        self._size = 0
        self._identity = (0, 0)
        self._period: tuple[int, ...] = ()
        self._due = 0  # when `spec.when` has it put away
        self._begun = 0.0

    def _adopt(self, spec: Spec) -> None:
        self.spec = spec
        self._named = _named(spec)
        self._tidied = False

    @property
    def name(self) -> str:
        return self.spec.path

    def want(self, spec: Spec) -> None:
        """From the next batch on do as `spec` has it, which is for the same path."""
        # Each handler was made at another moment, and means another one by its first rotation.
        self._new = None if replace(spec, due=self.spec.due) == self.spec else spec

    def room(self) -> int:
        if self._new is not None:
            self.close()
            self._adopt(self._new)
            self._new, self._due = None, 0
        self._follow()
        if self.fd < 0:
            self._open()
        if not self.regular:
            return self._room()
        self._size = os.fstat(self.fd).st_size
        most = self.spec.rotate_bytes or BATCH
        left = most - self._size
        return min(BATCH, left if left > 0 else most)

    def begin(self, octets: int) -> Intent:
        place = self._place(octets)
        self._size = place.offset
        same = self._is_same_period(self._now())
        if self.regular and sinks.is_due(self.spec, self._size, octets, same):
            self._rotate()
            self._due = 0
            self._open()
            place = self._place(octets)
            self._size = place.offset
        return place

    def _follow(self) -> None:
        """Somebody else may have renamed or removed the file: one stat(2) for a batch."""
        if self.fd < 0 or not self.regular:
            return
        try:
            it = os.stat(self.spec.path)
        except FileNotFoundError:
            self.close()
            return
        if (it.st_dev, it.st_ino) != self._identity:
            self.close()

    def _open(self) -> None:
        self.tidy()
        # O_NONBLOCK: a FIFO without a reader is an error that passes, and no place to hang.
        flags = _FLAGS | os.O_NONBLOCK
        self.fd = os.open(self.spec.path, flags, self.spec.permissions)
        it = os.fstat(self.fd)
        self._identity = (it.st_dev, it.st_ino)
        self.regular = stat.S_ISREG(it.st_mode)
        written = it.st_mtime if it.st_size else self._now()
        if self.spec.begun and self.regular:
            written = self._begun = self._when_begun(written if it.st_size else 0.0)
        self._period = self._period_of(written)
        if self.spec.when and not self._due:
            # What its handler meant to do, unless that was done before this file was written to.
            self._due = self.spec.due if self.spec.due > written else self._due_after(written)

    def _when_begun(self, written: float) -> float:
        """The moment at which the file was begun that was last written to then; 0: it is now."""
        now = self._now()
        if written:
            with contextlib.suppress(OSError, ValueError):  # nobody has noted it: as loguru does
                written = float(os.getxattr(self.fd, _BEGUN_AT))
            return min(max(0.0, written), now)  # whatever was noted, it is a date
        with contextlib.suppress(OSError):  # a file system without: then the last line's counts
            os.setxattr(self.fd, _BEGUN_AT, str(now).encode())
        return now

    def reopen(self) -> None:
        self.close()

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _split(self, when: float) -> time.struct_time:
        return time.gmtime(when) if self.spec.utc else time.localtime(when)

    def _period_of(self, when: float) -> tuple[int, ...]:
        if not self.spec.rotate_every:
            return ()
        return sinks.period(self.spec.rotate_every, tuple(self._split(when)))

    def _is_same_period(self, now: float) -> bool:
        if not self.spec.when:
            return self._period == self._period_of(now)
        if now >= self._due and not self._size:
            self._due = self._due_after(now)  # there is nothing to put away
        return now < self._due

    def _due_after(self, when: float) -> int:
        it = self.spec
        return rollover.after(it.when, it.interval, it.at, it.utc, int(when), self._split)

    # --- rotation ----------------------------------------------------------------------------

    def _rotate(self) -> None:
        modified = os.fstat(self.fd).st_mtime
        self.close()
        path = self.spec.path
        if self.spec.begun:
            target = self._called_by_its_beginning()
        elif self.spec.suffix:
            target = self._dated(modified)
        else:
            # Whatever has such a name, a directory too, is in the way.
            taken = {_number(it.path) for it in self._beside(self._named)}
            for old, new in sinks.shift(taken):
                for end in ("", GZ):
                    with contextlib.suppress(FileNotFoundError):
                        os.rename(f"{path}.{old}{end}", f"{path}.{new}{end}")
            target = f"{path}.1"
        # FileNotFoundError: somebody else was quicker.
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, target)
        self._remove(self._surplus())
        if self.spec.compress:
            self._shrinker.add(path, target, self._rotated)

    def _dated(self, modified: float) -> str:
        it, named = self.spec, modified
        if it.when:
            now = int(self._now())
            named = rollover.begins(self._due, it.interval, it.utc, now, self._split)
        base = target = f"{it.path}.{time.strftime(it.suffix, self._split(named))}"
        number = 1
        while _is_taken(target):
            target = f"{base}.{number}"
            number += 1
        return target

    def _called_by_its_beginning(self) -> str:
        root, ending = os.path.splitext(self.spec.path)
        root += f".{datetime.datetime.fromtimestamp(self._begun):{_BEGUN}}"
        target = root + ending
        number = 2
        while _is_taken(target):
            target = f"{root}.{number}{ending}"
            number += 1
        return target

    def _surplus(self) -> list[str]:
        old, keep = self._rotated(), self.spec.keep
        found = []
        if self.spec.keep_for:
            oldest = self._now() - self.spec.keep_for
            found = [it for it in old if _age(it)[0] <= oldest]
        if not (self.spec.suffix or self.spec.begun):
            numbers = sinks.surplus({_number(it) for it in old}, keep)
            found += [it for it in old if _number(it) in numbers]
        elif keep:
            found += sorted(old, key=_age, reverse=True)[keep:]
        return found

    def _remove(self, names: Iterable[str]) -> None:
        """What cannot be removed stays, and is told once: all else goes on."""
        before, self._stuck = self._stuck, set()
        why = ""
        for name in names:
            try:
                os.unlink(name)
            except FileNotFoundError:
                continue
            except OSError as error:
                self._stuck.add(name)
                why = why or f"{name}: cannot be removed: {error.strerror}"
        if self._stuck - before:
            others = len(self._stuck) - 1
            self._say("warning", why + (f", and {others} more" if others else ""))

    def _rotated(self) -> list[str]:
        """Everything beside the file that one of us has named, and nothing else: what is surplus
        of it is removed, and `app.log.1-of-may` and `app.log.20261121` are somebody's.
        """
        named = self._beside(self._named)
        if not (self.spec.suffix or self.spec.begun):
            given = sinks.given({_number(it.path) for it in named})
            named = [it for it in named if _number(it.path) in given]
        return [it.path for it in named if it.is_file(follow_symlinks=False)]

    def _beside(self, pattern: str | None) -> list[os.DirEntry[str]]:
        if not pattern:
            return []
        with os.scandir(os.path.dirname(self.spec.path)) as entries:
            return [it for it in entries if re.fullmatch(pattern, it.name, re.ASCII)]

    def tidy(self) -> None:
        """What a collector that was killed has left half done; once."""
        if not self.spec.compress or self._tidied:
            return
        self._tidied = True
        old = self._rotated()
        complete = [it for it in old if it + GZ in old]  # or it had no such name
        self._remove([self.spec.path + PART, *complete])
        for name in self._rotated():
            if not name.endswith(GZ):
                self._shrinker.add(self.spec.path, name, self._rotated)

    def _candidates(self) -> list[str]:
        # Somebody else may have renamed it, to a name of his own; it is known by its inode.
        others = re.escape(os.path.basename(self.spec.path)) + r"\.[0-9].*"
        with contextlib.suppress(OSError):
            found = [*self._beside(self._named), *self._beside(others)]
            return [self.spec.path, *dict.fromkeys(it.path for it in found)]
        return [self.spec.path]


def _named(spec: Spec) -> str | None:
    """A regular expression for the names of rotated files; None if there is none."""
    base = os.path.basename(spec.path)
    if spec.begun:
        root, ending = os.path.splitext(base)
        found = re.escape(root) + _BEGUN_PATTERN + re.escape(ending)
    elif spec.suffix:
        suffix = rollover.pattern(spec.suffix)
        if suffix is None:
            return None
        found = re.escape(base) + rf"\.{suffix}(\.\d+)?"
    else:
        found = re.escape(base) + r"\.[1-9]\d{0,8}"
    return found + r"(\.gz)?"


def _is_taken(name: str) -> bool:
    return os.path.exists(name) or os.path.exists(name + GZ)


def _number(path: str) -> int:
    """Of a rotated file that is called by one."""
    return int(path.removesuffix(GZ).rpartition(".")[2])


def _age(path: str) -> tuple[float, str]:
    """For sorting the oldest first: the kernel's clock may have given two the same time."""
    with contextlib.suppress(OSError):
        return os.stat(path).st_mtime, path
    return 0.0, path
