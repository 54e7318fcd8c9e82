"""One worker out of the zygote: a double fork, and what must be made new in the child.

    zygote ──fork──► middle ──fork──► worker      middle tells the worker's pid and exits;
                                                  the kernel hands the worker to the supervisor

What does not work: clone(CLONE_PARENT), which would save the middle process but
skips pthread_atfork, and OpenBLAS hangs at its first use in the child.

Measured on 2 shared cores: 4 ms for a zygote of 30 MiB, 8 ms for one of 176 MiB
(numpy, pandas, 60 MiB of data); it is the page tables that are copied, twice.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import select
import signal
import struct
import sys
import time
import warnings

from leeward._zygote.immortal import immortalize
from leeward._zygote.objects import scan, take_inventory
from leeward._zygote.quiet import Held, quiet

#: Seconds for the middle process, which somebody may have stopped, or a hook of the application's
#: hold: less than the 5 s that the supervisor gives the zygote, which would have to import all
#: anew, and so much less that it may just have tried to make a spare.
PATIENCE = 3.0

#: errno (0: none) and pid.
_REPORT = struct.Struct("ii")


def fork_twice(patience: float = PATIENCE) -> int:
    """In the zygote the worker's pid, in the worker 0.

    patience:  in seconds, for all of it.

    Raises OSError if either fork fails (EAGAIN, ENOMEM), takes too long or there is no
    descriptor for the pipe; then there is no new process, zombie or descriptor.  (But where the
    middle process is stopped behind its own fork: that worker ends by its closed channel.)
    """
    deadline = time.monotonic() + patience
    reader, writer = os.pipe2(os.O_CLOEXEC)
    report = b""
    try:
        with quiet() as held:
            _flush_but(held)
            _say(held)
            middle = _fork()
        if middle == 0:
            _be_middle(writer)  # returns in the worker only
            held.repair()
            return 0
        os.close(writer)
        writer = -1
        if not _readable(reader, max(0.0, deadline - time.monotonic())):
            os.kill(middle, signal.SIGKILL)
            _readable(reader, 0.2)
        os.set_blocking(reader, False)
        with contextlib.suppress(BlockingIOError):
            report = os.read(reader, _REPORT.size)
        # SIGCHLD is the application's: one that ignores it has the kernel reap, another's
        # handler may do so itself.  How the middle process has ended, its report says.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(middle, 0)
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    if len(report) != _REPORT.size:  # somebody killed the middle process, or we
        raise ChildProcessError("the middle process ended before it could fork")
    number, pid = _REPORT.unpack(report)
    if number:
        raise OSError(number, os.strerror(number))
    return int(pid)


def _readable(fd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


_said: set[str] = set()


def _say(held: Held) -> None:
    """Once for each lock.  Not by `print`, which may want one of them."""
    for words in [it for it in held.words if it not in _said]:
        _said.add(words)
        line = f"zygote: forks while another thread holds {words}\n"
        with contextlib.suppress(OSError):  # nobody reads
            os.write(2, line.encode(errors="backslashreplace"))


def _be_middle(writer: int) -> None:
    # Never through the interpreter's exit: `atexit` belongs to the workers, each
    # once, and buffers that we inherited would be written once more.
    try:
        pid = _fork()
    except OSError as error:
        os.write(writer, _REPORT.pack(error.errno or 0, 0))
        os._exit(0)
    if pid:
        os.write(writer, _REPORT.pack(0, pid))
        os._exit(0)


def _fork() -> int:
    # Python >= 3.12 warns of any second thread, OpenBLAS's harmless ones too, and
    # where warnings are errors `fork` would raise *after* having forked.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def freeze() -> None:
    """Once before the first fork: no unwritten data, no garbage, no reference counts where
    they can be done without, and a collector that leaves alone what the workers share.

    Without gc.freeze the first full collection in each worker writes into, and so
    copies, every page that holds a Python object.
    """
    gc.collect()
    # Any open file that holds unwritten data would be written by each worker.
    inventory = take_inventory()
    for thing in scan(inventory)["file"]:
        # A full disk, closed, detached, and an application's own idea of a file: a GzipFile
        # whose opening failed is one too, and has not even the attributes to say so.
        with contextlib.suppress(Exception):
            thing.flush()
    # And what C code has printed: a child of the application that ends by `exit` writes it.
    with contextlib.suppress(OSError, AttributeError):  # a libc that is linked in
        ctypes.CDLL(None).fflush(None)
    immortalize(inventory)
    del inventory
    gc.freeze()


def flush() -> None:
    """Have nothing in a buffer that the child would write once more."""
    _flush_but(Held())


def _flush_but(held: Held) -> None:
    """The same, less what would wait for a lock that could not be had."""
    logging = sys.modules.get("logging")
    handlers = [] if logging is None else [reference() for reference in logging._handlerList]
    streams = [getattr(sys, it) for it in ("stdout", "stderr") if it not in held.streams]
    stuck = [getattr(sys, it) for it in held.streams]
    for thing in (*handlers, *streams):
        # None: stdio that was closed, a handler that has gone.  Any other: an application's
        # own idea of a stream or a handler, which would cost the zygote its life.
        with contextlib.suppress(Exception):
            if thing not in held.handlers and getattr(thing, "stream", None) not in stuck:
                thing.flush()


def reseed() -> None:
    """In the child: let no two workers draw the same numbers.

    `random` and `tempfile` see a fork by themselves (os.register_at_fork, a check
    of the pid; held for 3.11-3.13 by tests/zygote); secrets, uuid4 and ssl ask
    the kernel.  Only numpy's global generator is left; generators that the
    application made for itself are its own business.
    """
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
