"""Makes the application on the worker's own running loop, or says why not."""

from __future__ import annotations

import inspect
import os
import sysconfig
import traceback
from typing import TYPE_CHECKING, cast

from leeward.adapters.tornado import SERVABLE, servable
from leeward.errors import TargetError

if TYPE_CHECKING:
    from tornado.httputil import HTTPServerConnectionDelegate

    from leeward.adapters.target import Application

#: Frames of the application that an error shows, two lines each: with the
#: exception itself at most 7 of the 8 lines that an error may have.
FRAMES = 3


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
            words = f"the factory called sys.exit({error.code!r})"
            raise TargetError(f"{words}\n{frames(error)}") from None
        except Exception as error:
            raise TargetError(explain(error)) from None
    if not servable(value):
        kind = type(value)
        raise TargetError(
            f"{application.found} gave {_article(f'{kind.__module__}.{kind.__qualname__}')}, "
            f"expected {SERVABLE}",
            "Return the application itself: leeward opens the port and makes the server.",
        )
    return cast("HTTPServerConnectionDelegate", value)


def explain(error: BaseException) -> str:
    """The exception and where in the application it came from, at most 7 lines."""
    words = "".join(traceback.format_exception_only(error)).strip().split("\n")
    return "\n".join([words[-1][:500], *frames(error).split("\n")]).rstrip()


def frames(error: BaseException) -> str:
    """The last frames of the application's own code; of any code if there are none."""
    stack = list(traceback.extract_tb(error.__traceback__))
    ours = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
    paths = sysconfig.get_paths()
    library = tuple(paths[key] + os.sep for key in ("stdlib", "platstdlib", "purelib", "platlib"))
    stack = [frame for frame in stack if not frame.filename.startswith((ours, "<frozen "))]
    own = [frame for frame in stack if not frame.filename.startswith(library)] or stack
    return "\n".join(
        f"  {frame.filename}:{frame.lineno}, in {frame.name}\n    {frame.line}"
        for frame in own[-FRAMES:]
    )


def _article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiouAEIOU' else 'a'} {words}"
