"""How many descriptors this process may have, which number is the next, and others' sockets."""

from __future__ import annotations

import fcntl
import os
import resource
import socket

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


def borrowed(fd: int) -> socket.socket:
    """An object for asking a socket that is somebody else's; `detach` it.  Raises OSError: none.

    After `socket.setdefaulttimeout(10)` of an application `socket.socket(fileno=fd)` makes the
    open file itself non-blocking, and its own `recv` raise BlockingIOError from then on, also if
    `fd` is a duplicate.  It does not for one that is called non-blocking already.
    """
    return socket.socket(-1, socket.SOCK_STREAM | socket.SOCK_NONBLOCK, -1, fileno=fd)


def type_of(sock: socket.socket) -> int:
    """SOCK_STREAM, SOCK_DGRAM, ... of a borrowed one, which does not know by itself."""
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
