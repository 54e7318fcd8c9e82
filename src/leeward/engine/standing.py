"""Where in the application a handler waits: from a task to the innermost frame of its own.

    task ─ _execute ─ await ─ get ─ await ─ fetch (site-packages) ─ await ─ future

Coroutines say what they await (`cr_await`), generators too (`gi_yieldfrom`); what asyncio's
C code keeps to itself (the future behind an await) the garbage collector knows.  A
`@gen.coroutine` is found by the Runner that its future's callback keeps alive.

Nothing here costs anything until somebody asks: 10-20 µs for a handler.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import sysconfig
from collections.abc import Iterator
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any

import tornado
from tornado.gen import Runner

from leeward.engine.orphans import runs
from leeward.engine.peeking import local
from leeward.engine.waits import gathered

#: Hops from a task to what it waits for.  A chain can be a ring: tasks that await each other.
_HOPS = 100

_LEEWARD = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_ASYNCIO = os.path.dirname(os.path.abspath(asyncio.__file__)) + os.sep
_TORNADO = os.path.dirname(os.path.abspath(tornado.__file__)) + os.sep


class Standing:
    """For one listing: tasks are looked for once, and only if somebody's is not known.

    loop:  whose tasks they are.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        #: By the identity of the handler: an application's may compare as it likes.
        self._tasks: dict[int, list[asyncio.Task[Any]]] | None = None
        try:
            self._here = os.getcwd() + os.sep
        except OSError:  # the directory was removed
            self._here = os.sep

    def task_of(self, handler: object) -> asyncio.Task[Any] | None:
        """The task that serves `handler`, where nobody has kept it."""
        return next(iter(self._tasks_of(handler)), None)

    def waits_at(self, task: asyncio.Future[Any] | None, handler: object) -> str:
        """ "chat.py:41 Room.get"; "" if it stands in nobody's code but Tornado's.

        The innermost frame of the application; for one that is itself installed among the
        libraries, the innermost that is neither Python's nor Tornado's.
        """
        own = library = ""
        frame = None
        standard = _standard()
        for frame in () if task is None else frames(task):
            path = frame.f_code.co_filename
            if path.startswith((_LEEWARD, _TORNADO, "<frozen ")):
                continue
            if _INSTALLED[0] in path or _INSTALLED[1] in path:
                library = self._place(frame)
            elif not path.startswith(standard):
                own = self._place(frame)
        if not own and _waits_for_on_message(frame):
            others = (it for it in self._tasks_of(handler) if it is not task)
            return next((self.waits_at(it, None) for it in others), library)
        return own or library

    def _tasks_of(self, handler: object) -> list[asyncio.Task[Any]]:
        if self._tasks is None:
            self._tasks = {}
            for task in asyncio.all_tasks(self._loop):
                found, whole = runs(task)
                if found is not None:
                    others = self._tasks.setdefault(id(found), [])
                    others.insert(0 if whole else len(others), task)
        return self._tasks.get(id(handler), [])

    def _place(self, frame: FrameType) -> str:
        path = frame.f_code.co_filename.removeprefix(self._here)
        return f"{path}:{frame.f_lineno} {frame.f_code.co_qualname}"


def _waits_for_on_message(frame: FrameType | None) -> bool:
    """Does a WebSocket stand there?  Newest Tornados await on_message by a bare future."""
    if frame is None or frame.f_code.co_name != "_receive_frame":
        return False
    return local(frame, "handled_future") is not None


def frames(task: asyncio.Future[Any]) -> Iterator[FrameType]:
    """The frames that `task` stands in, outermost first, through all that it awaits."""
    at: Any = task
    last: FrameType | None = None
    for _ in range(_HOPS):
        if at is None:
            return
        if asyncio.isfuture(at):
            at = None if at.done() else _behind(at) or _beside(last)
            continue
        frame, at = _opened(at)
        if frame is not None:
            last = frame
            yield frame


def _opened(it: Any) -> tuple[FrameType | None, Any]:
    """The frame of a coroutine or generator, and what it waits for."""
    if isinstance(it, CoroutineType):
        return it.cr_frame, it.cr_await
    if isinstance(it, GeneratorType):
        return it.gi_frame, it.gi_yieldfrom
    if isinstance(it, AsyncGeneratorType):
        return it.ag_frame, it.ag_await
    if isinstance(it, Runner):
        return it.gen.gi_frame if isinstance(it.gen, GeneratorType) else None, it.future
    for inner in gc.get_referents(it):  # FutureIter, coroutine_wrapper, async_generator_asend
        if asyncio.isfuture(inner) or isinstance(
            inner, CoroutineType | GeneratorType | AsyncGeneratorType
        ):
            return None, inner
    return None, None


def _behind(future: Any) -> Any:
    """What will complete a future: its coroutine, its runner, the first of those it gathers."""
    get_coro = getattr(future, "get_coro", None)
    if get_coro is not None:
        return get_coro()
    for child in gathered(future) or ():
        if not child.done():
            return child
    for callback in getattr(future, "_callbacks", None) or ():
        for runner in gc.get_referents(*(getattr(callback[0], "__closure__", None) or ())):
            if isinstance(runner, Runner) and runner.result_future is future:
                return runner
    return None


def _beside(frame: FrameType | None) -> Any:
    """What a function of asyncio waits for by a future that leads nowhere: the first of its tasks.

    wait(), a TaskGroup, and until Python 3.11 wait_for().
    """
    if frame is None or not frame.f_code.co_filename.startswith(_ASYNCIO):
        return None
    group = getattr(local(frame, "self"), "_tasks", ())
    tasks = [local(frame, "fut"), *_several(local(frame, "fs")), *_several(group)]
    return next((it for it in tasks if asyncio.isfuture(it) and not it.done()), None)


def _several(found: Any) -> Any:
    return found if isinstance(found, set | list | tuple) else ()


@functools.cache
def _standard() -> tuple[str, ...]:
    """Where Python's own modules are."""
    paths = sysconfig.get_paths()
    return tuple({paths[key] + os.sep for key in ("stdlib", "platstdlib")})
