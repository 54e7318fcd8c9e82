"""What a fork would spoil: threads, native runtimes, loops, connections.

A thread does not survive a fork, but its locks and its promises do: an executor
made before is silently dead in each worker, an OpenMP runtime hangs the first
child that computes.  A connection is shared by all children, which read each
other's answers.  An epoll set too, and one child's close deafens the others.

Native threads are judged by where they run: OpenBLAS and Arrow join or restart
their pools around a fork (pthread_atfork), and importing numpy or pandas must
not cost anybody the zygote.  Unknown ones count as a hazard: to spawn is always
right, and only slower.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import FrameType

from leeward._sys import procfs
from leeward._zygote import native


@dataclass(frozen=True)
class Hazard:
    """One thing that a fork would make wrong.

    code:     "thread" | "native-thread" | "runtime" | "loop" | "io-uring" | "connection"
    summary:  one line with enough to find it.
    origin:   "file:line" or the library that it comes from, where that is known.
    """

    code: str
    summary: str
    origin: str = ""

    @property
    def line(self) -> str:
        return f"{self.summary} ({self.origin})" if self.origin else self.summary


def open_descriptors() -> frozenset[int]:
    """The numbers of all open descriptors; those of before the import are not judged."""
    fds = []
    for name in os.listdir("/proc/self/fd"):
        try:
            os.fstat(int(name))
        except OSError:
            continue  # that of the listing itself
        fds.append(int(name))
    return frozenset(fds)


def audit(own: Iterable[int]) -> tuple[Hazard, ...]:
    """Everything found, the most telling first.  `own`: descriptors that are ours."""
    return (
        *_python_threads(),
        *_native_threads(),
        *(Hazard("runtime", f"{name} is loaded", path) for name, path in native.runtimes()),
        *_descriptors(frozenset(own)),
    )


# --- threads ---------------------------------------------------------------------------


def _python_threads() -> Iterator[Hazard]:
    me = threading.get_ident()
    named = {thread.ident: thread for thread in threading.enumerate()}
    # Not `enumerate` alone: it does not know those of `_thread.start_new_thread`.
    for ident, frame in sys._current_frames().items():
        if ident != me:
            thread = named.get(ident)
            name = repr(thread.name) if thread else "without a name"
            yield Hazard("thread", f"a thread {name} runs since the import", _start(thread, frame))


def _start(thread: threading.Thread | None, frame: FrameType) -> str:
    """Where the thread's own code starts: its target, its `run`, its outermost frame."""
    target = getattr(thread, "_target", None)
    if target is None and thread is not None and type(thread).run is not threading.Thread.run:
        target = type(thread).run
    code = getattr(getattr(target, "__func__", target), "__code__", None)
    if code is None:
        outer: FrameType | None = frame
        while outer is not None:
            if outer.f_code.co_filename != threading.__file__:
                code = outer.f_code
            outer = outer.f_back
    return f"{code.co_filename}:{code.co_firstlineno} {code.co_qualname}" if code else ""


def _native_threads() -> Iterator[Hazard]:
    python = {thread.native_id for thread in threading.enumerate()}
    others = [tid for tid in procfs.threads_of(os.getpid()) if tid not in python]
    strange = [it for it in map(native.origin, others) if not it.harmless]
    # Python threads without a Thread object are among them, and were told of above.
    idents = {thread.ident for thread in threading.enumerate()}
    unnamed = len(set(sys._current_frames()) - idents)
    for origin in strange[unnamed:]:
        yield Hazard("native-thread", f"a native thread {origin.name!r} runs", origin.where)


# --- descriptors -----------------------------------------------------------------------


def _descriptors(own: frozenset[int]) -> Iterator[Hazard]:
    for fd in sorted(open_descriptors() - own):
        try:
            link = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue  # closed meanwhile, by a thread that was told of above
        if link == "anon_inode:[eventpoll]":
            yield Hazard(
                "loop",
                f"an event loop is open already: epoll set, descriptor {fd}",
                "asyncio loop, IOLoop or listen() at import" if "asyncio" in sys.modules else "",
            )
        elif link == "anon_inode:[io_uring]":
            yield Hazard("io-uring", f"an io_uring is open, descriptor {fd}")
        elif link.startswith("socket:") and (peer := _peer(fd)):
            yield Hazard("connection", f"a socket is connected to {peer}, descriptor {fd}")


def _peer(fd: int) -> str:
    """Whom a socket is connected to; "" if to nobody who would answer."""
    with socket.socket(fileno=os.dup(fd)) as sock:
        try:
            peer = sock.getpeername()
        except OSError:
            return ""  # listening, or not connected
        if sock.family == socket.AF_UNIX:
            # syslog and journal: a datagram is a line and nothing is answered.  A
            # peer without a name is a socketpair, a pipe of this process to itself.
            quiet = sock.type == socket.SOCK_DGRAM or not peer
            return "" if quiet else f"unix:{os.fsdecode(peer)}"
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else str(peer)
