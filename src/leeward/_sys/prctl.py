"""prctl(2) by ctypes, which is imported only when a function is called.

Never called in the supervisor: ctypes would cost it 0.3 MiB, and what it needs
is done before its exec (the sub-reaper flag survives execve, prctl(2)).
"""

from __future__ import annotations

import os

# linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_GET_PDEATHSIG = 2
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37


def _prctl(option: int, argument: object) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    if libc.prctl(ctypes.c_int(option), argument, zero, zero, zero) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _number(value: int) -> object:
    import ctypes

    return ctypes.c_ulong(value)


def _get(option: int) -> int:
    import ctypes

    answer = ctypes.c_int(0)
    _prctl(option, ctypes.byref(answer))
    return answer.value


def set_child_subreaper(on: bool = True) -> None:
    """Orphans among our descendants become our children.  Kept across exec, not by fork."""
    _prctl(_PR_SET_CHILD_SUBREAPER, _number(int(on)))


def get_child_subreaper() -> bool:
    """Whether this process adopts orphans among its descendants."""
    return bool(_get(_PR_GET_CHILD_SUBREAPER))


def set_pdeathsig(signum: int) -> None:
    """Have `signum` sent to us when our parent dies; 0 for none.

    Cleared by fork, by setuid and by exec of a set-user-ID program.  "Parent" is
    the *thread* that forked us.  If the parent may have died before the call,
    compare `os.getppid()` afterwards.
    """
    _prctl(_PR_SET_PDEATHSIG, _number(signum))


def get_pdeathsig() -> int:
    """The signal that comes when our parent dies, 0 for none."""
    return _get(_PR_GET_PDEATHSIG)


def set_dumpable(on: bool = True) -> None:
    """Let /proc/self belong to our own user again; setuid switches that off."""
    _prctl(_PR_SET_DUMPABLE, _number(int(on)))


def set_name(name: str) -> None:
    """Name the calling thread (15 bytes, the kernel cuts the rest)."""
    import ctypes

    _prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode("utf-8", "replace")[:15]))
