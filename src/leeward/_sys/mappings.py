"""Giving back the pages of files that a process has read and will hardly read again.

A zygote that has imported numpy and pandas maps some 9 MiB of their code and tables
that only the import ran through: mapped by no worker, they are counted as the
zygote's own.  Without a mapping they are page cache like any other, which the
kernel may drop; touched again, they come back by a minor fault (0.5 µs a page, 16
at a time) without any reading from a disk.

What does not work: MADV_DONTNEED on every private mapping of a file.  Pages that
the linker has relocated (RELRO) are read-only and look untouched, and would come
back as they stand in the file.
"""

from __future__ import annotations

from collections.abc import Iterator

_MADV_DONTNEED = 4  # asm-generic/mman-common.h


def unmap_clean_files() -> int:
    """Let go of this process's unmodified pages of mapped files; how many bytes.

    No address becomes invalid and no content changes: only private, read-only
    mappings of which not one page was ever written are let go.  Raises OSError
    where /proc/self/smaps cannot be read.
    """
    import ctypes

    libc = ctypes.CDLL(None)
    released = 0
    for start, end, resident in _clean():
        length = ctypes.c_size_t(end - start)
        # It refuses locked pages (EINVAL): then they stay, which is as well.
        if libc.madvise(ctypes.c_void_p(start), length, _MADV_DONTNEED) == 0:
            released += resident
    return released


def _clean() -> Iterator[tuple[int, int, int]]:
    """(start, end, resident bytes) of each private, read-only mapping of an unmodified file.

    smaps has a line of its address, rights and file for each mapping, and below it
    lines of its numbers in kB; "Anonymous" counts the pages that differ from the file.
    """
    with open("/proc/self/smaps", "rb") as file:
        text = file.read()
    span, resident = None, 0
    for line in text.splitlines():
        name, _, rest = line.partition(b" ")
        if name == b"Rss:":
            resident = int(rest.split()[0]) * 1024
        elif name == b"Anonymous:":
            if span is not None and resident and rest.split()[0] == b"0":
                yield span[0], span[1], resident
        elif not name.endswith(b":"):
            words = rest.split(maxsplit=4)
            ours = words[0] in (b"r--p", b"r-xp") and words[4:] and words[4].startswith(b"/")
            low, _, high = name.partition(b"-")
            span = (int(low, 16), int(high, 16)) if ours else None
