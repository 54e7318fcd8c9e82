"""Taking a part of a line back from a file: what fitted on a disk that is full."""

from __future__ import annotations

import os


def cut_back(fd: int, begin: int, end: int) -> bool:
    """Take back what stands from `begin` to `end` of a file, and was written through `fd`.

    Only where the file still ends there: behind it are lines of others.  Never raises.
    """
    try:
        if os.fstat(fd).st_size != end:
            return False
        os.ftruncate(fd, begin)
        if os.lseek(fd, 0, os.SEEK_CUR) > begin:
            # Without O_APPEND (a shell's `> file`) what comes next would stand behind a hole.
            os.lseek(fd, 0, os.SEEK_END)
    except OSError:  # EPERM: it can only be appended to (chattr +a)
        return False
    return True
