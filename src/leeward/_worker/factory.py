"""Makes the application on the worker's own running loop, or says why not."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, cast

from leeward.adapters import blame
from leeward.adapters.tornado import SERVABLE, servable
from leeward.errors import TargetError

if TYPE_CHECKING:
    from tornado.httputil import HTTPServerConnectionDelegate

    from leeward.adapters.target import Application


async def make(application: Application) -> HTTPServerConnectionDelegate:
    """Call the factory, await it if it is asynchronous, check what came out.

    Raises TargetError, its text at most 8 lines.
    """
    value = application.value
    if application.factory is not None:
        try:
            value = application.factory()
            if inspect.isawaitable(value):
                value = await value
        except SystemExit as error:
            lines = [f"{application.found} called sys.exit({error.code!r})"]
            raise TargetError("\n".join([*lines, *blame.frames(error.__traceback__)])) from None
        except BaseException as error:
            # Of asyncio.CancelledError, KeyboardInterrupt and the like a loop tells nobody
            # more than an exit code; the factory is to blame for them as well.
            raise blame.tell(error, application.found) from None
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
