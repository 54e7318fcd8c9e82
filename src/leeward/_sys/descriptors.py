"""How many descriptors this process may have, and which number is the next."""

from __future__ import annotations

import fcntl
import os
import resource

#: To more than this no limit is raised: container runtimes set a hard limit of 2**30, and
#: programs that close "all" descriptors one by one before an exec would take minutes.
ENOUGH = 1 << 20


def limit() -> int:
    """RLIMIT_NOFILE in force; others may change it while we run (prlimit)."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return ENOUGH if soft == resource.RLIM_INFINITY else soft


def raise_limit() -> None:
    """To the hard limit, or to `ENOUGH`, for this process and all that it starts.

    1024 is what login shells and systemd give, for programs that use select(); the hard
    limit beside it is what a server is meant to take.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def lowest_free(fd: int) -> int:
    """The number that the kernel would give next.  fd: any that is open.

    Raises OSError (EMFILE) if there is none.
    """
    number = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0)
    os.close(number)
    return number
