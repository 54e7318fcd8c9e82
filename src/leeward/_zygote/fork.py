"""Making a worker out of a zygote: the fork, and what a newborn does first.

The worker must become the *supervisor's* child, so that its death is reaped and
its life tied to the supervisor's: the zygote forks a middle process, which forks
the worker and exits, and the kernel gives the orphan to the sub-reaper.  Things
that do not work: clone(CLONE_PARENT), which skips pthread_atfork, and OpenBLAS
hangs in the child; PR_SET_PDEATHSIG before the new parent is there, which ties
the worker to the middle process that is about to exit.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time

from leeward._sys import posix, prctl

#: Until the kernel has given us to the supervisor: 0.6 ms measured.
_ADOPTION = 5.0


def double_fork() -> int:
    """0 in the worker, its pid in the zygote.  Raises OSError (EAGAIN, ENOMEM, EMFILE).

    Nothing is left behind when it fails: no process, no zombie, no descriptor.
    """
    read, write = os.pipe()
    try:
        middle = os.fork()
    except OSError:
        os.close(read)
        os.close(write)
        raise
    if middle == 0:
        os.close(read)
        if _middle(write) == 0:
            return 0
    os.close(write)
    word = b""
    while piece := os.read(read, 64):
        word += piece
    os.close(read)
    os.waitpid(middle, 0)
    number = int(word or b"-12")  # killed before it could say anything: as ENOMEM
    if number < 0:
        raise OSError(-number, os.strerror(-number))
    return number


def _middle(write: int) -> int:
    """Forks the worker, tells its pid or minus the error number, exits.  0 in the worker."""
    try:
        pid = os.fork()
    except OSError as error:
        pid = -(error.errno or 11)
    if pid == 0:
        os.close(write)
        return 0
    os.write(write, str(pid).encode())
    os._exit(0)


def settle_newborn(supervisor: int, slot: int, generation: int) -> None:
    """In a new worker, forked or spawned: whose child it is, its names, its randomness."""
    if os.getsid(0) != os.getpid():
        os.setsid()  # a spawned one leads its session already
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _wait_for_adoption(supervisor)
    prctl.set_pdeathsig(signal.SIGKILL)
    if os.getppid() != supervisor:
        os._exit(0)  # it died between the two looks
    os.environ["LEEWARD_SLOT"] = str(slot)
    os.environ["LEEWARD_GENERATION"] = str(generation)
    # So that what this worker starts can be told from what its siblings start.
    instance = os.environ.get("LEEWARD_INSTANCE", "")
    os.environ["LEEWARD_INSTANCE"] = f"{instance}:{os.getpid()}"
    posix.set_comm(f"leeward w{slot} g{generation}")
    _reseed()


def _wait_for_adoption(supervisor: int) -> None:
    deadline = time.monotonic() + _ADOPTION
    while os.getppid() != supervisor:
        if time.monotonic() > deadline:
            os._exit(1)
        os.sched_yield()


def _reseed() -> None:
    """Siblings must not draw the same numbers, nor invent the same temporary names."""
    random.seed()
    if (tempfile := sys.modules.get("tempfile")) is not None:
        tempfile._name_sequence = None
    if (numpy_random := sys.modules.get("numpy.random")) is not None:
        numpy_random.seed()
