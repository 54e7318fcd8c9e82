"""Words on stdout and stderr that survive a reader who has left.

`leeward reload | head -1` must still wait for the reload and return its exit
code: a closed pipe silences the rest and changes nothing else.
"""

from __future__ import annotations

import os
import sys


def say(text: str) -> None:
    """One line (or several) on stdout.  Raises OSError on a full disk, never on a closed pipe."""
    _write(1, text)


def complain(text: str) -> None:
    """To stderr, each line of the first paragraph after "leeward: "."""
    _write(2, f"leeward: {text}")


def _write(fd: int, text: str) -> None:
    stream = sys.stdout if fd == 1 else sys.stderr
    if stream is None:
        return  # started with the descriptor closed
    try:
        stream.write(printable(text) + "\n")
        stream.flush()
    except BrokenPipeError:
        # The buffer still holds the line, and would raise again at exit.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


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
