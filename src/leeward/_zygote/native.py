"""Where the native threads of this process come from, and which runtimes are loaded.

The kernel does not tell who started a thread, but its stack does: it holds the
return addresses of the functions that it is in, and each lies in the code of
some library.  A pool's thread that waits has a shallow stack: its own library,
the C++ library and libc.
"""

from __future__ import annotations

import bisect
import os
import struct
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from leeward._core.record import Record
from leeward._sys import procfs

#: In the names of libraries whose threads survive a fork, or come back after it.
_HARMLESS = ("openblas", "libarrow", "libparquet", "mimalloc", "jemalloc")
#: Those that every thread's stack shows, up to the first "-" or ".".
_COMMON = frozenset(("libc", "libpthread", "libstdc++", "libgcc_s", "libm", "libdl", "ld"))
#: Runtimes that hang a forked child if they were used before, which cannot be told.
#: By the beginning of their file's name: a directory may be called anything.
#: Not gRPC: imported only, it has started nothing; its channels are found by their type.
_RUNTIMES = (
    ("LW105", ("libgomp-", "libgomp."), "OpenMP (libgomp)"),
    ("LW105", ("libiomp5", "libomp-", "libomp."), "OpenMP (libiomp)"),
    ("LW105", ("polars", "_polars"), "Polars"),
    ("LW105", ("libtorch",), "PyTorch"),
    ("LW106", ("libcuda.so", "libcudart"), "CUDA"),
)
#: Seconds to wait for a thread to wait.  OpenBLAS's spin after the last
#: multiplication before they sleep (100 ms measured with numpy 2.5).
_CALM = 0.5
#: Seconds that threads which may be about to end are waited for, since the last one has ended.
_ENDING = 0.1
#: Bytes of a thread's stack that are looked at, from where it is outwards.
_DEPTH = 64 * 1024


class Mapping(NamedTuple):
    start: int
    end: int
    executable: bool
    path: str


class Origin(Record):
    """name: the thread's, as in `ps -L`.  where: libraries on its stack."""

    name: str
    where: str
    harmless: bool


def mappings() -> list[Mapping]:
    """The address space of this process, in order."""
    found = []
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            words = line.rstrip("\n").split(maxsplit=5)
            low, _, high = words[0].partition("-")
            path = words[5] if len(words) == 6 else ""
            found.append(Mapping(int(low, 16), int(high, 16), "x" in words[1], path))
    return found


def runtimes() -> Iterator[tuple[str, str, str]]:
    """(code, name, path) of each loaded runtime that does not survive a fork, once each."""
    paths = dict.fromkeys(it.path for it in mappings() if it.path.startswith("/"))
    files = {path: os.path.basename(path) for path in paths}
    libraries = {path: file for path, file in files.items() if ".so" in file}
    for code, beginnings, name in _RUNTIMES:
        path = next((it for it, file in libraries.items() if file.startswith(beginnings)), None)
        if path is not None:
            yield code, name, path


def origin(tid: int) -> Origin:
    """Where the thread `tid` of this process comes from; not harmless if it cannot be told."""
    try:
        with open(f"/proc/self/task/{tid}/comm") as file:
            name = file.read().strip()
        libraries = _libraries(_stack_pointer(tid))
    except (OSError, ValueError):
        return Origin(f"thread {tid}", "", harmless=False)
    harmless = bool(libraries) and all(
        any(name in library for name in _HARMLESS) for library in libraries
    )
    return Origin(name, ", ".join(sorted(libraries)), harmless)


def runs(library: str) -> bool:
    """Does any native thread run in this library?  True if no library of the name is loaded."""
    if not any(library in mapping.path for mapping in mappings()):
        return True
    return any(library in origin(tid).where for tid in procfs.threads_of(os.getpid()))


def that_stay(tids: Iterable[int]) -> set[int]:
    """Which of these threads are not about to end.

    What the import has closed may end by threads of its own, and its descriptors with them: those
    of a gRPC channel are gone 4 ms later (40 ms where five others want the two CPUs).
    """
    left, began = set(tids), time.monotonic()
    last = began
    while left and (now := time.monotonic()) < min(last + _ENDING, began + _CALM):
        if gone := left.difference(procfs.threads_of(os.getpid())):
            left -= gone
            last = now
        else:
            time.sleep(0.001)
    return left


def _stack_pointer(tid: int) -> int:
    """Of a thread that waits.  Raises OSError, ValueError if it runs on and on."""
    deadline = time.monotonic() + _CALM
    while True:
        # "nr arg0 … arg5 sp pc", or "running": the kernel knows no pointer then.
        with open(f"/proc/self/task/{tid}/syscall") as file:
            words = file.read().split()
        if len(words) > 2:
            return int(words[-2], 16)
        if time.monotonic() > deadline:
            raise ValueError(f"thread {tid} does not come to rest")
        time.sleep(0.001)


def _libraries(stack: int) -> set[str]:
    """Names of the libraries that the words above `stack` point into the code of."""
    space = mappings()
    end = max((it.end for it in space if it.start <= stack < it.end), default=stack)
    memory = os.open("/proc/self/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.pread(memory, min(end - stack, _DEPTH), stack)
    finally:
        os.close(memory)
    starts = [mapping.start for mapping in space]
    found = set()
    for (word,) in struct.iter_unpack("Q", data[: len(data) // 8 * 8]):
        place = bisect.bisect_right(starts, word) - 1
        mapping = space[place] if place >= 0 else space[0]
        if mapping.executable and mapping.start <= word < mapping.end:
            library = os.path.basename(mapping.path)
            stem = library.replace("-", ".").partition(".")[0]
            if mapping.path.startswith("/") and stem not in _COMMON:
                found.add(library)
    return found
