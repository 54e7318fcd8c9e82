"""Becoming the supervisor's own child, and dying with it.

PDEATHSIG is sent when the *parent* dies, and a worker's parent is the zygote's
middle process first: arming it then would kill the worker as soon as that ends.
So wait for the kernel to hand us to the supervisor (the sub-reaper), arm, and
look once more, because the supervisor may have died just before.
"""

from __future__ import annotations

import os
import select
import signal
import time

from leeward._sys import prctl

#: Seconds.  Measured 0.6 ms from a small zygote and 2 ms from one of 176 MiB: the
#: middle process gives its pages back before the kernel looks for a new parent.
ADOPTION = 5.0


class Orphaned(Exception):
    """The supervisor is not our parent (any more): nobody would ever stop us."""


def stay_with(supervisor: int) -> None:
    """Be killed when `supervisor` dies.

    Raises Orphaned if it has died already, or is not our parent within 5 s.
    """
    if os.getppid() != supervisor:
        _wait_for_adoption(supervisor)
    prctl.set_pdeathsig(signal.SIGKILL)
    if os.getppid() != supervisor:
        raise Orphaned(f"{supervisor} has died")


def _wait_for_adoption(supervisor: int) -> None:
    """The supervisor may die in this very moment: its pidfd says so, where a parent
    that never comes would only be missed after the full time."""
    try:
        pidfd = os.pidfd_open(supervisor)
    except ProcessLookupError:
        raise Orphaned(f"{supervisor} has died") from None
    try:
        deadline = time.monotonic() + ADOPTION
        death = select.poll()
        death.register(pidfd, select.POLLIN)
        pause = 0.0
        while os.getppid() != supervisor:
            if death.poll(0) or time.monotonic() > deadline:
                raise Orphaned(f"parent is {os.getppid()}, not {supervisor}")
            # First only give way: one turn of the scheduler is what it usually takes.
            time.sleep(pause)
            pause = min(pause + 0.000_05, 0.005)
    finally:
        os.close(pidfd)
