"""An application's exception as at most 8 lines: what failed, where, what to do.

Only the application's own frames are shown: those of importlib and leeward say
nothing, those of the libraries are summed up by the last of them.  One line for
a frame, so that the first and the last few fit.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
from collections.abc import Iterable
from types import TracebackType

from leeward.errors import TargetError

#: Frames shown; with headline, message, cause and remedy at most 8 lines.
FRAMES = 4
#: A line of an error is for a terminal and a log, not for a dump of the data.
WIDTH = 200

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def shown(path: str) -> str:
    """`path` as a person in the working directory would type it."""
    try:
        here = os.getcwd() + os.sep
    except OSError:  # the directory was removed
        return path
    return path.removeprefix(here)


def words(error: BaseException) -> str:
    """ "ValueError: no such colour", the first line, even if its `str` raises."""
    text = traceback.format_exception_only(type(error), error)[-1].strip()
    return _cut(text.split("\n", 1)[0])


def frames(trace: TracebackType | None) -> list[str]:
    """One line for each of the application's frames, outermost first, at most `FRAMES`."""
    return told(traceback.extract_tb(trace))


def told(stack: Iterable[traceback.FrameSummary]) -> list[str]:
    """The same of any stack, outermost first."""
    paths = sysconfig.get_paths()
    library = tuple({paths[key] + os.sep for key in ("stdlib", "platstdlib", "purelib", "platlib")})
    own: list[str] = []
    last = ""
    for frame in stack:
        if frame.filename.startswith(_OURS) or frame.filename.startswith("<frozen "):
            continue
        if not frame.filename.startswith(library):
            code = f": {frame.line}" if frame.line else ""
            own.append(_cut(f"  {shown(frame.filename)}:{frame.lineno} in {frame.name}{code}"))
            last = ""
        elif f"{os.sep}importlib{os.sep}" not in frame.filename:
            last = f"  raised in {frame.filename}:{frame.lineno} in {frame.name}"
    kept = FRAMES - 1 if last else FRAMES
    if len(own) > kept:
        own = [own[0], f"  … {len(own) - kept + 1} frames …", *own[len(own) - kept + 2 :]]
    return [*own, last] if last else own


def alone(error: BaseException) -> BaseException:
    """The one that the groups around it hold, of which each says no more than that."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def tell(error: BaseException, what: str, remedy: str = "") -> TargetError:
    """`what` failed with `error`: the `TargetError` to raise or to send.

    what:  "importing chat.py", "factory make_app() in chat.py".
    """
    if isinstance(error, SyntaxError) and error.filename:
        return _unparsable(error, remedy)
    lines = [f"{what} failed: {words(error)}", *frames(error.__traceback__)]
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        lines.append(f"  because of {words(cause)}")
    if not remedy and isinstance(error, ModuleNotFoundError) and error.name:
        remedy = (
            f"Is {error.name.partition('.')[0]!r} installed for this interpreter? "
            f"{sys.executable} -m pip list"
        )
    return TargetError("\n".join(lines), remedy)


def _unparsable(error: SyntaxError, remedy: str) -> TargetError:
    where = f"{shown(error.filename or '?')}:{error.lineno}"
    lines = [_cut(f"{where} cannot be parsed: {type(error).__name__}: {error.msg}")]
    if error.text:
        code = error.text.rstrip("\n")
        bare = code.lstrip()
        lines.append(_cut(f"    {bare}"))
        column = (error.offset or 0) - 1 - (len(code) - len(bare))
        if 0 <= column < WIDTH:
            lines.append("    " + " " * column + "^")
    return TargetError("\n".join([*lines, *frames(error.__traceback__)]), remedy)


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"
