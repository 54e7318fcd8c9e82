"""Becoming the supervisor's own child, and dying with it.

PDEATHSIG is sent when the *parent* dies, and a worker's parent is the zygote's
middle process first: arming it then would kill the worker as soon as that ends.
So wait for the kernel to hand us to the supervisor (the sub-reaper), arm, and
look once more, because the supervisor may have died just before.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence

from leeward._sys import prctl, privileges

#: Seconds.  Measured 0.6 ms from a small zygote and 2 ms from one of 176 MiB: the
#: middle process gives its pages back before the kernel looks for a new parent.
ADOPTION = 5.0


class Orphaned(Exception):
    """The supervisor is not our parent (any more): nobody would ever stop us."""


def stay_with(supervisor: int) -> None:
    """Be killed when `supervisor` dies.  Raises Orphaned if it is not our parent within 5 s."""
    deadline = time.monotonic() + ADOPTION
    pause = 0.0
    while os.getppid() != supervisor:
        if time.monotonic() > deadline:
            raise Orphaned(f"parent is {os.getppid()}, not {supervisor}")
        # First only give way: one turn of the scheduler is what it usually takes.
        time.sleep(pause)
        pause = min(pause + 0.000_05, 0.005)
    prctl.set_pdeathsig(signal.SIGKILL)
    if os.getppid() != supervisor:
        raise Orphaned(f"{supervisor} has died")


def stay_as(supervisor: int, uid: int, gid: int, groups: Sequence[int]) -> None:
    """`stay_with`, and give up root's rights for good (`privileges.drop`; -1: none to give up).

    Raises Orphaned, and OSError or RuntimeError where that cannot be done.
    """
    stay_with(supervisor)
    if uid != -1 or gid != -1:
        privileges.drop(uid, gid, groups)
        stay_with(supervisor)  # the kernel has cleared PDEATHSIG
