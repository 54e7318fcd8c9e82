"""Whole small files of /proc and /sys, bounded."""

from __future__ import annotations

import os

#: /proc/net/tcp has 150 bytes a connection: 50 000 of them.
_TABLE = 8 * 1024 * 1024


def read(path: str, limit: int = 65536) -> bytes | None:
    """At most `limit` bytes of `path`; None if it does not exist, has gone or is not ours."""
    try:
        # O_NONBLOCK: where something else stands, a FIFO is no place to hang.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return None
    parts = []
    try:
        while limit > 0 and (part := os.read(fd, min(limit, 65536))):
            parts.append(part)
            limit -= len(part)
    except OSError:
        return None  # ESRCH: the process ended between open and read
    finally:
        os.close(fd)
    return b"".join(parts)


def lines(path: str, limit: int = _TABLE) -> list[str]:
    """The lines of `path`, [] if it cannot be read."""
    return os.fsdecode(read(path, limit) or b"").split("\n")[:-1]
