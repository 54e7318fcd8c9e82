"""The event loop of a worker."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util

from leeward.errors import TargetError


def wanted(loop: str) -> str:
    """ "asyncio" or "uvloop": what `loop` (--loop) comes to here."""
    if loop != "auto":
        return loop
    return "uvloop" if importlib.util.find_spec("uvloop") is not None else "asyncio"


def preload(loop: str) -> None:
    """Import what `new` will need: uvloop takes 5 ms, and its pages are shared then."""
    if wanted(loop) == "uvloop":
        with contextlib.suppress(ImportError):  # `new` says so
            importlib.import_module("uvloop")


def left() -> asyncio.AbstractEventLoop | None:
    """The loop that the import in this process has left as the current one, if it can be run.

    What the import gave to it (a `PeriodicCallback`, a module's own ``IOLoop.current()``) runs
    in no other.  Read in the policy's own book: asyncio makes a loop for whoever asks it.
    """
    policy = asyncio.get_event_loop_policy()
    loop = getattr(getattr(policy, "_local", None), "_loop", None)
    if not isinstance(loop, asyncio.AbstractEventLoop):
        return None
    return None if loop.is_closed() or loop.is_running() else loop


def kind(loop: asyncio.AbstractEventLoop) -> str:
    """ "asyncio" or "uvloop", or whose it is else."""
    return type(loop).__module__.partition(".")[0]


def is_ours() -> bool:
    """Is the choice of a loop ours?  An application with a policy has made its own."""
    return type(asyncio.get_event_loop_policy()) is asyncio.DefaultEventLoopPolicy


def new(loop: str) -> asyncio.AbstractEventLoop:
    """A fresh loop, as --loop says.  Raises TargetError if there is no uvloop.

    The application's own choice of a policy goes first.
    """
    if not is_ours() or wanted(loop) == "asyncio":
        return asyncio.new_event_loop()
    try:
        import uvloop
    except ImportError as error:
        raise TargetError(
            f"--loop uvloop: {error}",
            "Install it (pip install 'leeward[fast]'), or serve with --loop asyncio.",
        ) from None
    return uvloop.new_event_loop()
