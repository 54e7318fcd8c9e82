"""Pipes that what a worker prints goes through."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
from collections.abc import Iterable

#: Octets that a pipe should hold, in the order in which they are asked for.  An ordinary user
#: may have 64 MiB of them in all (`fs.pipe-user-pages-soft`) and 1 MiB in one
#: (`fs.pipe-max-size`); what the kernel has given without being asked is the least.
SIZES = (1 << 20, 1 << 18)


def create() -> tuple[int, int]:
    """Its reader, which never blocks, and its writer, which does.  Raises OSError."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(reader, False)
    for size in SIZES:
        with contextlib.suppress(OSError):
            fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, size)
            break
    return reader, writer


def any_readable(fds: Iterable[int]) -> bool:
    """Is there anything in one of these?"""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return any(events & select.POLLIN for _, events in poll.poll(0))


def fills_up(fd: int) -> bool:
    """Is it more than half full?"""
    from termios import FIONREAD  # the supervisor, who imports us too, has no use for it

    (octets,) = struct.unpack("i", fcntl.ioctl(fd, FIONREAD, bytes(4)))
    return int(octets) * 2 > int(fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ))
