"""A worker's resources: opened before it is ready, looked after, closed when it leaves.

Opening has until shortly before the start time-out: then what hangs is named by file and
line, what was opened is closed, and the worker says why it failed, where the supervisor's
SIGKILL would leave nothing but a stack.  Closing has `--close-timeout`, or what the drain
has left.  What blocks the loop is interrupted by a signal from a thread; only C code that
never looks for signals is left to the guards that end the process.

Nothing of this is imported in a worker whose application declares no resource.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import inspect
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from leeward import hosting
from leeward._core.messages import Ailing, Leaving
from leeward._sys.signals import LATE
from leeward._worker.ending import ending
from leeward._worker.factory import waits_at
from leeward.adapters import blame
from leeward.adapters.loading import time_to_wait
from leeward.errors import NotOpen, TargetError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from leeward._core.messages import Message
    from leeward._worker.logs import Log
    from leeward.hosting import Host
    from leeward.lives import Book, Life
    from leeward.resources import Resource

#: Of a drain's time, the share that is kept for closing.
RESERVE = 0.2
#: Of the time that is left for leaving, the share for closing.
SHARE = 0.8
#: Seconds more for openers that do not block the loop.
GRACE = 0.1
#: Turns of the loop in which an end is heard of; three for each resource that waits for another.
TURNS = 100
#: Seconds for openers that were cancelled because they were late.
LAST = 0.3


class Resources:
    """Those of one worker.

    budget:  seconds that leaving may take now.
    over:    does the worker leave?
    """

    def __init__(
        self,
        log: Log,
        say: Callable[[Message], None],
        budget: Callable[[], float],
        over: Callable[[], bool],
    ) -> None:
        self._log = log
        self._say = say
        self._budget = budget
        self._over = over
        self._host: Host | None = None
        self._checks: list[asyncio.Task[None]] = []
        self._lost: dict[Resource[Any], str] = {}
        self._serves = False
        self._leaves = False
        self.close_timeout = 0.0

    @property
    def _book(self) -> Book | None:
        return None if self._host is None else self._host.book

    # --- opening -------------------------------------------------------------------------

    def host(self, close_timeout: float) -> None:
        """From now on the application may open them too: by `await`, in this process."""
        if self._host is None:
            self.close_timeout = close_timeout
            self._host = hosting.host(_Teller(self._log, self))

    async def open(self, start_timeout: float, close_timeout: float) -> None:
        """Open all that are declared and not open.  Raises TargetError."""
        self.host(close_timeout)
        if "leeward.resources" not in sys.modules:
            return
        from leeward import opening
        from leeward.resources import DECLARED

        book = opening.here()
        left = time_to_wait(start_timeout)
        deadline = time.monotonic() + left
        loop = asyncio.get_running_loop()
        with interrupting(left, loop, lambda task: _opens(book, task)):
            for resource in tuple(DECLARED):
                if not opening.is_open(resource):
                    await self._open(book, resource, deadline, start_timeout)

    async def _open(
        self, book: Book, resource: Resource[Any], deadline: float, timeout: float
    ) -> None:
        from leeward.asking import guilty
        from leeward.lives import Overdue
        from leeward.opening import wait

        opening = asyncio.ensure_future(_outcome(wait(resource)))
        # What blocks the loop is interrupted first, and has said where when we look.
        left = deadline + GRACE - time.monotonic()
        await asyncio.wait({opening}, timeout=max(0.0, left))
        # A loop that was held for longer than that is told of the time first, and of what has
        # ended meanwhile some turns later: without them, what blocked was named without its line.
        for _ in range(TURNS):
            if opening.done():
                break
            await asyncio.sleep(0)
        else:
            raise await self._late(book, resource, timeout)
        cancelled = opening.cancelled()
        error = RuntimeError("its opening was cancelled") if cancelled else opening.result()
        if isinstance(error, Overdue):
            raise _hung(guilty(error, resource), timeout, blame.frames(error.__traceback__))
        if isinstance(error, SystemExit):
            lines = [f"opening {guilty(error, resource)} called sys.exit({error.code!r})"]
            raise TargetError("\n".join([*lines, *blame.frames(error.__traceback__)]))
        if isinstance(error, NotOpen):
            lines = [error.message, *blame.frames(error.__traceback__)]
            raise TargetError("\n".join(lines), error.remedy)
        if error is not None:
            raise blame.tell(error, f"opening {guilty(error, resource)}")

    async def _late(self, book: Book, asked: Resource[Any], timeout: float) -> TargetError:
        """It hangs: where, and an end of it."""
        faulthandler.cancel_dump_traceback_later()  # where is known; and see `time_to_wait`
        # The last to have begun is what the others wait for.
        stuck: list[Life] = [it for it in book.opening.values() if it.task is not None]
        resource = stuck[-1].resource if stuck else asked
        error = _hung(resource, timeout, waits_at(stuck[-1].task) if stuck else [])
        tasks = {it.task for it in stuck if it.task is not None}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=LAST)
        return error

    @property
    def any(self) -> bool:
        return self._book is not None and bool(self._book.lives)

    def owns(self, task: asyncio.Task[Any]) -> bool:
        """Is `task` a resource's, to be ended by its closer and nobody else?"""
        if self._book is None:
            return False
        return self._book.owns(task) or any(task is life.task for life in self._book.lives)

    # --- looking after them ---------------------------------------------------------------

    def lost(self, resource: Resource[Any], error: BaseException | None) -> None:
        """It has closed by itself.  The worker serves on, and asks for another in its place."""
        why = "" if error is None else f": {blame.words(blame.alone(error))}"
        self._log.say("error", f"{resource} is lost: it has closed by itself{why}")
        self._lost[resource] = f"lost {resource}{why}"
        if self._serves:
            self._say(Leaving(self._lost[resource], limit=True))

    def watch(self) -> None:
        """From now on, run the checks of those that have one."""
        self._serves = True
        for resource, why in self._lost.items():
            if resource.held is None:
                self._say(Leaving(why, limit=True))
        if self._book is None:
            return
        for life in self._book.lives:
            resource = life.resource
            if resource.health is not None:
                self._checks.append(asyncio.ensure_future(self._look_after(resource)))

    async def _look_after(self, resource: Resource[Any]) -> None:
        since = 0.0  # when it failed first
        while True:
            await asyncio.sleep(resource.every)
            why = await _ails(resource)
            if why and not since:
                since = time.monotonic()
                self._log.say("warning", f"{resource} fails its check: {why}")
                self._say(Ailing(str(resource), why))
            elif since and not why:
                after = time.monotonic() - since
                since = 0.0
                self._log.say("info", f"{resource} passes its check again, after {after:.3g} s")
                self._say(Ailing(str(resource), ""))

    # --- closing --------------------------------------------------------------------------

    def reserve(self, timeout: float) -> float:
        """Seconds of a drain's `timeout` that closing needs for itself."""
        return min(self.close_timeout, RESERVE * timeout) if self.any else 0.0

    def patience(self) -> float:
        """Seconds for all closers if they begin now."""
        return min(self.close_timeout, SHARE * self._budget())

    def over(self) -> bool:
        """Does this worker leave, so that nothing opens any more?"""
        return self._leaves or self._over()

    async def close(self, seconds: float) -> None:
        """Close all in reverse, for good.  What fails is told in the log."""
        self._leaves = True
        for task in self._checks:
            task.cancel()
        if self._book is not None:
            await self._book.close(min(self.close_timeout, seconds))


class _Teller:
    """Tells of closers in the worker's log.  See `leeward.hosting.Teller`."""

    def __init__(self, log: Log, resources: Resources) -> None:
        self._log = log
        self.lost = resources.lost
        self.patience = resources.patience
        self.over = resources.over

    def failed(self, resource: Resource[Any], error: BaseException) -> None:
        told = blame.tell(blame.alone(error), f"closing {resource}")
        self._say(str(told).split("\n"))

    def late(self, resource: Resource[Any], seconds: float, task: Any) -> None:
        words = [f"{resource} did not close within {seconds:.3g} s", *waits_at(task)]
        self._say(words)

    def _say(self, words: list[str]) -> None:
        self._log.say("error", " | ".join(line.strip() for line in words))

    def alarm(self, seconds: float, task: Any) -> contextlib.AbstractContextManager[object]:
        # A little later than the loop's own patience, which serves if it turns.
        return interrupting(seconds + 0.05, asyncio.get_running_loop(), lambda it: it is task)


#: Is somebody to be interrupted?
_armed = False


@contextlib.contextmanager
def interrupting(
    seconds: float, loop: asyncio.AbstractEventLoop, whose: Callable[[Any], bool]
) -> Iterator[None]:
    """Raise `Overdue` in the task that blocks the loop `seconds` from now, if `whose(task)`.

    By a thread and a signal of our own: SIGALRM's timer is what ends a process that does
    not leave (`leeward._worker.leave`).  One at a time: the second of two resources that are
    lost at once has the guards alone.
    """
    global _armed
    if _armed or threading.current_thread() is not threading.main_thread():
        yield
        return
    from leeward.lives import Overdue

    over = False

    def strike(signum: int, frame: object) -> None:
        if not over and whose(asyncio.current_task(loop)):
            raise Overdue

    _armed = True
    before = signal.signal(LATE, strike)
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(seconds, signal.pthread_kill, (main, LATE))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        over = True
        timer.cancel()
        timer.join()  # no strike comes after this
        signal.signal(LATE, before)
        _armed = False


def _opens(book: Book, task: Any) -> bool:
    return any(task is not None and task is life.task for life in book.opening.values())


def _hung(resource: Resource[Any], timeout: float, places: list[str]) -> TargetError:
    return TargetError(
        "\n".join([f"{resource} did not open in time (--start-timeout {timeout:g}s)", *places]),
        "Is what it connects to there?  A resource may have time-outs of its own",
    )


async def _outcome(opening: Awaitable[Any]) -> BaseException | None:
    """What it failed with.

    A task that ends by SystemExit or KeyboardInterrupt takes the loop with it: raised
    here, they would say nothing of whose resource it was.
    """
    try:
        await opening
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return error
    return None


async def _ails(resource: Resource[Any]) -> str:
    """Why the check of `resource` fails; "" if it passes."""
    held, check = resource.held, resource.health
    if check is None:
        return ""
    if held is None:
        return "it is not open any more"
    try:
        async with asyncio.timeout(resource.every):
            found = check(held.value)
            if inspect.isawaitable(found):
                found = await found
    except TimeoutError:
        return f"no answer within {resource.every:g} s"
    except (Exception, asyncio.CancelledError) as error:
        # Of something that the check waited for, or the end of this worker?
        if isinstance(error, asyncio.CancelledError) and ending():
            raise
        return blame.words(error)
    return "it gave False" if found is False else ""
