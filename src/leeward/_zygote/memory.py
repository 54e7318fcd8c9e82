"""Memory of this process that others may write too: shared and writable mappings."""

from __future__ import annotations

from leeward._sys.files import lines

#: Bytes of /proc/self/maps that are read: 80 to 150 a mapping.
_MOST = 16 * 1024 * 1024


def shared() -> dict[int, tuple[int, str]]:
    """Address to size in bytes and name of the file, "" for memory without one."""
    found = {}
    for line in lines("/proc/self/maps", _MOST):
        words = line.split(maxsplit=5)
        if len(words) < 5 or words[1][1] != "w" or words[1][3] != "s":
            continue
        name = words[5].removesuffix(" (deleted)") if len(words) == 6 else ""
        if name == "/dev/zero":  # as the kernel calls what has no file
            name = ""
        if _is_memory(name):
            low, _, high = words[0].partition("-")
            found[int(low, 16)] = (int(high, 16) - int(low, 16), name)
    return found


def _is_memory(name: str) -> bool:
    """Not a device, a kernel object's ring, a semaphore of multiprocessing, or ours."""
    if name.startswith("/dev/shm/"):
        return not name.startswith("/dev/shm/sem.")
    return not name.startswith(("/dev/", "anon_inode:", "/memfd:leeward"))
