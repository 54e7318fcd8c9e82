"""Words on stdout and stderr that survive a reader who has left.

`leeward reload | head -1` must still wait for the reload and return its exit
code: a closed pipe silences the rest and changes nothing else.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
from typing import TextIO

from leeward.errors import LeewardError


def say(text: str) -> None:
    """One line (or several) on stdout.  Raises `LeewardError` on a full disk."""
    try:
        _write(sys.stdout, text)
    except OSError as error:
        raise LeewardError(f"cannot write to stdout: {error.strerror}") from None


def is_read() -> bool:
    """Does anybody read stdout still?  A pipe tells, without a word said."""
    if _left or sys.stdout is None:
        return not _left
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # POLLERR comes unasked
    return not any(events & select.POLLERR for _, events in poll.poll(0))


#: Streams whose reader has left.
_left: list[TextIO] = []


def complain(text: str) -> None:
    """To stderr, after "leeward: "."""
    # A full disk behind stderr: nowhere is left to say so, the exit code tells.
    with contextlib.suppress(OSError):
        _write(sys.stderr, f"leeward: {text}")


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:
        return  # started with the descriptor closed
    # What the terminal's encoding lacks: "…" in Latin-1, or a file's name that is no UTF-8.
    encoding = stream.encoding or "utf-8"
    text = printable(text).encode(encoding, "backslashreplace").decode(encoding)
    try:
        stream.write(text + "\n")
        stream.flush()
    except OSError as error:
        # The buffer still holds the line: it would fail again at exit, aloud.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        if not isinstance(error, BrokenPipeError):
            raise
        if stream is sys.stdout:
            _left.append(stream)


def printable(text: str) -> str:
    """Without control characters: what an application or a peer wrote stays text.

    (An escape sequence in a traceback can retitle, recolour or answer for a terminal.)
    """
    return "".join(
        c if (c >= " " and not "\x7f" <= c <= "\x9f") or c in "\n\t" else "?" for c in text
    )


def open_standard_streams() -> None:
    """Puts /dev/null where descriptor 0, 1 or 2 is closed.

    Otherwise the next socket that is opened becomes 2, and a traceback goes to
    a client.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            # The lowest free descriptor is this one: those below are open by now.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
