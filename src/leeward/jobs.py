"""`@leeward.on_one_worker`: a periodic job that runs once for the whole instance.

    @leeward.on_one_worker(every="1m")
    async def purge():
        await db().execute("delete from sessions where expires < now()")

It runs on the loop of the worker in the lowest slot that serves, for the first time `every`
after that has begun to serve, and on the next one when that ends, drains or is stuck.  Two
never run at once.  A run that raises is logged; the next comes in its time.  Runs that were
missed are not made up for, but for one.

The function stays as it is: tests call it.  Alone, in `python app.py`, nobody does.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import CodeType
from typing import Any, TypeVar

from leeward._core.durations import positive
from leeward._core.record import Record
from leeward.resources import shown

F = TypeVar("F", bound=Callable[[], Any])


class Job(Record):
    """every: seconds.  key: the same in every process, and in the next generation."""

    function: Callable[[], Any]
    every: float
    key: str

    def __str__(self) -> str:
        code = _code(self.function)
        name = _named(self.function).__name__
        name += "".join(self.key.partition("#")[1:])
        where = "?" if code is None else f"{shown(code.co_filename)}:{code.co_firstlineno}"
        return f"{name} ({where})"


#: By key: every job that was declared in this process.
DECLARED: dict[str, Job] = {}


def on_one_worker(*, every: float | str) -> Callable[[F], F]:
    """Run the function on one worker of the instance, again and again.

    every:  seconds, or "30s", "5m", "1h", from one run's begin to the next.

    Raises ValueError for what is no duration above 0, TypeError for no function.
    """
    interval = positive(every)

    def declare(function: F) -> F:
        if not callable(function):
            raise TypeError(f"on_one_worker decorates a function, not {function!r}")
        named = _named(function)
        module = getattr(named, "__module__", "?")
        key = _free(f"{module}:{named.__qualname__}", function)
        DECLARED[key] = Job(function, interval, key)
        return function

    return declare


def _free(name: str, function: Callable[[], Any]) -> str:
    """The key of `function`: `name`, and a number behind it if that is another job's.

    The same `def` executed again, in a loop say, makes another job; so does another `def` of
    one name (`def _():`).  A module that is loaded once more declares its jobs once more.
    """
    key, number = name, 1
    while (known := DECLARED.get(key)) and known.function != function:
        before, code = _code(known.function), _code(function)
        if before is not code and _place(before) == _place(code):
            break
        number += 1
        key = f"{name}#{number}"
    return key


def _place(code: CodeType | None) -> tuple[str, int] | None:
    return None if code is None else (code.co_filename, code.co_firstlineno)


def _named(function: Callable[[], Any]) -> Any:
    """What has a name that every process gives it: a `partial`'s function, an object's class.

    Their `repr` has an address in it: each spawned worker would have a job of its own.
    """
    while isinstance(function, functools.partial):
        function = function.func
    return function if hasattr(function, "__qualname__") else type(function)


def _code(function: Callable[[], Any]) -> CodeType | None:
    named = _named(function)
    called = named.__call__ if isinstance(named, type) else named
    return getattr(inspect.unwrap(called), "__code__", None)
