"""The files of unix sockets, in directories that others may write to.

Whoever may write there can put something else under the name at any moment: a symlink to root's
own files, or another directory in the place of ours.  So what is looked at and what is changed
is one and the same file, held by a descriptor.
"""

from __future__ import annotations

import contextlib
import os
import stat

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Replaced(OSError):
    """What stands there is not the socket that was made."""


def give(path: str, uid: int, gid: int) -> None:
    """Give the socket that this process has just bound at `path` to `uid` and `gid`; -1 keeps.

    Raises Replaced, or another OSError.
    """
    fd = os.open(path, _LOOK)
    try:
        it = os.fstat(fd)
        # One name: it is no link to somebody's socket (fs.protected_hardlinks=0).
        if not stat.S_ISSOCK(it.st_mode) or it.st_uid != os.geteuid() or it.st_nlink != 1:
            raise Replaced(0, "something else was put in its place")
        # fchown(2) refuses a descriptor that is O_PATH, and a socket's file opens in no other way.
        os.chown(f"/proc/self/fd/{fd}", uid, gid)
    finally:
        os.close(fd)


def remove(path: str, like: os.stat_result | None = None) -> None:
    """Remove the socket at `path`; nothing if there is none, or not that of `like`.

    Raises OSError.
    """
    with contextlib.suppress(FileNotFoundError):
        directory = os.open(os.path.dirname(path) or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            name = os.path.basename(path)
            it = os.lstat(name, dir_fd=directory)
            if stat.S_ISSOCK(it.st_mode) and (like is None or os.path.samestat(it, like)):
                os.unlink(name, dir_fd=directory)
        finally:
            os.close(directory)
