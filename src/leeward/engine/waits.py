"""Waits of Tornado's locks and queues that their waiter gives up leave nothing behind.

A `Condition` keeps the future of everybody who waits until the next `notify`, the
cancelled ones too: one that is never notified keeps the futures of all clients that ever
left.  Here a cancelled wait is taken out, as Tornado does it for one that has timed out.

The methods are wrapped, not replaced, once a process.  A wait that is not over at once
costs 3.7 µs instead of 2.1, one that is nothing that could be measured.

`gen.multi`, and so a list or dict that is yielded, says of what it waits for: unlike that of
`asyncio.gather` its future does not know, and the parts of a wait that was given up went on.

`gen.with_timeout` leaves two callbacks at what it waits for, and one more after its timeout,
until that is over: at a future that lives on, for every wait there ever was.  Here the two
and the timer go with the wait.  The third logs an error that comes too late, and stays.
What is wrapped is what `with_timeout` itself calls, as that may have been imported by name.
A wait costs 27 µs instead of 20 by it.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from typing import Any

from tornado import gen, locks, queues

from leeward.engine import ties

#: Where those who wait are kept, by class and method.
_WAITS = (
    (locks.Condition, "wait", "_waiters"),
    (locks.Semaphore, "acquire", "_waiters"),
    (queues.Queue, "get", "_getters"),
    (queues.Queue, "put", "_putters"),
)

#: Of those in the middle, so many stay until they are looked for.
_AT_ONCE = 100

_MARK = "_leeward"

#: Callbacks of Tornado: of a task that it made of a coroutine; that a timer is not needed any more.
_MADE = ("tornado.gen", "_wrap_awaitable.<locals>.<lambda>")
_ENDS_TIMER = ("tornado.gen", "with_timeout.<locals>.<lambda>")


def install() -> None:
    """Wrap what is not wrapped yet."""
    for kind, name, where in _WAITS:
        method = getattr(kind, name)
        if not hasattr(method, _MARK):
            setattr(kind, name, _wrapped(method, where))
    if not hasattr(gen.multi_future, _MARK):
        gen.multi_future = _gathering(gen.multi_future)
    used: Any = gen
    if not hasattr(used.chain_future, _MARK):
        used.chain_future = _chaining(used.chain_future)


def gathered(future: Any) -> Any:
    """The futures that `future` waits for all together; None if it is no such future."""
    children = getattr(future, "_children", None)
    if children is None:
        mark = mark_of(future)
        return None if mark is None else mark.children
    return children


def mark_of(future: Any) -> Together | Chained | None:
    """What says of a future of Tornado what it waits for."""
    for callback, _ in getattr(future, "_callbacks", None) or ():
        if isinstance(callback, (Together, Chained)):
            return callback
    return None


def _wrapped(method: Any, where: str) -> Any:
    @functools.wraps(method)
    def waiting(self: Any, *args: Any, **kwargs: Any) -> Any:
        future = method(self, *args, **kwargs)
        if isinstance(future, asyncio.Future) and not future.done():
            future.add_done_callback(Wait(self, where))
        return future

    setattr(waiting, _MARK, True)
    return waiting


def _gathering(multi_future: Any) -> Any:
    @functools.wraps(multi_future)
    def gathering(children: Any, quiet_exceptions: Any = ()) -> Any:
        if isinstance(children, dict):
            children = {key: gen.convert_yielded(it) for key, it in children.items()}
        else:
            children = [gen.convert_yielded(it) for it in children]
        future = multi_future(children, quiet_exceptions)
        if not future.done():
            found = children.values() if isinstance(children, dict) else children
            future.add_done_callback(Together([it for it in found if asyncio.isfuture(it)]))
        return future

    setattr(gathering, _MARK, True)
    return gathering


def _chaining(chain_future: Any) -> Any:
    @functools.wraps(chain_future)
    def chaining(source: Any, future: Any) -> None:
        if not isinstance(source, asyncio.Future) or source.done():
            chain_future(source, future)
            return
        given = _is_given(source)
        chain_future(source, future)
        future.add_done_callback(Chained(source, given))

    setattr(chaining, _MARK, True)
    return chaining


def _is_given(work: asyncio.Future[Any]) -> bool:
    """Is it a coroutine's, and not one that Tornado has begun a moment ago, to wait for it?"""
    if not isinstance(work, asyncio.Task):
        return ties.runner_of(work) is not None
    callbacks = ties.callbacks(work)
    return len(callbacks) != 1 or ties.name(callbacks[0][0]) != _MADE


class Together:
    """What a future of `gen.multi` waits for, kept among its callbacks."""

    __slots__ = ("children",)

    def __init__(self, children: list[asyncio.Future[Any]]) -> None:
        self.children = children

    def __call__(self, future: asyncio.Future[Any]) -> None:
        """It is over."""

    def untie(self, future: asyncio.Future[Any]) -> None:
        for child in self.children:
            tie = None if child.done() else ties.tie(child, future)
            if tie is not None:
                ties.let_go(child, tie)


class Chained:
    """What a future of `gen.with_timeout` waits for, kept among its callbacks.

    given:  is it work that was under way?  `with_timeout` does not end it either.
    """

    __slots__ = ("_source", "children")

    def __init__(self, source: asyncio.Future[Any], given: bool) -> None:
        self._source = source
        self.children = None if given else [source]

    def __call__(self, future: asyncio.Future[Any]) -> None:
        """It is over; perhaps what it waits for is not."""
        self.untie(future)

    def untie(self, future: asyncio.Future[Any]) -> None:
        source = self._source
        copy = None if source.done() else ties.tie(source, future)
        if copy is None:
            return
        callbacks = [it for it, _ in ties.callbacks(source)]
        after = callbacks[callbacks.index(copy) + 1 :][:1]
        for ends_timer in after:
            if ties.name(ends_timer) == _ENDS_TIMER:
                ends_timer(source)
                source.remove_done_callback(ends_timer)
        ties.let_go(source, copy)


class Wait:
    """One wait; called when it is over."""

    __slots__ = ("_owner", "_where")

    def __init__(self, owner: Any, where: str) -> None:
        self._owner = owner
        self._where = where

    def __call__(self, future: asyncio.Future[Any]) -> None:
        if not future.cancelled():
            return
        waiting = getattr(self._owner, self._where, None)
        if not isinstance(waiting, deque):
            return
        while waiting and _is_over(waiting[0]):
            waiting.popleft()
        given_up = getattr(self._owner, "_leeward_given_up", 0) + 1
        if given_up >= _AT_ONCE:
            given_up = 0
            kept = [it for it in waiting if not _is_over(it)]
            waiting.clear()
            waiting.extend(kept)
        self._owner._leeward_given_up = given_up


def _is_over(entry: Any) -> bool:
    # A putter is kept with its item.
    return bool((entry[1] if type(entry) is tuple else entry).done())
