"""Have CancelledError raised where a handler waits, and nowhere else.

`task.cancel()` cancels the future that the task waits for as well.  That is right for a
future which belongs to the one who waits, and wrong for one that others have: cancelled,
it fails all who wait for it, and whoever calls its `set_result` next.  A `@gen.coroutine`
below the task is not ended at all: its Runner waits on (Tornado 6.4 to 6.6).  So it is
looked at what is waited for:

    a task, or a @gen.coroutine's future   that is ended, and with it who waits
    asyncio.gather, gen.multi              its children are ended, each by these rules
    asyncio.shield, gen.with_timeout       that is ended, and lets go of what it waits for
    a future of a library that waits for   cancelled, as by `task.cancel()`: libraries
    it itself, of a lock or a queue, of    are written for that, and a queue would give
    an executor, of a stream               its next item to nobody
    anything others wait for too, and any  left as it is; who waits is woken
    future that the application made

What is cancelled once its end is under way, by a TaskGroup or by `wait_for`, is ended by these
rules too: see `leeward.engine.onward`.

It is read, never guessed, where Python or Tornado should change: what is not as expected
is cancelled by `task.cancel()`.
"""

from __future__ import annotations

import asyncio
import sys
import sysconfig
import weakref
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tornado import gen
from tornado.concurrent import future_set_exc_info, future_set_result_unless_cancelled

from leeward.engine import ties
from leeward.engine.waits import gathered, mark_of

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable
    from types import FrameType

    Threads = list[concurrent.futures.Future[Any]]

_PATHS = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
_WAIT_FOR = (asyncio.tasks.__file__, "wait_for")

#: Tasks that were ended here, and where the threads are noted that go on without them.
_ended: weakref.WeakKeyDictionary[asyncio.Task[Any], Threads] = weakref.WeakKeyDictionary()
#: Those of them that will hear of it in the loop's next turn.
_told: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()


def interrupt(future: asyncio.Future[Any], threads: Threads | None = None) -> Threads:
    """End the coroutine whose result `future` is, at what it waits for.

    It need not be over when this returns, and it may catch the CancelledError and go on.
    Returns `threads`, and in it the work in executors that was waited for and is running:
    nothing ends it.  More may come, as long as it is not over.
    """
    threads = [] if threads is None else threads
    _interrupt(future, threads)
    return threads


def threads_without(task: asyncio.Task[Any] | None) -> Threads | None:
    """Where threads are noted that go on without `task`; None if it was not ended here."""
    return None if task is None else _ended.get(task)


def _interrupt(future: asyncio.Future[Any], threads: Threads) -> None:
    if future.done():
        return
    runner = ties.runner_of(future)
    if runner is not None:
        _interrupt_runner(runner, threads)
    elif isinstance(future, asyncio.Task):
        _interrupt_task(future, threads)
    elif not _inside(future, next(iter(ties.waiting(future)), None), threads):
        future.cancel()


def _interrupt_task(task: asyncio.Task[Any], threads: Threads) -> None:
    if task in _told:
        return  # what it waited for is not its any more
    _ended[task] = threads
    waited = getattr(task, "_fut_waiter", None)
    wake = None if waited is None else ties.find(waited, lambda it: _wakes(it) is task)
    if waited is None or wake is None or waited.done():
        task.cancel()  # about to run
    elif _inside(waited, wake[0], threads):
        return
    elif _belongs(waited, wake[0], _in_a_library(task.get_coro()), threads):
        task.cancel()
    else:
        ties.let_go(waited, wake[0])
        _told.add(task)
        task.get_loop().call_soon(_tell, task, wake[0], context=wake[1])


def _wakes(callback: object) -> object:
    return getattr(callback, "__self__", None)


def _tell(task: asyncio.Task[Any], wake: Callable[[Any], object]) -> None:
    """What it waits for was cancelled: as if it were so."""
    _told.discard(task)
    cancelled = task.get_loop().create_future()
    cancelled.cancel()
    wake(cancelled)


def _interrupt_runner(runner: gen.Runner, threads: Threads) -> None:
    waited = runner.future
    resume = None
    if isinstance(waited, asyncio.Future) and not waited.done():
        resume = ties.find(waited, lambda it: _resumes(it) is runner)
    if waited is None or resume is None:
        asyncio.get_running_loop().call_soon(_throw, runner)
        return
    mine: Callable[[Any], object] = resume[0]
    inside = _is_work(waited) and not ties.others(waited, mine)
    library = _in_a_library(runner.gen)
    if inside or _belongs(waited, mine, library, threads):
        # Before 6.6 a Runner does not survive that what it waits for is cancelled.
        waited.remove_done_callback(mine)
        mine = _Resume(runner)
        waited.add_done_callback(mine)
        if not inside:
            waited.cancel()
            return
        if _inside(waited, mine, threads):
            return
    ties.let_go(waited, mine)
    asyncio.get_running_loop().call_soon(_throw, runner)


def _resumes(callback: object) -> gen.Runner | None:
    return callback.runner if isinstance(callback, _Resume) else ties.resumes(callback)


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


# --- what is waited for --------------------------------------------------------------------------


def give_up(
    future: asyncio.Future[Any],
    mine: Callable[[Any], object] | None,
    threads: Threads,
    library: bool = False,
) -> bool:
    """End `future`, if nobody but `mine` waits for it and it may be ended; else let it go.

    library:  is it a library that waits for it, rather than the application?

    Will it be over then?
    """
    if not ties.others(future, mine):
        if _inside(future, mine, threads):
            return True
        if _belongs(future, mine, library, threads) and future.cancel():
            return True
    ties.let_go(future, mine)
    return False


def _is_work(waited: asyncio.Future[Any]) -> bool:
    """Is it a coroutine's future, rather than a bare one?"""
    return (
        isinstance(waited, asyncio.Task)
        or gathered(waited) is not None
        or ties.runner_of(waited) is not None
    )


def _inside(waited: asyncio.Future[Any], mine: object, threads: Threads) -> bool:
    """End what is waited for, as far as it is work which nobody else waits for.

    Will it be over then?
    """
    if not _is_work(waited) or ties.others(waited, mine):
        return False
    children = gathered(waited)
    if children is None:
        _interrupt(waited, threads)
        return True
    # Once each: `gather` has one that was given twice among its children twice.
    pending = [child for child in dict.fromkeys(children) if not child.done()]
    mark = mark_of(waited)
    if mark is not None:
        # Before 6.6 `multi` would raise at a child that is cancelled, and wait on itself.
        mark.untie(waited)
    # Each is tried, whatever becomes of the others: they would wait on for nobody.
    ended = [give_up(child, ties.tie(child, waited), threads) for child in pending]
    if mark is None and all(ended):
        # As if cancelled: with `return_exceptions` it would be nothing but a result.
        waited._cancel_requested = True  # type: ignore[attr-defined]
        return True
    # Not what is spared, as `cancel` of a future of `gather` would.
    return asyncio.Future.cancel(waited)


def _belongs(waited: asyncio.Future[Any], mine: object, library: bool, threads: Threads) -> bool:
    """Is the bare future `waited` of no use to anybody but the one who waits?"""
    if ties.others(waited, mine) or _is_work(waited):
        return False
    for callback, _ in ties.callbacks(waited):
        name = ties.name(callback)
        if name == ties.EXECUTOR:
            threads += _running(callback)
            return True
        if name == ties.SHIELD:
            _unshield(waited)
            return True
        if name[0] in ties.PRIVATE:
            return True
    return library or type(waited) is not asyncio.Future


def _unshield(outer: asyncio.Future[Any]) -> None:
    """What is shielded goes on, and does not know of `outer` any more."""
    shield = ties.find(outer, lambda it: ties.name(it) == ties.SHIELD)
    for inner in ties.held(shield[0]) if shield else ():
        if asyncio.isfuture(inner):
            ties.let_go(inner, ties.tie(inner, outer))


def _in_a_library(coroutine: Any) -> bool:
    """Is it Python's own code or an installed package that waits, and not the application?"""
    frame = _innermost(coroutine)
    return frame is not None and is_library(frame.f_code.co_filename)


def _innermost(coroutine: Any) -> FrameType | None:
    """The frame that waits, as far as coroutines lead there.

    `asyncio.wait_for` does so for who calls it, by what that has given it.
    """
    found = None
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is None:
            break
        if (frame.f_code.co_filename, frame.f_code.co_name) != _WAIT_FOR:
            found = frame
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return found


@lru_cache(maxsize=1024)
def is_library(file: str) -> bool:
    return file.startswith(_PATHS)


def _running(callback: object) -> list[Any]:
    """The executor's futures that `callback` is tied to, if nothing can stop them."""
    return [it for it in ties.held(callback) if hasattr(it, "running") and it.running()]
