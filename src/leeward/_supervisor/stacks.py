"""Where a start hangs: the stack that a process has left in its memfd, in a few lines."""

from __future__ import annotations

import os
import re

#: A start's stack is a few KiB; deep recursion is cut by faulthandler at 100 frames.
_MOST = 64 * 1024
_FRAMES = 3
_FRAME = re.compile(r'  File "(.+)", line (\d+) in (.+)')
_STDLIB = os.path.dirname(os.__file__) + os.sep
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def where(fd: int) -> str:
    """The application's innermost frames, outermost first; "" if nothing was written.

    fd:  what faulthandler has written into; stays open.
    """
    text = os.pread(fd, _MOST, 0).decode("utf-8", "replace")
    # Threads stand newest first; the main thread, which starts us, is the last.
    main = text.rpartition("(most recent call first):")[2]
    frames = [match.groups() for match in map(_FRAME.match, main.splitlines()) if match]
    not_ours = [it for it in frames if not it[0].startswith(("<frozen ", "<string>", _OURS))]
    library = (_STDLIB, f"{os.sep}site-packages{os.sep}")
    own = [it for it in not_ours if library[1] not in it[0] and not it[0].startswith(library[0])]
    shown = (own or not_ours)[:_FRAMES]
    return "\n".join(f"  {file}:{line} in {name}" for file, line, name in reversed(shown))
