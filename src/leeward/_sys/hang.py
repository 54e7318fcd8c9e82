"""What a process that hangs was doing: written by itself, read by its parent.

A start that never ends is usually an import or a factory that waits for
somebody, perhaps in C code that holds the interpreter lock, so no Python code
and no message can tell.  faulthandler's watchdog is a native thread: shortly
before the deadline it writes the stacks to a memfd, and the supervisor looks
for that by name among the descriptors of the process before it kills it.

What does not work: a signal (its Python handler needs the lock), py-spy (not
installed), a message with the memfd (one more state in the conversation for
what the kernel can tell).
"""

from __future__ import annotations

import faulthandler
import os

_NAME = "leeward-hang"
#: Stacks of 100 threads at 100 frames are 500 KiB; we want the main thread's end.
_LIMIT = 1024 * 1024
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class Watch:
    """Write down the stacks `before` seconds ahead of `timeout`, unless `end` comes first.

    While it runs there is one native thread more; `end` waits for that to go.
    A second watch takes the place of the first.
    """

    def __init__(self, timeout: float) -> None:
        self._fd = os.memfd_create(_NAME)
        # Ahead of the deadline, so that it is there when the supervisor looks.
        faulthandler.dump_traceback_later(max(timeout - 0.5, timeout * 0.75), file=self._fd)

    def end(self) -> None:
        if self._fd >= 0:
            faulthandler.cancel_dump_traceback_later()
            os.close(self._fd)
            self._fd = -1


def stack_of(pid: int) -> list[str]:
    """ "chat.py:3 in <module>" for each frame of its main thread, innermost first.

    Empty if its watch has written nothing, or it has none.  Frames of importlib
    and of leeward are left out.
    """
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    for name in names:
        try:
            if os.readlink(f"{folder}/{name}") == f"/memfd:{_NAME} (deleted)":
                with open(f"{folder}/{name}", encoding="utf-8", errors="replace") as file:
                    file.seek(0)
                    return _frames(file.read(_LIMIT))
        except OSError:
            continue  # it was closed, or the process has ended
    return []


def _frames(text: str) -> list[str]:
    """From faulthandler's words; the main thread is the last that it names."""
    block = text.rpartition("(most recent call first):")[2]
    frames = []
    for line in block.splitlines():
        words = line.strip().split('"')
        if len(words) < 3 or words[0] != "File " or words[1].startswith(("<frozen ", _OURS)):
            continue
        number, _, function = words[2].removeprefix(", line ").partition(" in ")
        frames.append(f"{words[1]}:{number} in {function}")
    return frames
