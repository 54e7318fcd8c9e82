"""The end of a worker process.

Graceful, in this order: the application's tasks cancelled, its resources closed
(`leeward._worker.resources`), its asynchronous generators closed, its `atexit` functions run
once and amid them, where `multiprocessing` comes to its children, those ended; output flushed,
`os._exit`.
Threads and executors are never joined: one that is stuck must not keep the process.

`guard` sees to it that nothing else keeps it either.  Things that do not work:
a timer of the loop (the loop may not turn), a signal handler or a thread in
Python (a C call may hold the GIL), and faulthandler's watchdog alone (it writes
its stacks first, and blocks if nobody reads the pipe).
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NoReturn

from leeward.adapters.logfiles import queued

if TYPE_CHECKING:
    from collections.abc import Callable

    from leeward._worker.logs import Log
    from leeward._worker.resources import Resources

#: Seconds for all of it.
BUDGET = 2.0

#: Of the budget, the share for the application's tasks to be cancelled in.
TASKS_SHARE = 0.4

#: Of what is then left, the share for its resources to close in, and seconds for the tasks
#: that they leave behind.
CLOSING_SHARE = 0.8
REST = 0.1

#: Of what is then left, the share for lines that wait in the queues of listeners.
SHARE_OF_LINES = 0.5

#: Of what is then left, the share after which children are ended that hold the exit functions
#: up (by TERM, and those that do not heed it by KILL after as long again as is left by then).
SHARE_OF_CHILDREN = 0.5

#: Seconds for a slow reader of the last lines of the log, if the budget has them.
READER_PATIENCE = 0.5

#: How the process ends when the watchdog had to end it.  The stacks of all
#: threads on stderr name what held it.
OVERDUE = 1


def guard(seconds: float) -> None:
    """End this process `seconds` from now, whatever it does then.

    faulthandler's C thread writes every stack to stderr and exits with status 1.
    """
    with contextlib.suppress(OSError, ValueError):  # no stderr: `leave` has a second guard
        faulthandler.dump_traceback_later(max(seconds, 0.01), exit=True, file=2)


def leave(
    loop: asyncio.AbstractEventLoop, code: int, budget: float, log: Log, resources: Resources
) -> NoReturn:
    """End this process with `code`, within `budget` seconds.  The loop stands still."""
    guard(budget)
    # Only the kernel is left if the watchdog's own writing blocks.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, budget + 0.1)
    started = time.monotonic()
    steps: tuple[Callable[[], object], ...] = (
        lambda: _end_tasks(loop, budget, resources),
        lambda: queued.within(SHARE_OF_LINES * (started + budget - time.monotonic())),
        lambda: _prepare_for_children(started + budget),
        atexit._run_exitfuncs,
        flush,
    )
    for step in steps:
        try:
            step()
        except BaseException as error:  # sys.exit or loop.stop in a task, a signal's exception
            log.say("warning", f"while leaving: {type(error).__name__}: {error}")
    spent = time.monotonic() - started
    if spent > budget / 2:
        log.say("warning", f"the application took {spent:.1f} s to end")
    log.end(min(READER_PATIENCE, (budget - spent) / 2))
    os._exit(code)


def leave_child(status: int) -> NoReturn:
    """End a process that the application forked, as the interpreter would."""
    atexit._run_exitfuncs()
    flush()
    os._exit(status)


def exit_status(error: SystemExit) -> int:
    """The status of `sys.exit(...)`, by Python's own rules."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    with contextlib.suppress(OSError, ValueError, AttributeError):  # stderr closed or absent
        print(error.code, file=sys.stderr, flush=True)
    return 1


def _end_tasks(loop: asyncio.AbstractEventLoop, budget: float, resources: Resources) -> None:
    """Cancel what the application still runs and wait a little for it to clean up.

    What a resource runs ends after that, by its closer: the application may need it so long.
    """
    by = time.monotonic() + budget
    seconds = min(budget, BUDGET) * TASKS_SHARE
    previous = loop.get_exception_handler()

    def quiet(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # Tornado asks each request's task for its result: a cancelled one would
        # be logged with a traceback, at every deadline.
        if isinstance(context.get("exception"), asyncio.CancelledError):
            return
        if previous is not None:
            previous(loop, context)
        else:
            loop.default_exception_handler(context)

    async def end() -> None:
        # Connections that were just closed end their tasks by themselves, and their
        # WebSocket handlers hear of it: a turn or two for that, then the axe.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        tasks = asyncio.all_tasks(loop) - {asyncio.current_task(loop)}
        await _cancel(loop, {each for each in tasks if not resources.owns(each)}, seconds)
        if resources.any:
            await resources.close(CLOSING_SHARE * (by - time.monotonic()))
            tasks = asyncio.all_tasks(loop) - {asyncio.current_task(loop)}
            await _cancel(loop, tasks, REST)
        with contextlib.suppress(TimeoutError):  # a generator that does not end is cut
            await asyncio.wait_for(loop.shutdown_asyncgens(), seconds)

    loop.set_exception_handler(quiet)
    ending = loop.create_task(end())
    while not ending.done():
        try:
            loop.run_until_complete(ending)
        except RuntimeError:
            # uvloop keeps a stop() that came when the loop was stopping already.
            if ending.done():
                raise


async def _cancel(
    loop: asyncio.AbstractEventLoop, tasks: set[asyncio.Task[Any]], seconds: float
) -> None:
    if not tasks:
        return
    for task in tasks:
        task.cancel()
    done, _ = await asyncio.wait(tasks, timeout=seconds)
    for task in done:
        if not task.cancelled() and task.exception() is not None:
            loop.call_exception_handler(
                {
                    "message": "exception in a task while the worker leaves",
                    "exception": task.exception(),
                    "task": task,
                }
            )


def _prepare_for_children(by: float) -> None:
    """Have the exit functions end the `multiprocessing` children, and not be held up by them.

    That of multiprocessing *joins* them: a ProcessPoolExecutor that nobody shut down would hold
    every end of a worker until the guard strikes.  They are not ended before it, though: a
    child of an idle Pool waits with a lock in hand, which goes with it, and the Pool's own end
    needs that lock.  Nor could the application's functions take leave of their children.
    """
    processes = sys.modules.get("multiprocessing.process")
    if processes is None or not processes.active_children():
        return
    util = sys.modules["multiprocessing.util"]

    def before_they_are_joined() -> None:
        util._run_finalizers(0)  # the rest of these: a Manager's, which would leave its directory
        _end_children("terminate")

    # Behind a Pool's (15), before children are joined.
    util.Finalize(None, before_they_are_joined, exitpriority=0)

    def watch() -> None:
        for way in ("terminate", "kill"):
            time.sleep(max(0.0, SHARE_OF_CHILDREN * (by - time.monotonic())))
            _end_children(way)

    threading.Thread(target=watch, name="leeward-leave", daemon=True).start()


def _end_children(way: str) -> None:
    for child in sys.modules["multiprocessing.process"].active_children():
        with contextlib.suppress(OSError, ValueError):  # it ended meanwhile
            getattr(child, way)()


def flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, full, absent
            stream.flush()
