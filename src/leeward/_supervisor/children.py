"""The supervisor's hands on other processes: start, signal, reap, find what was left.

Nothing is decided here.  `leeward._core` names processes by a number of its
own; this room knows which pid and which channel belong to it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping

from leeward._core import spares
from leeward._core.config import Config
from leeward._core.record import Record
from leeward._supervisor.notify import without
from leeward._sys import bootstrap, procfs
from leeward._sys.channel import Channel
from leeward._sys.posix import Posix

#: Every process of an instance carries it: `<control socket>:<supervisor pid>`,
#: and `:<its pid>` behind that in what a worker starts, or a zygote at import.
MARK = "LEEWARD_INSTANCE"

#: Ended processes whose pid nobody has told us yet: a worker may die before the
#: zygote's word of its birth has arrived.
_UNCLAIMED = 64

#: Reaped per call, so that a fork bomb's heirs leave room for everything else.
_REAPED_PER_CALL = 256

#: No kernel gives out another pid (PID_MAX_LIMIT).
_PIDS = range(1, 2**22 + 1)

#: Python ignores these two; a child that is exec'ed expects the defaults.
_DEFAULTED = (signal.SIGPIPE, signal.SIGXFSZ)


def _mark_of(pid: int) -> str:
    """The mark in a process's environment, which is empty in the middle of an exec."""
    for _ in range(5):
        environ = procfs.environ_of(pid)
        if environ:
            return environ.get(MARK, "")
        time.sleep(0.001)
    return ""


def _forked_by(pid: int) -> str:
    """The process in the name that forks get of us, inherited by forks of forks.

    `leeward._worker.forks`, `leeward._zygote.signals` and `leeward._zygote.spare` give it.
    """
    name = procfs.comm(pid) or ""
    zygote = spares.zygote_of(name)
    return name.removeprefix("leeward ") if zygote is None else str(zygote)


def is_spare(pid: int) -> bool:
    """Is it a worker that has no order yet?  It ends by itself when its zygote does."""
    return spares.zygote_of(procfs.comm(pid)) is not None


class Reaped(Record):
    pid: int
    status: int  # as waitpid(2) gives it


class Children:
    """Starts, signals and reaps.  `environ`: the supervisor's own environment."""

    def __init__(self, posix: Posix, environ: Mapping[str, str], control_path: str) -> None:
        self._posix = posix
        self._environ = dict(environ)
        self._pid = posix.getpid()
        self._mark = f"{control_path}:{self._pid}"
        self._unclaimed: OrderedDict[int, int] = OrderedDict()

    def start(self, config: Config, role: str) -> tuple[int, Channel]:
        """A fresh zygote or spawned worker, and our end of its channel.

        Raises OSError when it cannot be had (EAGAIN, EMFILE, no such interpreter).
        """
        environ = {**without(self._environ), **dict(config.env), MARK: self._mark}
        return self._spawn(config, environ, role)

    def start_resolver(self, config: Config) -> tuple[int, Channel]:
        """The settings' resolver: it sees the environment that `serve` saw, all of it."""
        return self._spawn(config, self._environ, "resolve", *config.argv)

    def start_collector(self, config: Config) -> tuple[int, Channel]:
        """Ours alone: nothing of the application's environment but its clock, by which its log
        files are rotated and called; and no mark of an instance.
        """
        zone = {name: value for name, value in config.env if name == "TZ"}
        return self._spawn(config, {**without(self._environ), **zone}, "collector")

    def _spawn(
        self, config: Config, environ: Mapping[str, str], role: str, *args: str
    ) -> tuple[int, Channel]:
        ours, theirs = Channel.pair()
        try:
            fd = theirs.fileno()
            command = bootstrap.command(config.interpreter, config.root, role, fd, self._pid, *args)
            self._enter(config.cwd)
            pid = self._posix.posix_spawn(
                command[0],
                command,
                environ,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    # Onto itself: takes FD_CLOEXEC off in the child alone.
                    (os.POSIX_SPAWN_DUP2, fd, fd),
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=_DEFAULTED,
            )
        except BaseException as error:
            ours.close()
            if isinstance(error, OSError) and error.errno == errno.E2BIG:
                # "Argument list too long" sends a person to the arguments, which are few.
                raise OSError(
                    errno.E2BIG, "its environment is too large: see env | wc -c"
                ) from None
            if isinstance(error, FileNotFoundError) and not os.path.exists(os.devnull):
                # Python always names the interpreter.
                raise FileNotFoundError(error.errno, error.strerror, os.devnull) from None
            raise
        finally:
            theirs.close()
        return pid, ours

    def _enter(self, directory: str) -> None:
        """Have the next child begin in `directory`, where `serve` was typed.

        Entered anew for each child: a deploy may have swapped a link in the path, or
        deleted the release that we were started in.  A relative PYTHONPATH follows,
        and Python 3.13 cannot even import `socket` in a deleted directory.
        """
        try:
            self._posix.chdir(directory)
        except OSError:
            self._posix.chdir("/")  # the child itself says what it misses

    def owns(self, pid: int) -> bool:
        """Is it a child of ours?  Until we reap it, which nobody else does, its pid is no other's.

        A worker is one when its pid is told: the zygote tells it when the middle process has
        ended, the worker itself when it has seen that we are its parent.
        """
        try:
            if pid in _PIDS:
                self._posix.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                return True
        except ChildProcessError:
            pass
        return False

    def signal(self, pid: int, signum: int) -> None:
        """Sends `signum` to a child of ours; one that is gone already is fine."""
        if self.owns(pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                self._posix.kill(pid, signum)

    def kill_group(self, pid: int) -> None:
        """SIGKILL to the process and, where it leads one, its group."""
        if self.owns(pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                self._posix.kill(pid, signal.SIGKILL)
            # A worker that has not reached its setsid() yet leads no group.  A group of this
            # number is its own: no pid is given out while there is a group of that number.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                self._posix.killpg(pid, signal.SIGKILL)

    def reap(self) -> Iterator[Reaped]:
        """Every child that has ended, strangers included (we may be PID 1 or sub-reaper).

        And every one that was stopped or continued: its status says so.
        """
        for _ in range(_REAPED_PER_CALL):
            try:
                pid, status = self._posix.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            yield Reaped(pid, status)
        # More may wait, and their SIGCHLD has been read: ask to be called again.
        self._posix.kill(self._pid, signal.SIGCHLD)

    def keep_unclaimed(self, reaped: Reaped) -> None:
        self._unclaimed[reaped.pid] = reaped.status
        if len(self._unclaimed) > _UNCLAIMED:
            self._unclaimed.popitem(last=False)

    def forget_unclaimed(self) -> list[int]:
        """Nobody's pid is awaited: who is born later under one of these is somebody else.

        Returns how those ended.
        """
        statuses = list(self._unclaimed.values())
        self._unclaimed.clear()
        return statuses

    def is_unclaimed(self, pid: int) -> bool:
        return pid in self._unclaimed

    def claim(self, pid: int) -> Reaped | None:
        """Has a process of this pid, of which we hear only now, ended already?"""
        status = self._unclaimed.pop(pid, None)
        return None if status is None else Reaped(pid, status)

    def strays(self, known: set[int]) -> Iterator[int]:
        """Our children that the application of a dead worker or zygote has left behind.

        known:  pids of living processes that have a place already; what they started is theirs.
        Strangers without our mark (we may be PID 1) are none of our business.
        """
        for pid in procfs.children_of(self._pid):
            if pid in known or procfs.state_of(pid) in (None, "Z"):
                continue
            mark = _mark_of(pid)
            if mark != self._mark and not mark.startswith(self._mark + ":"):
                continue
            # A fork keeps the environment that the zygote began with; its name tells whose it is.
            parent = mark[len(self._mark) + 1 :] or _forked_by(pid)
            if not (parent.isdigit() and int(parent) in known):
                yield pid


def may_signal(one: int, other: int) -> bool:
    """Does the kernel let the process `one` kill `other`, by its user?"""
    mine, its = procfs.uids(one), procfs.uids(other)
    if mine is None or its is None:
        return True  # no /proc, where nobody can know
    return mine[1] == 0 or any(it in (its[0], its[2]) for it in mine[:2])


def program(pid: int) -> str:
    """What a stray is, in a few words: its command line, or that it is a fork."""
    words = " ".join(" ".join(procfs.cmdline(pid) or ()).split())
    if "leeward._boot" in words:
        return f"a fork of {procfs.comm(pid) or 'it'}"
    return words[:80] or procfs.comm(pid) or "?"
