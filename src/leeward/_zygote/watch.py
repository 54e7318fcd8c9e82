"""Writes down, while the application is imported, which line opened or started what.

An audit hook hears of it, on any thread.  It cannot be taken off again: each event of
the process's life, and its workers', goes through `hook`, which then finds an empty
dict (0.2 µs an event by `bench/audit.py`, most of it the interpreter's call; a request
served raises none, an accepted connection one).  An instance in spawn mode has none.

What raises no event is heard of by a function in the place of another, for as long as
the import takes: `Thread.start` (the event exists from 3.12 on, and does not name the
thread) and `random.Random.seed`.

What a C extension opens raises no event and calls nobody: before each extension is
loaded, and at the next import after it, the sockets are counted (`leeward._zygote.census`);
and between the application's own lines the kernel is asked (`leeward._zygote.lines`).
"""

from __future__ import annotations

import _random
import contextlib
import functools
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from leeward._sys import procfs
from leeward._zygote import memory
from leeward._zygote.census import Census, importer_of
from leeward._zygote.lines import Inode, Lines
from leeward._zygote.origins import NOWHERE, Origins, Site

#: Sites that are kept of each sort; a program that connects in a loop while it is imported
#: is told of by its first ones.
_MOST = 10_000
#: Mappings of memory whose lines are kept.
_MAPS = 100
#: Seconds around now in which a seed is the time, and another one in each process.
_TODAY = 86400.0

K = TypeVar("K")
V = TypeVar("V")


def note_of(notes: WeakKeyDictionary[K, V], it: K | None, default: V) -> V:
    """What was written down about an object, even if it has no hash."""
    try:
        return notes.get(it, default) if it is not None else default
    except TypeError:
        return default


class Watch:
    """sockets:    where each was connected, or made, by descriptor and inode.
    made:       where each Python socket was made, by its object.
    threads:    where each was started; `bare`: those of `_thread`, by their function.
    databases:  by the id of the SQLite connection: (database, where).
    files:      where each file was opened for writing, by its absolute path.
    children:   where each process was started, by its `Popen` object; `born`: by its pid.
    seeded:     where each `random.Random` was seeded, whether it may have been so to give
                the same numbers again, and the seed of which only the source tells that.
    states:     the seed, by the hash of what `getstate` has given, of those that were not.
    timers:     where each was last set, by its number (`signal.ITIMER_REAL`).
    locked:     where a lock of a file was taken, by its descriptor.
    mapped:     where shared memory was mapped, by its address.
    directories: where each temporary one was made, by its path.
    lines:      the application's line, for what nobody tells of.
    census:     what has appeared while extensions were loaded.
    """

    def __init__(self, origins: Origins) -> None:
        self.origins = origins
        self.sockets: dict[Inode, Site] = {}
        self.made: WeakKeyDictionary[Any, Site] = WeakKeyDictionary()
        self.threads: WeakKeyDictionary[threading.Thread, Site] = WeakKeyDictionary()
        self.bare: dict[object, Site] = {}
        self.databases: dict[int, tuple[str, Site]] = {}
        self.files: dict[str, Site] = {}
        self.children: list[tuple[Any, Site]] = []
        self.seeded: WeakKeyDictionary[random.Random, tuple[Site, bool, Any]] = WeakKeyDictionary()
        self.states: dict[int, Any] = {}
        self.born: dict[int, Site] = {}
        self.timers: dict[int, Site] = {}
        self.locked: dict[int, Site] = {}
        self.mapped: dict[int, Site] = {}
        self.directories: dict[str, Site] = {}
        self.lines = Lines(origins.kind)
        self.census = Census()
        self.memory = memory.shared()
        self._bearing: Site | None = None
        self._mapping: Site | None = None
        self._maps = 0
        self._database = threading.local()
        self._handlers: dict[str, Callable[[Any], None]] = {}
        self._undo = contextlib.ExitStack()

    # --- on and off ---------------------------------------------------------------------

    def arm(self) -> None:
        """From now on.  Once in the life of a process: the hook stays."""
        handlers = self._handlers

        def hook(event: str, args: Any) -> None:
            if event in handlers:
                try:
                    handlers[event](args)
                except Exception:
                    return  # it would be raised in the application's own call

        self._wrap(threading.Thread, "start", self._started)
        self._wrap(random.Random, "seed", self._seeded)
        self._wrap(random.Random, "getstate", self._asked)
        self._wrap(random.Random, "setstate", self._set)
        self._wrap_global()
        self._wrap(signal, "setitimer", self._timed)
        self._wrap(signal, "alarm", self._alarmed)
        self.lines.begin()
        self.census.open()
        handlers.update(
            {
                "socket.connect": self._connected,
                "socket.__new__": self._made,
                "open": self._opened,
                "sqlite3.connect": self._named,
                "sqlite3.connect/handle": self._database_opened,
                "_thread.start_new_thread": self._bare,
                "subprocess.Popen": self._child,
                "os.fork": self._child,
                "os.forkpty": self._child,
                "os.posix_spawn": self._child,
                "import": self._imported,
                "exec": self._executed,
                "fcntl.flock": self._locked,
                "fcntl.lockf": self._locked,
                "mmap.__new__": self._mapped,
                "tempfile.mkdtemp": self._directory,
            }
        )
        sys.addaudithook(hook)

    def disarm(self) -> None:
        """Nothing more is written down.  May be called again."""
        self._handlers.clear()
        self._undo.close()
        self.lines.end()
        self.census.close()
        self._settle()
        self._settle_memory()

    def _wrap(self, owner: Any, name: str, note: Callable[..., None]) -> None:
        original = vars(owner)[name]
        handlers = self._handlers

        def wrapper(self: Any, /, *args: Any, **more: Any) -> Any:
            if handlers:
                with contextlib.suppress(Exception):  # as in `hook`
                    note(self, *args, **more)
            return original(self, *args, **more)

        for attribute in ("__module__", "__name__", "__qualname__", "__doc__"):
            setattr(wrapper, attribute, getattr(original, attribute))
        setattr(owner, name, wrapper)

        def restore() -> None:
            # Somebody may have put something around ours meanwhile (sentry-sdk does):
            # then ours stays inside it, and only passes on.
            if vars(owner).get(name) is wrapper:
                setattr(owner, name, original)

        self._undo.callback(restore)

    def _wrap_global(self) -> None:
        """The functions of `random` itself, whose methods were bound before ours were there.

        It is seeded anew at each fork by its own hook: what is made of it is to be, too.
        """
        it = getattr(random, "_inst", None)
        if not isinstance(it, random.Random):
            return
        self.seeded[it] = (NOWHERE, False, None)
        for name in ("seed", "getstate", "setstate"):
            bound, original = getattr(it, name), getattr(random, name)
            setattr(random, name, bound)

            def restore(name: str = name, bound: Any = bound, original: Any = original) -> None:
                if getattr(random, name) is bound:
                    setattr(random, name, original)

            self._undo.callback(restore)

    # --- what is heard ------------------------------------------------------------------
    # Each is called by `hook`, or by a wrapper, which what has happened has called: that is
    # `_frame()`.  It is an event itself, and only asked for where something is written down.

    def _site(self, frame: FrameType | None) -> Site:
        """What a library's thread does comes from the line that has started the thread."""
        site = self.origins.site(frame)
        if not site.where:
            # Not `current_thread()`, which makes an object where there is none.
            thread = vars(threading)["_active"].get(threading.get_ident())
            site = Site(note_of(self.threads, thread, site).where, site.library)
        return site

    def _connected(self, args: Any) -> None:
        fd = args[0].fileno()
        if len(self.sockets) < _MOST:
            # The first connect and not the last: a reconnect comes from the same place.
            self.sockets.setdefault((fd, os.fstat(fd).st_ino), self._site(_frame()))

    def _made(self, args: Any) -> None:
        if len(self.made) < _MOST:
            self.made[args[0]] = self._site(_frame())

    def _opened(self, args: Any) -> None:
        path, _, flags = args
        writes = flags & (os.O_WRONLY | os.O_RDWR) and not isinstance(path, int | None)
        if writes and len(self.files) < _MOST:
            self.files[os.path.abspath(os.fsdecode(path))] = self.origins.site(_frame())

    def _named(self, args: Any) -> None:
        self._database.name = args[0]

    def _database_opened(self, args: Any) -> None:
        name, self._database.name = getattr(self._database, "name", ""), ""
        if len(self.databases) < _MOST:
            text = "" if isinstance(name, int) else os.fsdecode(name)
            self.databases[id(args[0])] = (text, self.origins.site(_frame()))

    def _bare(self, args: Any) -> None:
        function = args[0]
        if not isinstance(getattr(function, "__self__", None), threading.Thread):
            code = getattr(getattr(function, "__func__", function), "__code__", None)
            self.bare[code] = self.origins.site(_frame())

    def _child(self, args: Any) -> None:
        # subprocess, and multiprocessing's popen_fork: the object gets its pid later.  Who
        # has no object is known by what is new among the children at the next event.
        self._settle()
        self._bearing = self._site(_frame())
        outer: FrameType | None = _frame()
        for _ in range(4):
            if outer is not None:
                it = outer.f_locals.get("self")
                if type(it).__name__ == "Popen" and len(self.children) < _MOST:
                    self.children.append((it, self._bearing))
                    return
                outer = outer.f_back

    def _settle(self) -> None:
        if self._bearing is not None:
            for pid in procfs.children_of(os.getpid()):
                self.born.setdefault(pid, self._bearing)
            self._bearing = None

    def _started(self, thread: threading.Thread) -> None:
        self.threads[thread] = self._site(_frame())

    def _timed(self, which: int, *args: Any) -> None:
        self.timers[which] = self._site(_frame())

    def _alarmed(self, seconds: int) -> None:
        self.timers[signal.ITIMER_REAL] = self._site(_frame())

    def _locked(self, args: Any) -> None:
        if len(self.locked) < _MOST:
            self.locked[args[0]] = self._site(_frame())

    def _directory(self, args: Any) -> None:
        if len(self.directories) < _MOST:
            self.directories[os.path.abspath(os.fsdecode(args[0]))] = self._site(_frame())

    def _mapped(self, args: Any) -> None:
        # To read the address space takes a millisecond: not for a program with hundreds.
        self._settle_memory()
        if self._maps < _MAPS:
            self._maps += 1
            self._mapping = self._site(_frame())

    def _settle_memory(self) -> None:
        if self._mapping is not None:
            for start in memory.shared():
                if start not in self.memory:
                    self.mapped.setdefault(start, self._mapping)
            self._mapping = None

    def _seeded(self, it: random.Random, a: Any = None, version: int = 2) -> None:
        if len(self.seeded) < _MOST:
            site = self.origins.site(_frame())
            self.seeded[it] = (site, not varies(a), a if is_long(a) else None)

    # A copy is made by them too, and whoever seeds by 42 for a while restores the state after it.
    def _asked(self, it: random.Random) -> None:
        _, typed, seed = note_of(self.seeded, it, (NOWHERE, True, None))
        if not typed and len(self.states) < _MOST:
            self.states[hash(_random.Random.getstate(it))] = seed

    def _set(self, it: random.Random, state: Any) -> None:
        if len(self.seeded) < _MOST:
            key = hash(state[1])
            known, seed = key in self.states, self.states.get(key)
            self.seeded[it] = (self.origins.site(_frame()), not known, seed)

    def _imported(self, args: Any) -> None:
        if args[1] is not None:  # an extension is about to be loaded
            frame = _frame()
            importer = importer_of(frame)
            self.census.begin(str(args[0]), self._loaded(frame, importer), importer)
        elif self.census.loading is not None:
            self.census.goes_on(_frame())

    def _loaded(self, frame: FrameType, importer: FrameType | None) -> Callable[[], Site]:
        """Where an extension is loaded.  By the line that runs, where it is known: a stack of 100
        frames takes 40 µs, and pandas loads 57."""
        line = self.lines.now()
        if line is None or importer is None:
            site = self.origins.site(frame)
            return lambda: site
        by = importer.f_code.co_filename, importer.f_lineno
        return functools.partial(self.origins.site_of, line, by)

    def _executed(self, args: Any) -> None:
        self.lines.listen(args[0])


def _frame() -> FrameType:
    """The frame behind what has called who asks, of what is heard."""
    return sys._getframe(3)


def is_long(seed: Any) -> bool:
    """More than is typed by hand; what is pasted stands in the source (`Origins.literals`)."""
    if isinstance(seed, bytes | bytearray):
        return len(seed) >= 16
    return isinstance(seed, int) and seed.bit_length() > 64


def varies(seed: Any) -> bool:
    """Was this seed meant to be another one in each process?

    None and what comes from os.urandom is; so are the time and the pid.  A number out
    of the source is not: whoever writes 42 wants the same numbers again, and would get
    them in each spawned worker too.
    """
    if seed is None or isinstance(seed, float):
        return True
    if isinstance(seed, bytes | bytearray):
        return is_long(seed)
    if not isinstance(seed, int):
        return False
    if is_long(seed) or seed == os.getpid():
        return True
    now = time.time()
    times = (abs(seed / unit - now) < _TODAY for unit in (1, 1000, 1_000_000, 1_000_000_000))
    return any(times)
