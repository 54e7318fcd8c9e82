"""What one process has opened of its resources, and how it opens and closes them.

    declared ─ opening ─ open ─ closing ─ closed     for good in a worker that leaves; else
       ▲          │        └─ lost ─┐        │       it may be opened again
       └──────────┴─ failed ────────┴────────┘

An asynchronous generator lives in a task of its own from its first step to its last, so
that `async with asyncio.TaskGroup()` may stand around its `yield`, and so that nothing is
thrown into it: `asyncio.run` cancels all tasks when it ends, this one then closes what was
opened, in its order.  The loop's own `shutdown_asyncgens` would throw GeneratorExit into
all of them at once; they are kept out of its sight.

Only a scope of its own (a task group of which a task fails, a time-out) may cancel it: then
this one is *lost*, and no other.  Which of the two it is, `leeward.stays` tells.

Whoever forks leaves the child nothing: values are known by the pid that opened them, and
the generators behind them are never resumed or freed there.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import sys
import threading
import time
import weakref
from collections.abc import Awaitable, Collection, Iterator
from contextvars import copy_context
from typing import Any

from leeward._core.resources import Cycle, Waits, allowance, before
from leeward.asking import asker, await_it, blamed, cycle
from leeward.hosting import ALONE, Alone, Teller
from leeward.resources import Held, Resource, mentioned
from leeward.stays import Stay

#: Seconds for the application's own tasks to end, when all are cancelled at once.
OTHERS = 1.0
#: Seconds for a closer that was cancelled because it was late.
LAST = 0.2

ASYNC = ("async generator", "coroutine")


class Overdue(BaseException):
    """Raised in a closer or an opener that blocks the loop for too long."""


class Book:
    """What this process has opened.  hosted: a worker's, which opens and closes by itself."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.hosted = False
        self.closing = False
        self.teller: Teller = Alone()
        self.lives: list[Life] = []  # open, in the order in which they were opened
        self.lost: set[Resource[Any]] = set()  # and not opened again
        self.opening: dict[Resource[Any], Life] = {}
        self.waits: Waits[Resource[Any]] = Waits()
        self.lock = threading.RLock()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.closer: asyncio.Task[None] | None = None
        self.born: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()

    @contextlib.contextmanager
    def asking(self, resource: Resource[Any]) -> Iterator[None]:
        """Whoever opens now waits for `resource`.  Raises NotOpen where it waits for itself."""
        who = asker.get()
        if who is None:
            yield
            return
        try:
            self.waits.begin(who, resource)
        except Cycle as found:
            raise cycle(found.path) from None
        try:
            yield
        finally:
            self.waits.end(who, resource)

    def opened(self, life: Life, value: object) -> None:
        life.resource.held = Held(value)
        self.lives.append(life)
        self.lost.discard(life.resource)

    def owns(self, task: asyncio.Task[Any]) -> bool:
        """Was `task` made by a resource, or by what one has made?"""
        if task in self.born:
            return True
        if sys.version_info >= (3, 12):
            return task.get_context().get(asker) is not None
        return False

    # --- closing -------------------------------------------------------------------------

    async def close(self, seconds: float, keep: Collection[Life] = ()) -> None:
        """Close all but `keep` in reverse, whatever fails, within `seconds`."""
        self.closing = True
        deadline = time.monotonic() + seconds
        try:
            while found := [life for life in self.lives if life not in keep]:
                allowed = allowance(deadline - time.monotonic(), len(found))
                await found[-1].end(allowed, self.teller)
                self._drop(found[-1])
        finally:
            self.closing = False

    def _drop(self, life: Life) -> None:
        if life in self.lives:
            self.lives.remove(life)
            life.resource.held = None

    def close_without_loop(self) -> None:
        """The same where no loop runs, for a program that ends by itself."""
        ours = self.loop
        if ours is not None and not ours.is_closed():
            ours.run_until_complete(self.close(ALONE))
        else:
            loop = asyncio.new_event_loop()
            try:
                loop.run_until_complete(self.close(ALONE))
            finally:
                loop.close()

    def all_cancelled(self, run_ends: bool) -> asyncio.Task[None]:
        """Close all, once, when the application's own tasks have ended."""
        if self.closer is None or not self._closes():
            self.closer = asyncio.get_running_loop().create_task(self._close_last(run_ends))
        return self.closer

    def _closes(self) -> bool:
        """Are all being closed?  What an earlier loop left unfinished stays so."""
        it = self.closer
        return it is not None and not it.done() and it.get_loop() is asyncio.get_running_loop()

    async def _close_last(self, run_ends: bool) -> None:
        ours = {asyncio.current_task(), *(life.task for life in self.lives)}
        others = {it for it in asyncio.all_tasks() if it not in ours and not self.owns(it)}
        if others:
            await asyncio.wait(others, timeout=OTHERS)
        closed = [life.resource for life in self.lives]
        await self.close(self.teller.patience())
        if self.hosted and not run_ends:  # the worker goes on
            for resource in closed:
                self._tell_lost(resource, asyncio.CancelledError("with all other tasks"))

    def lose(self, life: Life) -> None:
        """Its own scope ends it, in its own time: see to it that this comes to an end."""
        life.loser = asyncio.get_running_loop().create_task(self._lose(life))
        self.born.add(life.loser)

    async def _lose(self, life: Life) -> None:
        try:
            await life.end(self.teller.patience(), self.teller)
        finally:
            error, life.error = life.error, None
            self._drop(life)
        if not self.closing:
            self._tell_lost(life.resource, error)

    def _tell_lost(self, resource: Resource[Any], error: BaseException | None) -> None:
        if not self.teller.over():
            self.lost.add(resource)
            self.teller.lost(resource, error)

    def ends(self, stay: Stay) -> bool:
        """Was it cancelled because all tasks are, and not by a scope of its own?"""
        if stay.stood or self._closes():
            return True
        if stay.scoped:
            return False
        if self.teller.over():
            return True
        lives = {life.task for life in self.lives}
        others = stay.beside(lambda task: task in lives or not self.owns(task))
        # In a worker nobody else may be there by chance.
        return all(others) if others else not self.hosted


class Life:
    """One resource in this process, from its opening to its closing."""

    def __init__(self, book: Book, resource: Resource[Any]) -> None:
        self.book = book
        self.resource = resource
        self.generator: Any = None
        self.task: asyncio.Task[None] | None = None
        self.error: BaseException | None = None
        self.leaving = False
        self.stay: Stay | None = None
        self.loser: asyncio.Task[None] | None = None
        book.opening[resource] = self

    # --- opening, at once -----------------------------------------------------------------

    def open_now(self) -> Any:
        """For what is not asynchronous.  Raises whatever the function does."""
        resource = self.resource
        token = asker.set(resource)
        try:
            for it in before(resource, lambda key: key.needs, mentioned):
                if it in resource.needs or (it.kind not in ASYNC and it not in self.book.opening):
                    it()
            value = self._first(resource.factory())
            returned = self.generator is None
            if returned and (inspect.isawaitable(value) or inspect.isasyncgen(value)):
                if inspect.iscoroutine(value):
                    value.close()
                raise await_it(resource)
        except BaseException as error:
            blamed(error, resource)
            raise
        finally:
            asker.reset(token)
            del self.book.opening[resource]
        self.book.opened(self, value)
        return value

    def _first(self, made: Any) -> Any:
        if not inspect.isgenerator(made):
            return made
        self.generator = made
        try:
            return next(made)
        except StopIteration:
            raise RuntimeError(f"{self.resource} did not yield anything") from None

    # --- opening, on the loop -------------------------------------------------------------

    def begin(self) -> None:
        """Have a task open it; `ready` tells."""
        loop = asyncio.get_running_loop()
        self.book.loop = loop
        self.ready: asyncio.Future[Any] = loop.create_future()
        self.closed = asyncio.Event()
        context = copy_context()
        context.run(asker.set, self.resource)
        self.task = loop.create_task(self._live(), context=context)
        self.task.add_done_callback(self._ended)

    def _ended(self, task: object) -> None:
        """Cancelled before its first step, it has not taken its leave."""
        if self.book.opening.get(self.resource) is self:
            del self.book.opening[self.resource]
            self.ready.cancel()

    async def _live(self) -> None:
        self.task = asyncio.current_task()  # an eager one is here before `begin` has it
        before_us = asyncio.all_tasks()
        try:
            value = await self._open()
        except BaseException as error:
            self._not_open(blamed(error, self.resource))
            return
        finally:
            del self.book.opening[self.resource]
            # Contexts tell it from Python 3.12 on; until then who came meanwhile is ours.
            if sys.version_info < (3, 12):
                self.book.born.update(asyncio.all_tasks() - before_us)
        self.book.opened(self, value)
        if not self.ready.done():
            self.ready.set_result(value)
        if inspect.isasyncgen(self.generator):
            await self._stay()

    def _not_open(self, error: BaseException) -> None:
        if self.ready.done():
            return  # cancelled by whoever waited
        if isinstance(error, asyncio.CancelledError):
            self.ready.cancel()
        elif isinstance(error, StopIteration):  # no future takes one
            self.ready.set_exception(RuntimeError(f"{self.resource} raised StopIteration"))
        else:
            self.ready.set_exception(error)

    async def _open(self) -> Any:
        resource, book = self.resource, self.book
        for it in before(resource, lambda key: key.needs, mentioned):
            if it in resource.needs or not book.waits.path(it, resource):
                await it
        made = resource.factory()
        if inspect.isasyncgen(made):
            self.generator = made
            hooks = sys.get_asyncgen_hooks()
            sys.set_asyncgen_hooks(None, None)  # the loop need not know of it
            try:
                step = made.__anext__()
            finally:
                sys.set_asyncgen_hooks(*hooks)
            try:
                return await step
            except StopAsyncIteration:
                raise RuntimeError(f"{resource} did not yield anything") from None
        value = self._first(made)
        # A task that a generator yields may run until it closes.
        return await value if self.generator is None and inspect.isawaitable(value) else value

    # --- closing ---------------------------------------------------------------------------

    async def _stay(self) -> None:
        """Open; then resume the generator, in the task that it was begun in."""
        assert self.task is not None
        closer = own = None
        while not self.leaving and own is None:
            self.stay = stay = Stay(self.task)
            try:
                await stay
            except asyncio.CancelledError as cancelled:
                if self.leaving:
                    break
                if self.book.pid != os.getpid():
                    return  # a fork that ends its parent's tasks
                if self.book.ends(stay):
                    self.task.uncancel()
                    closer = self.book.all_cancelled(stay.stood)
                else:
                    own = cancelled
        if own is not None:
            self.book.lose(self)
            if stay.scoped:
                await self._resume(self.generator.athrow(own))  # the scope counts its own cancel
                return
            # A program's own shutdown, one task after the other: what stands behind the `yield`
            # is its closing, which is never skipped.
            self.task.uncancel()
        await self._resume(self.generator.__anext__())
        if closer is not None:
            # Whoever has cancelled all tasks waits for us, and not for the closer.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({closer})

    async def _resume(self, step: Awaitable[Any]) -> None:
        try:
            await step
        except StopAsyncIteration:
            pass
        except BaseException as error:
            self.error = error
        else:
            self.error = RuntimeError("it yielded twice")
        self.closed.set()

    async def end(self, seconds: float, teller: Teller) -> None:
        """Close it within `seconds`; what goes wrong is told and never raised."""
        if inspect.isasyncgen(self.generator):
            await self._end_task(seconds, teller)
        elif self.generator is not None:
            self._end_now(seconds, teller)
        if self.error is not None:
            teller.failed(self.resource, self.error)

    async def _end_task(self, seconds: float, teller: Teller) -> None:
        assert self.task is not None
        if self.task.get_loop() is not asyncio.get_running_loop():
            self.error = RuntimeError("its event loop was closed before it")
            return
        if self.loser not in (None, asyncio.current_task()):
            await asyncio.wait({self.loser}, timeout=seconds)  # which tells of it
            return
        self.leaving = True
        if self.stay is not None and not self.stay.done():
            self.stay.set_result(None)
        with teller.alarm(seconds, self.task):
            if await self._is_closed(seconds):
                if isinstance(self.error, Overdue):
                    self.error = TimeoutError(f"not closed within {seconds:.3g} s").with_traceback(
                        self.error.__traceback__
                    )
                return
        teller.late(self.resource, seconds, self.task)
        self.task.cancel()
        if await self._is_closed(LAST):
            self.error = None  # it was told

    async def _is_closed(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.closed.wait()
        return self.closed.is_set()

    def _end_now(self, seconds: float, teller: Teller) -> None:
        try:
            with teller.alarm(seconds, asyncio.current_task()):
                next(self.generator)
        except StopIteration:
            return
        except Overdue as late:
            error = TimeoutError(f"not closed within {seconds:.3g} s")
            self.error = error.with_traceback(late.__traceback__)
        except BaseException as error:
            self.error = error
        else:
            self.error = RuntimeError("it yielded twice")
