"""`tornado.process.Subprocess` that tells its exit on every loop.

Tornado learns of a child's end by a SIGCHLD handler of the loop.  uvloop refuses one
(libuv has its own), so that `set_exit_callback` and `wait_for_exit` raise RuntimeError
there; on asyncio it is one handler a process, which whatever else installs one takes away.
Here each child that is waited for has a pidfd which the loop reads, on asyncio and
uvloop alike.

What is replaced are the three functions that know of SIGCHLD, if they are those of a
Tornado that we know; the rest of the class, subclasses and `_waiting` are Tornado's.
Children that somebody else has reaped (`proc.poll()`, `os.wait()`) leave Tornado waiting
for ever; here the exit is told with the status that is known, or 255 as by asyncio.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

import tornado
from tornado.ioloop import IOLoop
from tornado.process import Subprocess

from leeward.engine.accelerate.pristine import pristine

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_log = logging.getLogger("leeward")

#: Seconds between looks at a child that has no pidfd: there were no descriptors left.
LOOK = 0.1
#: As asyncio says it of a child whose exit status somebody else has taken.
UNKNOWN = 255

#: What is replaced, and what that relies on.
REPLACED = ("set_exit_callback", "initialize", "uninitialize")
NEEDS = (
    *(f"tornado.process:Subprocess.{name}" for name in REPLACED),
    "tornado.process:Subprocess.wait_for_exit",
    "tornado.process:Subprocess._set_returncode",
)

#: What ends the watch of each child that is watched.
_watched: dict[Subprocess, Callable[[], None]] = {}


def install() -> None:
    """Replace them in this process, which has a single thread still.  May be called again."""
    if vars(Subprocess)["set_exit_callback"] is set_exit_callback:
        return
    unknown = next((it for it in NEEDS if not pristine(it)), None)
    if unknown is not None:
        _log.warning(
            "tornado.process.Subprocess is left alone: %s of Tornado %s is not known; "
            "on uvloop its exit callbacks fail (--loop asyncio)",
            unknown,
            tornado.version,
        )
        return
    ours: dict[str, Any] = {
        "set_exit_callback": set_exit_callback,
        "initialize": classmethod(initialize),
        "uninitialize": classmethod(uninitialize),
    }
    for name, function in ours.items():
        setattr(Subprocess, name, function)
    # A process that the application forks has the parent's epoll set: to end a watch there
    # would end the parent's.
    os.register_at_fork(after_in_child=_watched.clear)


def set_exit_callback(self: Subprocess, callback: Callable[[int], None]) -> None:
    """Runs ``callback`` with the return code when this process exits.

    On the loop that the Subprocess was made on, never before this returns.
    """
    self._exit_callback = callback
    Subprocess.initialize()
    Subprocess._waiting[self.pid] = self
    if IOLoop.current(instance=False) is self.io_loop:
        _watch(self)
    else:
        self.io_loop.add_callback(_watch, self)


def initialize(cls: type[Subprocess]) -> None:
    """There is nothing to initialize: each child is watched by itself."""
    if not Subprocess._initialized:
        Subprocess._initialized = True
        for child in tuple(Subprocess._waiting.values()):
            child.io_loop.add_callback(_watch, child)


def uninitialize(cls: type[Subprocess]) -> None:
    """Tell no exits until somebody asks again."""
    Subprocess._initialized = False
    for child in tuple(_watched):
        _watched.pop(child)()


def _watch(child: Subprocess) -> None:
    """Have the exit of `child` told, if it is still to be.  On its own loop."""
    if child in _watched or not Subprocess._initialized or _exited(child):
        return
    loop: asyncio.AbstractEventLoop = child.io_loop.asyncio_loop  # type: ignore[attr-defined]
    try:
        # Ours and not reaped: the pid is nobody else's.
        fd = os.pidfd_open(child.pid)
    except OSError:  # EMFILE: looked at until there is a descriptor; or a thread has reaped it
        _look_later(child)
        return

    def end() -> None:
        # Before it is closed: a forked process may hold it open, in the same epoll set.
        loop.remove_reader(fd)
        os.close(fd)

    _watched[child] = end
    loop.add_reader(fd, _readable, child)


def _readable(child: Subprocess) -> None:
    _watched.pop(child)()
    if not _exited(child):  # it will have been, as soon as a thread in `proc.wait()` goes on
        _look_later(child)


def _look_later(child: Subprocess) -> None:
    def look() -> None:
        _watched.pop(child, None)
        _watch(child)

    _watched[child] = child.io_loop.asyncio_loop.call_later(LOOK, look).cancel  # type: ignore[attr-defined]


def _exited(child: Subprocess) -> bool:
    """Has it ended, or been told already?  If so its callback is on its way."""
    if Subprocess._waiting.get(child.pid) is not child:
        return True
    code = _returncode(child)
    if code is None:
        return False
    del Subprocess._waiting[child.pid]
    child.io_loop.add_callback(child._set_returncode, -code if code < 0 else code << 8)
    return True


def _returncode(child: Subprocess) -> int | None:
    """Reaps it if it has ended, unless a thread is about to in `proc.wait()`."""
    if child.proc.returncode is not None:
        return child.proc.returncode  # reaped by `proc.poll()`: the pid may be another's
    try:
        ended = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        if child.proc.returncode is not None or child.proc.poll() is None:
            return child.proc.returncode
        # Popen says 0 of what it cannot know.
        _log.warning(
            "the exit of child %d was read by somebody else: told as status %d", child.pid, UNKNOWN
        )
        return UNKNOWN
    # Not by our own waitpid: a thread in `proc.wait()` would be told 0.
    return None if ended is None else child.proc.poll()
