"""The system calls that nothing works without, each tried once and harmlessly.

A kernel's version does not tell: a container's seccomp profile refuses what is younger than
itself (Docker 19.03: pidfd_open, EPERM), a sandbox in front of the kernel does not know all of
them (ENOSYS).  Found out later, workers die one after another, and a stop cannot be waited for.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable

from leeward._sys import prctl
from leeward._sys.channel import Channel
from leeward._sys.posix import memfd

#: What "not here" sounds like.  The others (EMFILE, ENOMEM) say that there is no more of it now.
_NOT_HERE = frozenset({errno.ENOSYS, errno.EPERM, errno.EACCES, errno.EINVAL, errno.EOPNOTSUPP})


def refused() -> tuple[str, OSError] | None:
    """The first that cannot be had here at all, and why.  Raises OSError for a shortage."""
    for name, call in _TRIALS.items():
        try:
            call()
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            return name, error
    return None


def _pidfd_open() -> None:
    os.close(os.pidfd_open(os.getpid()))


def _memfd_create() -> None:
    os.close(memfd("leeward-trial", b""))


def _eventfd() -> None:
    os.close(os.eventfd(0, os.EFD_CLOEXEC))


def _waitid() -> None:
    with contextlib.suppress(ChildProcessError):  # nobody is a child of his own
        os.waitid(os.P_PID, os.getpid(), os.WEXITED | os.WNOHANG | os.WNOWAIT)


def _socketpair() -> None:
    for end in Channel.pair():
        end.close()


_TRIALS: dict[str, Callable[[], object]] = {
    "pidfd_open": _pidfd_open,
    "memfd_create": _memfd_create,
    "eventfd": _eventfd,
    "waitid": _waitid,
    "socketpair": _socketpair,
    # Asked for, not set: whoever only checks shall not adopt orphans.
    "prctl(PR_SET_CHILD_SUBREAPER)": prctl.get_child_subreaper,
    "prctl(PR_SET_PDEATHSIG)": prctl.get_pdeathsig,
}
