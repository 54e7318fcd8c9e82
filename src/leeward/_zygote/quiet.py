"""No lock that a worker needs is held by another thread while the zygote forks.

A child has one thread, and the locks as they were: one that another thread held stays locked
for ever (40 of 40 workers hung on such a lock).  So before each fork the zygote waits, at
most `PATIENCE`, until those that every worker needs can be had, in this order: imports,
logging and its handlers, stdout and stderr.  logging's are kept until the fork is over.

A zygote with one thread has nothing to wait for, and that is the rule: threads are hazards,
which have workers spawned unless the settings insist on forking.

If they cannot be had, the fork is made, it is said which, and the child makes do: what was
half imported is imported anew, the streams are new ones on the same descriptors.  What does
not work: taking every lock for granted with `acquire()` (a thread that writes to a full pipe
holds stdout's for as long as nobody reads), and flushing it (which waits for the same).
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import threading
import time
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from leeward._core.record import Struct, field
from leeward._sys import whole

#: Seconds for all locks.
PATIENCE = 1.0
#: Seconds between two looks at locks that cannot be waited for.
STEP = 0.002


class Held(Struct):
    """What could not be had: modules and streams by name, handlers, and all of it in words."""

    handlers: list[object] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)
    streams: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def repair(self) -> None:
        """In the child."""
        for name in self.modules:
            _module_locks().pop(name, None)
            sys.modules.pop(name, None)
        for name in self.streams:
            _renew(name)


@contextlib.contextmanager
def quiet() -> Iterator[Held]:
    """Fork inside.  What is yielded tells the child what to repair.  Raises OSError."""
    held = Held()
    if len(sys._current_frames()) == 1:
        yield held
        return
    deadline = time.monotonic() + PATIENCE
    parent = os.getpid()
    _wait_for_imports(held, deadline)
    locks = _take_logging(held, deadline)
    _wait_for_streams(held, deadline)
    try:
        yield held
    finally:
        for lock in reversed(locks):
            # logging makes its locks new in a child: there they are not held any more.
            with contextlib.suppress(RuntimeError) if os.getpid() != parent else _NOTHING:
                lock.release()


_NOTHING: contextlib.AbstractContextManager[None] = contextlib.nullcontext()


def _wait_for_imports(held: Held, deadline: float) -> None:
    while (found := _imported_now()) and time.monotonic() < deadline:
        time.sleep(STEP)
    for name, owner in found.items():
        held.modules.append(name)
        held.words.append(f"the import of {name} ({_thread(owner)})")


def _module_locks() -> dict[str, Any]:
    """Weak references to the locks of modules that are being imported, by their names."""
    found: dict[str, Any] = vars(import_module("importlib._bootstrap"))["_module_locks"]
    return found


def _imported_now() -> dict[str, int]:
    """The modules whose locks other threads have, and whose threads those are."""
    found = {}
    for name, reference in list(_module_locks().items()):
        owner = getattr(reference(), "owner", None)
        if owner not in (None, threading.get_ident()):
            found[str(name)] = int(owner)
    return found


def _take_logging(held: Held, deadline: float) -> list[Any]:
    """The locks that were taken.

    logging's own first: its hook takes it again in the fork, and would wait for ever for a
    thread that has it and wants one of the handlers.  Without it there is no fork: that hook
    would not come back.  Raises OSError then.
    """
    logging = sys.modules.get("logging")
    if logging is None:
        return []
    taken: list[Any] = []
    if not logging._lock.acquire(timeout=PATIENCE):
        raise OSError(errno.EDEADLK, "another thread of the zygote holds logging's lock")
    taken.append(logging._lock)
    for handler in [reference() for reference in logging._handlerList]:
        lock = getattr(handler, "lock", None)
        if lock is None:
            continue
        if lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            taken.append(lock)
        else:
            held.handlers.append(handler)
            held.words.append(f"the lock of {handler!r}")
    return taken


def _wait_for_streams(held: Held, deadline: float) -> None:
    """Flush them, in a thread that may be left behind: its lock cannot be asked for."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            continue
        thread = threading.Thread(target=_flush, args=(stream,), daemon=True)
        thread.start()
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            held.streams.append(name)
            held.words.append(f"the lock of {name}")


def _flush(stream: Any) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # full, closed, no stream
        stream.flush()


def _renew(name: str) -> None:
    """Another stream on the same descriptor; what the old one held is its thread's, and lost."""
    old = getattr(sys, name)
    try:
        raw = whole.Whole(old.fileno(), "wb", closefd=False)
        new = io.TextIOWrapper(
            io.BufferedWriter(raw), old.encoding, old.errors, line_buffering=old.line_buffering
        )
    except (OSError, ValueError, AttributeError):  # not on a descriptor: not ours to mend
        return
    # The old one must not be freed: that would flush it, and wait.
    _KEPT.append(old)
    setattr(sys, name, new)
    setattr(sys, f"__{name}__", new)
    logging = sys.modules.get("logging")
    for reference in [] if logging is None else logging._handlerList:
        handler = reference()
        if getattr(handler, "stream", None) is old:
            handler.stream = new


_KEPT: list[Any] = []


def _thread(ident: int) -> str:
    for thread in threading.enumerate():
        if thread.ident == ident:
            return f"in thread {thread.name!r}"
    return f"in thread {ident}"
