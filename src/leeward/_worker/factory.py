"""Makes the application on the worker's own running loop, or says why not."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
import traceback
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, cast

from leeward.adapters import blame
from leeward.adapters.loading import last_moment
from leeward.adapters.tornado import SERVABLE, servable
from leeward.errors import TargetError

if TYPE_CHECKING:
    from tornado.httputil import HTTPServerConnectionDelegate

    from leeward.adapters.target import Application

#: What asyncio, its Runner and uvloop say to who runs a loop inside of one; "no running event
#: loop" is said to who needs one, in a thread.
_NESTED = re.compile(r"event loop.*running|(?<!no )running event loop", re.IGNORECASE)


async def make(application: Application, start_timeout: float) -> HTTPServerConnectionDelegate:
    """Call the factory, await it if it is asynchronous, check what came out.

    Raises TargetError, its text at most 8 lines; shortly before the start time-out too, as
    nobody but the loop knows where a coroutine waits.
    """
    value = application.value
    if application.factory is not None:
        try:
            value = application.factory()
            if inspect.isawaitable(value):
                value = await _in_time(value, application, start_timeout)
        except TargetError:
            raise
        except SystemExit as error:
            lines = [f"{application.found} called sys.exit({error.code!r})"]
            raise TargetError("\n".join([*lines, *blame.frames(error.__traceback__)])) from None
        except BaseException as error:
            # Of asyncio.CancelledError, KeyboardInterrupt and the like a loop tells nobody
            # more than an exit code; the factory is to blame for them as well.
            remedy = ""
            if isinstance(error, RuntimeError) and _NESTED.search(str(error)):
                remedy = (
                    "leeward runs the loop and opens the port: return the application and leave "
                    "both to it, or have the file run as it stands: " + _as_program(application)
                )
            raise blame.tell(error, application.found, remedy) from None
    if not servable(value):
        kind = type(value)
        name = kind.__qualname__
        if kind.__module__ != "builtins":
            name = f"{kind.__module__}.{name}"
        raise TargetError(
            f"{application.found} gave an object of {name}, expected {SERVABLE}",
            "Return the application itself: leeward opens the port and makes the server.",
        )
    return cast("HTTPServerConnectionDelegate", value)


async def _in_time(making: Awaitable[Any], application: Application, start_timeout: float) -> Any:
    """What it makes.  Raises TargetError with the place where it waits."""
    task = asyncio.current_task()
    assert task is not None
    places: list[str] | None = None

    def give_up() -> None:
        nonlocal places
        places = waits_at(task)
        task.cancel()

    timer = asyncio.get_running_loop().call_later(last_moment(start_timeout), give_up)
    try:
        return await making
    except asyncio.CancelledError:
        if places is None:
            raise
        said = f"{application.found} has not returned in time (--start-timeout {start_timeout:g}s)"
        raise TargetError(
            "\n".join([said, *places]),
            "Is what it waits for there?  A program that serves by itself is run as it stands: "
            f"{_as_program(application)}",
        ) from None
    finally:
        timer.cancel()
        if places is not None:
            task.uncancel()


def waits_at(task: asyncio.Future[Any] | None) -> list[str]:
    """Where `task` waits, in the application's own lines."""
    from leeward.engine.standing import frames

    stack = [(frame, frame.f_lineno) for frame in frames(task)] if task is not None else []
    return blame.told(traceback.StackSummary.extract(iter(stack)))


def _as_program(application: Application) -> str:
    factory: Any = application.value
    with contextlib.suppress(ValueError):  # wrapped in a circle
        factory = inspect.unwrap(factory)
    code = getattr(factory, "__code__", None)
    file = "FILE.py" if code is None else blame.shown(code.co_filename)
    return f"leeward serve {file} --kind script"
