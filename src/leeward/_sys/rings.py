"""Making log rings, for the supervisor, which never reads or writes one (`leeward._sys.ring`)."""

from __future__ import annotations

import fcntl
import os
import struct

from leeward._sys.posix import memfd_create

#: Of the head, and of the table of sinks behind it.
HEAD_BYTES = 8192
TABLE_BYTES = 56 * 1024
#: Where the records begin.
DATA = HEAD_BYTES + TABLE_BYTES
#: Octets of records in a ring, unless told otherwise: 20,000 lines and more in one go.  With 1 MiB
#: two workers that logged 10,000 lines each without a pause had up to a quarter of them refused,
#: on two cores that the collector had to share with them.
SIZE = 1 << 22

MAGIC = 0x4C57_5249_4E47_0001
#: Places of two words of the head: what was written, and what was taken out.
HEAD, TAIL = 2, 16
#: Nobody may shrink it: touching what has gone is SIGBUS.
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW

_PAGE = 4096


def create(size: int = SIZE) -> int:
    """A memfd with an empty ring for `size` octets of records (rounded up to pages).

    It takes memory only where it was written to.  Raises OSError (EMFILE, ENFILE, ENOMEM).
    """
    size = max(_PAGE, -(-size // _PAGE) * _PAGE)
    fd = memfd_create("leeward-log")
    try:
        os.ftruncate(fd, DATA + size)
        os.write(fd, struct.pack("<QQ", MAGIC, size))
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def waiting(fd: int) -> int:
    """Octets that were written into the ring and not taken out of it."""
    head, tail = (int.from_bytes(os.pread(fd, 8, 8 * word), "little") for word in (HEAD, TAIL))
    return head - tail


def is_empty(fd: int) -> bool:
    """Has all that was written into the ring been taken out of it?"""
    return waiting(fd) == 0
