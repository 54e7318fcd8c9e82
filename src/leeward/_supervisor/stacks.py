"""Where a process stands: the stack that it has left in its memfd, in a few lines.

Of a start that takes too long faulthandler writes it by itself, of a loop that does not
turn when it is asked to (`leeward._supervisor.watching`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re

from leeward._sys.posix import SEALS

#: A start's stack is a few KiB; deep recursion is cut by faulthandler at 100 frames.
_MOST = 64 * 1024
_FRAMES = 3
#: What faulthandler writes in place of the threads behind the hundredth.
_CUT = "\n...\n"
_FRAME = re.compile(r'  File "(.+)", line (\d+) in (.+)')
_STDLIB = os.path.dirname(os.__file__) + os.sep
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def where(fd: int, most: int = _FRAMES) -> str:
    """The application's innermost frames, outermost first; "" if nothing was written.

    fd:  what faulthandler has written into; stays open.
    """
    shown = _frames(fd)[:most]
    return "\n".join(f"  {file}:{line} in {name}" for file, line, name in reversed(shown))


def innermost(fd: int, directory: str) -> str:
    """ "app.py:12 in slow()", the application's innermost frame; "" if there is none.

    directory:  of the application; a path below it is shown as it is known there.
    """
    for file, line, name in _frames(fd)[:1]:
        call = name if name.startswith("<") else f"{name}()"
        return f"{file.removeprefix(directory.rstrip('/') + '/')}:{line} in {call}"
    return ""


def written(fd: int) -> bool:
    """Is there anything?"""
    return os.fstat(fd).st_size > 0


def usable(fd: int) -> bool:
    """Is it a memfd that we can read and empty?  To read anything else might take for ever."""
    try:
        sealed = fcntl.fcntl(fd, fcntl.F_GET_SEALS) & SEALS
        mode = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
    except OSError:
        return False
    return mode == os.O_RDWR and not sealed


def wipe(fd: int) -> None:
    """Empty, for the next time.  Its offset is its writer's too."""
    with contextlib.suppress(OSError):  # its writer has sealed it: its own stacks are lost
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)


def _frames(fd: int) -> list[tuple[str, str, str]]:
    """(file, line, function), innermost first: the application's, else all but ours."""
    text = os.pread(fd, _MOST, 0).decode("utf-8", "replace")
    # Threads stand newest first; the main thread, whose loop it is, is the last.
    main = text.rpartition("(most recent call first):")[2]
    if _CUT in text:  # more than 100 threads: then it is the one that got the signal
        main = text.partition("Current thread ")[2].partition("\n\n")[0]
    found = [match.groups() for match in map(_FRAME.match, main.splitlines()) if match]
    frames = [(file, line, name) for file, line, name in found]
    not_ours = [it for it in frames if not it[0].startswith(("<frozen ", "<string>", _OURS))]
    library = (_STDLIB, f"{os.sep}site-packages{os.sep}")
    own = [it for it in not_ours if library[1] not in it[0] and not it[0].startswith(library[0])]
    return own or not_ours
