"""Which line of the application ran when a descriptor or a thread appeared that nobody told of.

What C code opens and starts raises no event: an eventfd, the epoll set of a gRPC channel,
the threads of librdkafka, a connection of libpq.  So between the application's own lines,
while it is imported, the kernel is asked whether there is something new: 3 µs a line,
by the lowest free descriptor (it is another one once something was opened) and the number
of threads.  Libraries' lines are not looked at: importing them costs nothing more.

By `sys.monitoring`, which Python has from 3.12 on; where it is missing, or all of its
tools are in use, the holder of a thing tells its line, or nothing does.  What does not work:
`sys.settrace`, which hears of each call of each library (imports took 1.4 times as long).
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

from leeward._sys import procfs
from leeward._zygote.origins import Site
from leeward.adapters.blame import shown

#: A line that has been passed so often is a loop's, and is not listened to any more.
_OFTEN = 200
#: Functions whose lines are listened to; an application has some thousands.
_MOST = 20_000

Inode = tuple[int, int]  # descriptor and inode


def monitoring() -> Any:
    """`sys.monitoring`, None before Python 3.12."""
    return getattr(sys, "monitoring", None)


class Lines:
    """descriptors: the line by which each has appeared.  threads: the same, by native number.
    known:  the descriptors that were there at the end.

    kind:  of a file, as `Origins.kind`: only the application's are listened to.
    """

    def __init__(self, kind: Callable[[str], str]) -> None:
        self.descriptors: dict[Inode, Site] = {}
        self.threads: dict[int, Site] = {}
        self.known: frozenset[Inode] = frozenset()
        self._kind = kind
        self._tool = -1
        self._tasks = -1
        self._codes: list[CodeType] = []
        self._passed: dict[tuple[int, int], int] = {}
        self._last: tuple[str, int] | None = None

    def begin(self) -> None:
        """Raises nothing: without it there are fewer lines to tell."""
        monitor = monitoring()
        if monitor is None:
            return
        # 0 to 2 and 5 are debuggers', coverage's, profilers' and optimizers' by convention.
        tool = next((it for it in (3, 4) if monitor.get_tool(it) is None), -1)
        if tool < 0:
            return
        try:
            self._tasks = os.open("/proc/self/task", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:  # no /proc
            return
        monitor.use_tool_id(tool, "leeward")
        monitor.register_callback(tool, monitor.events.LINE, self._passes)
        # A function on one line has no other line to begin with.
        monitor.register_callback(tool, monitor.events.PY_START, self._starts)
        self._tool, self._me = tool, threading.get_ident()
        self._before, self._running = self._open(), set(procfs.threads_of(os.getpid()))
        self._free, self._count = self._ask()

    def listen(self, code: object) -> None:
        """To the lines of a module that is about to be executed, if it is the application's."""
        if self._tool < 0 or not isinstance(code, CodeType):
            return
        if code.co_filename.startswith("<") or self._kind(code.co_filename) != "application":
            return
        monitor = monitoring()
        events = monitor.events.LINE | monitor.events.PY_START
        for it in _functions(code):
            if len(self._codes) >= _MOST:
                return
            monitor.set_local_events(self._tool, it, events)
            self._codes.append(it)

    def end(self) -> None:
        """May be called again."""
        if not self.known:
            self.known = self._open()
        if self._tool < 0:
            return
        self._look()
        monitor, tool, self._tool = monitoring(), self._tool, -1
        for code in self._codes:
            monitor.set_local_events(tool, code, 0)
        self._codes.clear()
        for event in (monitor.events.LINE, monitor.events.PY_START):
            monitor.register_callback(tool, event, None)
        monitor.free_tool_id(tool)
        os.close(self._tasks)

    def now(self) -> tuple[str, int] | None:
        """The application's line that runs, as its file and number; None if nobody listens."""
        listens = self._tool >= 0 and threading.get_ident() == self._me
        return self._last if listens else None

    def _starts(self, code: CodeType, offset: int) -> object:
        return self._passes(code, code.co_firstlineno)

    def _passes(self, code: CodeType, line: int) -> object:
        """Called before each line.  What is raised here would be raised in the application."""
        # A thread of the application's runs at the same time as what opens something.
        if self._tool < 0 or threading.get_ident() != self._me:
            return None
        with contextlib.suppress(Exception):
            if self._ask() != (self._free, self._count):
                self._look()
            self._last = (code.co_filename, line)
            place = (id(code), line)
            self._passed[place] = passed = self._passed.get(place, 0) + 1
            if passed >= _OFTEN:
                return monitoring().DISABLE
        return None

    def _ask(self) -> tuple[int, int]:
        """The lowest free descriptor, and the number of threads: that of a directory's links."""
        free = os.dup(self._tasks)
        os.close(free)
        return free, os.fstat(self._tasks).st_nlink

    def _look(self) -> None:
        """What is new has come by the last line that has run."""
        self._free, self._count = self._ask()
        now, running = self._open(), set(procfs.threads_of(os.getpid()))
        if self._last is not None:
            site = Site(f"{shown(self._last[0])}:{self._last[1]}")
            # Kernel objects without a name have one inode in common: the descriptor tells.
            self.descriptors.update(dict.fromkeys(now - self._before, site))
            self.threads.update(dict.fromkeys(running - self._running, site))
        self._before, self._running = now, running

    @staticmethod
    def _open() -> frozenset[Inode]:
        return frozenset(descriptors())


def _functions(code: CodeType) -> Iterator[CodeType]:
    """A module's code, and that of all classes and functions in it."""
    stack = [code]
    while stack:
        it = stack.pop()
        yield it
        stack.extend(part for part in it.co_consts if isinstance(part, CodeType))


def descriptors() -> Iterator[Inode]:
    """All that are no files or directories: 1.5 µs for one."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # that of the listing itself
            status = os.fstat(int(name))
            if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
                yield int(name), status.st_ino
