"""Keeps leeward's descriptors open while the application is loaded.

"Close whatever we have inherited", `os.closerange(3, 1024)` or `os.close` in a loop, stands in
many a program since the recipes for daemons.  By itself it closes nothing that is used; here
it would close the channel, the listeners and the loop: "Bad file descriptor" in our own
lines, or an abort of libuv's.  So these two functions pass over what is ours, for as long as
a load lasts.  What closes by C code, or later, is not seen.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterator
from typing import Any

#: Which file a descriptor leads to: its number is given again.
_File = tuple[int, int]

#: What the application had open when its last load ended: a worker makes the application by
#: what the import has opened, and may close that.
_theirs: dict[int, _File] = {}


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """In the `with` block `os.close` and `os.closerange` leave open what leeward has open now.

    Not so in processes that the application forks: nothing of ours is used there.
    """
    opened = _opened()
    ours = {fd: file for fd, file in opened.items() if _theirs.get(fd) != file}
    pid = os.getpid()

    def is_kept(fd: int) -> bool:
        return fd in ours and os.getpid() == pid and _file(fd) == ours[fd]

    close, closerange = os.close, os.closerange

    @functools.wraps(close)
    def close_theirs(fd: int) -> None:
        if not is_kept(fd):
            close(fd)

    @functools.wraps(closerange)
    def closerange_of_theirs(fd_low: int, fd_high: int, /) -> None:
        low = fd_low
        # The kernel takes its numbers for unsigned: 0 and less, as of RLIM_INFINITY, are no end.
        end = fd_high if fd_high > 0 else sys.maxsize
        for fd in sorted(ours):
            if low <= fd < end and is_kept(fd):
                closerange(low, fd)
                low = fd + 1
        closerange(low, fd_high)

    substitutes: dict[str, tuple[Any, Any]] = {
        "close": (close, close_theirs),
        "closerange": (closerange, closerange_of_theirs),
    }
    for name, (_, substitute) in substitutes.items():
        setattr(os, name, substitute)
    try:
        yield
    finally:
        for name, (plain, substitute) in substitutes.items():
            # Somebody may have put something around ours meanwhile, or imported it: then it
            # only passes on.
            if vars(os)[name] is substitute:
                setattr(os, name, plain)
        now = _opened()
        _theirs.clear()
        _theirs.update({fd: file for fd, file in now.items() if ours.get(fd) != file})
        ours.clear()


def _opened() -> dict[int, _File]:
    """All but the standard streams, which a daemon may close or replace."""
    found = {}
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:  # no /proc, or no descriptor left to read it by: nothing is kept
        names = []
    for name in names:
        fd = int(name)
        if fd > 2 and (file := _file(fd)) is not None:
            found[fd] = file
    return found


def _file(fd: int) -> _File | None:
    try:
        it = os.fstat(fd)
    except OSError:  # that of the listing itself, or closed otherwise
        return None
    return it.st_dev, it.st_ino
