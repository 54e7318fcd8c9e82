"""How a process ended, in words: the line that is read at 3 a.m."""

from __future__ import annotations

import os
import signal

from leeward._core.roster import Death
from leeward._sys import cgroup
from leeward._sys.signals import signal_name

#: What went wrong, by the stage at which a process said so.
STAGES = {
    "import": "could not be imported",
    "factory": "failed in its factory",
    "begin": "could not begin to serve",
    "resource": "could not open a resource",
    "probe": "did not pass its probe",
    "listen": "could not listen",
    "tls": "could not use the certificate",
    "user": "could not become the user that runs it",
    "program": "did not come to serve",
    "usage": "cannot be adopted",
    "hazards": "may not be forked",
}

#: Stages behind the import.
_PAST_LOADING = tuple(STAGES[it] for it in ("factory", "begin", "resource", "probe", "listen"))


def is_past_loading(why: str) -> bool:
    """Does `why` a start failed say that the application was loaded?"""
    return why.startswith(_PAST_LOADING)


class Coroner:
    """Turns wait statuses into words; remembers the kernel's out-of-memory count."""

    def __init__(self) -> None:
        self._oom_kills = cgroup.oom_kills()

    def death(self, status: int, served: bool, loading: bool = False) -> Death:
        """`status` as waitpid gave it.

        served:   it had accepted a connection.
        loading:  it is a zygote that had not loaded the application yet.
        """
        when = " before the application was loaded" if loading else ""
        if os.WIFEXITED(status):
            code = os.WEXITSTATUS(status)
            return Death(f"exited with code {code}{when}", served=served)
        number = os.WTERMSIG(status)
        if number == signal.SIGKILL and self._out_of_memory():
            return Death("killed by the kernel: out of memory", served=served)
        core = ", core dumped" if os.WCOREDUMP(status) else ""
        return Death(
            f"killed by {signal_name(number)}{core}{when}",
            sigkill=number == signal.SIGKILL,
            served=served,
        )

    def unknown(self, status: int) -> None:
        """One ended of whom we do not tell: what killed it is not what kills the next one."""
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if killed and cgroup.oom_kills() > self._oom_kills:
            self._oom_kills += 1  # one: there may be another in the same breath

    def _out_of_memory(self) -> bool:
        """Did the control group's count of out-of-memory kills rise since the last look?"""
        count = cgroup.oom_kills()
        risen, self._oom_kills = count > self._oom_kills, count
        return risen
