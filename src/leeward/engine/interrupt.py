"""Have CancelledError raised where a handler waits, and nowhere else.

`task.cancel()` cancels the future that the task waits for as well.  That is right for a
future which belongs to the one who waits, and wrong for one that others have: cancelled,
it fails all who wait for it, and whoever calls its `set_result` next.  A `@gen.coroutine`
below the task is not ended at all: its Runner waits on (Tornado 6.4 to 6.6).  So it is
looked at what is waited for:

    a task, or a @gen.coroutine's future   that is ended, and with it who waits
    asyncio.gather, gen.multi              its children are ended, each by these rules
    a future of a library that waits for   cancelled, as by `task.cancel()`: libraries
    it itself, of a lock or a queue, of    are written for that, and a queue would give
    an executor, of a stream               its next item to nobody
    anything others wait for too, and any  left as it is; who waits is woken
    future that the application made

It is read, never guessed, where Python or Tornado should change: what is not as expected
is cancelled by `task.cancel()`.
"""

from __future__ import annotations

import asyncio
import sys
import sysconfig
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tornado import gen
from tornado.concurrent import future_set_exc_info, future_set_result_unless_cancelled

from leeward.engine.peeking import local
from leeward.engine.waits import gathered

if TYPE_CHECKING:
    import concurrent.futures
    import contextvars
    from collections.abc import Callable
    from types import FrameType

    Callback = tuple[Callable[[Any], object], contextvars.Context]

#: Callbacks of modules whose futures belong to the one who waits.
_PRIVATE = ("tornado.locks", "tornado.queues", "tornado.iostream", "leeward.engine.waits")
_EXECUTOR = ("asyncio.futures", "_chain_future.<locals>._call_check_cancel")
#: Callbacks of nobody who waits.
_HARMLESS = (
    "tornado.web",
    "leeward.engine.execute",
    "leeward.engine.leaving",
    "leeward.engine.stream",
    "leeward.engine.unanswered",
)
_BOOKKEEPING = (
    "_wrap_awaitable.<locals>.<lambda>",
    "coroutine.<locals>.wrapper.<locals>.<lambda>",
    "gather.<locals>._done_callback",
    "multi_future.<locals>.callback",
)
_PATHS = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


def interrupt(future: asyncio.Future[Any]) -> list[concurrent.futures.Future[Any]]:
    """End the coroutine whose result `future` is, at what it waits for.

    It need not be over when this returns, and it may catch the CancelledError and go on.
    Returns the work in executors that was waited for and is running: nothing ends it.
    """
    threads: list[concurrent.futures.Future[Any]] = []
    _interrupt(future, threads)
    return threads


def _interrupt(future: asyncio.Future[Any], threads: list[Any]) -> None:
    if future.done():
        return
    runner = _runner_of(future)
    if runner is not None:
        _interrupt_runner(runner, threads)
    elif isinstance(future, asyncio.Task):
        _interrupt_task(future, threads)
    elif not _inside(future, threads):
        future.cancel()


def _interrupt_task(task: asyncio.Task[Any], threads: list[Any]) -> None:
    waited = getattr(task, "_fut_waiter", None)
    wake = None if waited is None else _find(waited, lambda it: getattr(it, "__self__", 0) is task)
    if waited is None or wake is None or waited.done():
        task.cancel()  # about to run
    elif _inside(_timed(task.get_coro()) or waited, threads):
        return
    elif _belongs(waited, wake[0], task.get_coro(), threads):
        task.cancel()
    else:
        _let_go(waited, wake[0])
        loop = task.get_loop()
        cancelled = loop.create_future()
        cancelled.cancel()
        # The task is told that what it waits for was cancelled, as if it were so.
        loop.call_soon(wake[0], cancelled, context=wake[1])


def _interrupt_runner(runner: gen.Runner, threads: list[Any]) -> None:
    waited = runner.future
    resume = None
    if isinstance(waited, asyncio.Future) and not waited.done():
        resume = _find(waited, lambda it: _resumes(it) is runner)
    if waited is None or resume is None:
        asyncio.get_running_loop().call_soon(_throw, runner)
        return
    mine: Callable[[Any], object] = resume[0]
    inside = _is_work(waited) and not _others(waited, mine)
    if inside or _belongs(waited, mine, runner.gen, threads):
        # Before 6.6 a Runner does not survive that what it waits for is cancelled.
        waited.remove_done_callback(mine)
        mine = _Resume(runner)
        waited.add_done_callback(mine)
        if not inside:
            waited.cancel()
            return
        if _inside(waited, threads):
            return
    _let_go(waited, mine)
    asyncio.get_running_loop().call_soon(_throw, runner)


class _Resume:
    """In the place of a Runner's callback: CancelledError reaches its generator."""

    def __init__(self, runner: gen.Runner) -> None:
        self.runner = runner

    def __call__(self, future: asyncio.Future[Any]) -> None:
        # Of several that are waited for together the error is handed on.
        if future.cancelled() or isinstance(future.exception(), asyncio.CancelledError):
            _throw(self.runner)
        else:
            self.runner.ctx_run(self.runner.run)


def _throw(runner: gen.Runner) -> None:
    """`Runner.run` with a CancelledError, which it cannot be given before 6.6."""
    if runner.running or runner.finished:
        return
    future: Any = runner.result_future
    runner.running = True
    try:
        yielded = runner.ctx_run(runner.gen.throw, asyncio.CancelledError())
    except (StopIteration, gen.Return) as end:
        _over(runner)
        future_set_result_unless_cancelled(future, getattr(end, "value", None))
    except asyncio.CancelledError:
        _over(runner)
        future.cancel()
    except Exception:
        _over(runner)
        if future.done():
            raise
        future_set_exc_info(future, sys.exc_info())
    else:  # it has caught it, and waits for something else
        runner.running = False
        if runner.ctx_run(runner.handle_yield, yielded):
            runner.ctx_run(runner.run)


def _over(runner: gen.Runner) -> None:
    runner.running, runner.finished = False, True
    runner.future = gen._null_future
    runner.result_future = None  # type: ignore[assignment]


def followed_by(future: asyncio.Future[Any], module: str) -> bool:
    """Does `module` wait for it, by a callback of its own or one that an IOLoop calls for it?"""
    return any(
        _name(it)[0] == module
        for callback, _ in _callbacks(future)
        for it in (callback, *_held(callback))
    )


# --- what is waited for --------------------------------------------------------------------------


def _is_work(waited: asyncio.Future[Any]) -> bool:
    """Is it a coroutine's future, rather than a bare one?"""
    return (
        isinstance(waited, asyncio.Task)
        or gathered(waited) is not None
        or _runner_of(waited) is not None
    )


def _inside(waited: asyncio.Future[Any], threads: list[Any]) -> bool:
    """End what is waited for, as far as it is work which nobody else waits for.

    Will it be over then?
    """
    if not _is_work(waited) or len(_waiting(waited)) > 1:
        return False
    children = gathered(waited)
    if children is None:
        _interrupt(waited, threads)
        return True
    pending = [child for child in children if not child.done()]
    multi = not hasattr(waited, "_children")
    if multi:
        # Before 6.6 it would raise at a child that is cancelled, and wait on itself.
        for child in pending:
            tie = _find(child, lambda it: any(held is waited for held in _held(it)))
            if tie is not None:
                _let_go(child, tie[0])
    # Each is tried, whatever becomes of the others: they would wait on for nobody.
    ended = [_ends(child, threads) for child in pending]
    return waited.cancel() if multi else all(ended)


def _ends(child: asyncio.Future[Any], threads: list[Any]) -> bool:
    """End one of several that are waited for together, if nobody else waits for it."""
    if _waiting(child):
        return False
    if _is_work(child):
        return _inside(child, threads)
    return _belongs(child, None, None, threads) and child.cancel()


def _timed(coroutine: Any) -> asyncio.Future[Any] | None:
    """What `asyncio.wait_for` waits for on Python 3.11, by way of a future of its own."""
    frame = _innermost(coroutine)
    if frame is None or frame.f_code is not asyncio.wait_for.__code__:
        return None
    found = local(frame, "fut")
    return found if isinstance(found, asyncio.Task) and not found.done() else None


def _belongs(waited: asyncio.Future[Any], mine: object, coroutine: Any, threads: list[Any]) -> bool:
    """Is the bare future `waited` of no use to anybody but the one who waits?"""
    if _others(waited, mine) or _is_work(waited):
        return False
    for callback, _ in _callbacks(waited):
        if _name(callback) == _EXECUTOR:
            threads += _running(callback)
            return True
        if _name(callback)[0] in _PRIVATE:
            return True
    return type(waited) is not asyncio.Future or _in_a_library(coroutine)


def _others(waited: asyncio.Future[Any], mine: object) -> bool:
    return any(callback is not mine for callback in _waiting(waited))


def _waiting(future: asyncio.Future[Any]) -> list[object]:
    """The callbacks of those who wait for it, as far as can be told."""
    return [callback for callback, _ in _callbacks(future) if not _is_bookkeeping(callback)]


def _is_bookkeeping(callback: object) -> bool:
    name = _name(callback)
    return (
        name == _EXECUTOR or name[0] in _PRIVATE or name[0] in _HARMLESS or name[1] in _BOOKKEEPING
    )


def _in_a_library(coroutine: Any) -> bool:
    """Is it Python's own code or an installed package that waits, and not the application?"""
    frame = _innermost(coroutine)
    return frame is not None and _is_library(frame.f_code.co_filename)


def _innermost(coroutine: Any) -> FrameType | None:
    """The frame that waits, as far as coroutines lead there."""
    found = None
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is None:
            break
        found = frame
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return found


@lru_cache(maxsize=1024)
def _is_library(file: str) -> bool:
    return file.startswith(_PATHS)


def _let_go(waited: asyncio.Future[Any], mine: Callable[[Any], object]) -> None:
    """Nobody waits for `waited` any more on behalf of `mine`."""
    waited.remove_done_callback(mine)
    if not getattr(waited, "_callbacks", None):
        # Should it fail one day: asyncio logs errors that nobody has looked at.
        waited.add_done_callback(_looked_at)


def _looked_at(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


def _callbacks(future: asyncio.Future[Any]) -> list[Callback]:
    return [it for it in getattr(future, "_callbacks", None) or () if it[0] is not _looked_at]


def _find(future: asyncio.Future[Any], is_it: Callable[[object], bool]) -> Callback | None:
    return next((it for it in _callbacks(future) if is_it(it[0])), None)


def _name(callback: object) -> tuple[str, str]:
    """Module and qualified name of a function, or of an object's class."""
    named = callback if hasattr(callback, "__qualname__") else type(callback)
    return getattr(named, "__module__", "") or "", getattr(named, "__qualname__", "")


def _runner_of(future: asyncio.Future[Any]) -> gen.Runner | None:
    """The Runner whose result `future` is: `gen.coroutine` ties them by a callback."""
    for callback, _ in _callbacks(future):
        for held in _held(callback):
            if isinstance(held, gen.Runner) and held.result_future is future:
                return held
    return None


def _resumes(callback: object) -> gen.Runner | None:
    """The Runner that `callback` resumes (`IOLoop.add_future` wraps `Runner.run`)."""
    if isinstance(callback, _Resume):
        return callback.runner
    for held in _held(callback):
        for inner in _held(held):
            if isinstance(inner, gen.Runner):
                return inner
    return None


def _running(callback: object) -> list[Any]:
    """The executor's futures that `callback` is tied to, if nothing can stop them."""
    return [it for it in _held(callback) if hasattr(it, "running") and it.running()]


def _held(callback: object) -> list[Any]:
    found = []
    for cell in getattr(callback, "__closure__", None) or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # not set yet
            continue
    return found
