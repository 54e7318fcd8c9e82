"""Reads a file that the settings name, and nothing that has no end or is nobody's to read twice."""

from __future__ import annotations

import errno
import os
import stat


def read(path: str, most: int) -> bytes:
    """What the regular file at `path` holds, at most `most` + 1 bytes of it.

    Raises OSError, whose `strerror` says so of a directory, a FIFO or a device too: whoever opens
    a FIFO waits for another end that may never come, and /dev/zero has no end.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "is no regular file", path)
        with open(fd, "rb", closefd=False) as file:
            return file.read(most + 1)
    finally:
        os.close(fd)
