"""Becoming another user: for good, in a child, before the application is imported; or for a
moment, to see what that one may open."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

from leeward._sys import prctl


@contextlib.contextmanager
def borrowed(uid: int, gid: int, groups: Sequence[int]) -> Iterator[None]:
    """Effective ids are these meanwhile; -1 leaves one as it is.  Not where threads run.

    Raises OSError where that is not allowed.
    """
    if (uid, gid) == (-1, -1):
        yield
        return
    user, group, others = os.geteuid(), os.getegid(), os.getgroups()
    try:
        if gid != -1:
            os.setgroups(groups)
            os.setegid(gid)
        if uid != -1:
            os.seteuid(uid)
        yield
    finally:
        os.seteuid(user)  # first: without root's right nobody may set the others
        if gid != -1:
            os.setegid(group)
            os.setgroups(others)
        prctl.set_dumpable()  # as in `drop`


def drop(uid: int, gid: int, groups: Sequence[int]) -> None:
    """Real, effective and saved ids become these; -1 leaves one as it is.

    Raises OSError where that is not allowed, and RuntimeError if it can be undone:
    then nothing of the application may run here.

    Afterwards PDEATHSIG is unset, as the kernel clears it: call `stay_with` (again).
    """
    if gid != -1:
        # Groups first: without root's right nobody may set them.
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
    if uid != -1:
        os.setresuid(uid, uid, uid)
        if os.getresuid() != (uid, uid, uid):
            raise RuntimeError(f"user {os.getresuid()} instead of {uid}")
        if uid != 0:
            try:
                os.setuid(0)
            except PermissionError:
                pass
            else:
                raise RuntimeError("could become root again")
    # Off after a change of ids: /proc/self would be root's, where memfds are opened
    # by path and the process's name is written, and there would be no core dump.
    prctl.set_dumpable()
