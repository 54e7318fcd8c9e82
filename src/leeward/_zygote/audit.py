"""What a fork would spoil: looked for once per generation, before the first fork.

A hazard is a thing that exists once per process and would be copied wrong:
threads do not survive a fork, an epoll set and a connection are shared by it.
Native threads are judged by origin.  Those of OpenBLAS, arrow and mimalloc take
care of forks themselves (pthread_atfork, or they are started again when used);
OpenMP runtimes, polars, torch and grpc do not, and hang the children under load.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from leeward._sys import procfs

#: Libraries whose thread pools are safe across a fork, by file name.
_SAFE = re.compile(r"openblas|libarrow|mimalloc|libgomp-openblas|mkl_sequential")
#: Run-time libraries that are not, used or not: name, and what to call it.
_UNSAFE = {
    re.compile(r"/libgomp[-.]"): "the OpenMP runtime libgomp",
    re.compile(r"/libiomp5?[-.]"): "the OpenMP runtime libiomp",
    re.compile(r"/libomp[-.]"): "the OpenMP runtime libomp",
    re.compile(r"/polars/|_polars_runtime"): "polars",
    re.compile(r"/libtorch_cpu|/libtorch\.so"): "torch",
    re.compile(r"/grpc/_cython/cygrpc"): "grpc",
}


@dataclass(frozen=True)
class Hazard:
    """code: stable name.  summary: what it is.  origin: where it comes from, or ""."""

    code: str
    summary: str
    origin: str = ""

    @property
    def line(self) -> str:
        return f"{self.summary} ({self.origin})" if self.origin else self.summary


def audit(ours: set[int]) -> list[Hazard]:
    """All hazards of this process.  ours: descriptors that leeward itself opened."""
    libraries = _libraries()
    return [
        *_python_threads(),
        *_runtimes(libraries),
        *_native_threads(libraries),
        *_descriptors(ours),
    ]


def _python_threads() -> Iterator[Hazard]:
    for thread in threading.enumerate():
        if thread is threading.main_thread():
            continue
        target = getattr(thread, "_target", None) or type(thread).run
        code = getattr(target, "__code__", None)
        origin = f"{code.co_filename}:{code.co_firstlineno}" if code else repr(target)[:80]
        yield Hazard("thread", f"the thread {thread.name!r} runs already", origin)


def _libraries() -> set[str]:
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            return {line.split(None, 5)[5].rstrip("\n") for line in maps if "/" in line}
    except OSError:
        return set()


def _runtimes(libraries: set[str]) -> Iterator[Hazard]:
    for pattern, name in _UNSAFE.items():
        found = next((path for path in sorted(libraries) if pattern.search(path)), None)
        if found is not None:
            yield Hazard("runtime", f"{name} is loaded and does not survive a fork", found)


def _native_threads(libraries: set[str]) -> Iterator[Hazard]:
    """Threads that Python does not know, unless a library that is safe accounts for them."""
    known = {thread.native_id for thread in threading.enumerate()}
    main = os.getpid()
    unknown = [tid for tid in procfs.threads_of(main) if tid not in known and tid != main]
    if unknown and not any(_SAFE.search(os.path.basename(path)) for path in libraries):
        yield Hazard("native-thread", f"{len(unknown)} native threads of unknown origin run")


def _descriptors(ours: set[int]) -> Iterator[Hazard]:
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd in ours or fd <= 2:
            continue
        try:
            link = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the descriptor of this very listing
        if link in ("anon_inode:[eventpoll]", "anon_inode:[io_uring]"):
            made = " (an asyncio loop, IOLoop or httpserver.listen at import)"
            kind = link[12:-1]
            why = made if kind == "eventpoll" and "asyncio" in sys.modules else ""
            yield Hazard("loop", f"an event loop is open already: {kind}, descriptor {fd}{why}")
        elif link.startswith("socket:") and (peer := _peer(fd)) is not None:
            yield Hazard("socket", f"a socket is connected to {peer}, descriptor {fd}")


def _peer(fd: int) -> str | None:
    """The peer of a connected socket, None for one that is not connected."""
    try:
        with socket.socket(fileno=os.dup(fd)) as sock:
            peer = sock.getpeername()
            own = sock.getsockname()
    except OSError:
        return None
    if sock.family == socket.AF_UNIX and not peer and not own:
        return None  # a socketpair of this process itself: a pipe, not a peer
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else f"unix:{peer}"
