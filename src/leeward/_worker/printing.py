"""A worker's stdout and stderr lead into the supervisor's pipes, where they are captured.

Everything passes there that is written to descriptors 1 and 2: by `print`, C libraries,
faulthandler, and the programs that the application starts.  The pipes block when they are
full, as a terminal does, and are never broken.  Our own lines go through them too, as they
would overtake what was printed before them otherwise.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leeward._core.config import Config
    from leeward._core.messages import Fork


def redirect(order: Fork, config: Config) -> bool:
    """Put what came with `order` in place, and close it.  Does stderr lead to a terminal then?

    To be called before the application can print.
    """
    into_log = config.capture_output == "on" and bool(config.log_file)
    terminal = bool(order.stderr) and not into_log and os.isatty(2)
    for number, given in ((1, order.stdout), (2, order.stderr)):
        if given:
            _keep_manners(number, into_log)
            os.dup2(given[0], number)
    for fd in (*order.stdout, *order.stderr):
        os.close(fd)
    return terminal


def _keep_manners(number: int, into_log: bool) -> None:
    """Have Python's stream behave as it would without the pipe.

    On a terminal it is written at each end of a line: that was settled when the process
    began.  Whether it is a terminal is asked anew each time, by those who use colours there.
    into_log:  its lines get times, so they must not wait in a buffer.
    """
    # By its first name too: colorama and others put something of theirs in front of it.
    names = ("stdout", "__stdout__") if number == 1 else ("stderr", "__stderr__")
    terminal = not into_log and os.isatty(number)
    for name in names:
        stream = getattr(sys, name)
        # None: closed.  Others: an application's own idea of a stream.
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
            if stream.fileno() != number:
                continue
            if into_log:
                stream.reconfigure(line_buffering=True)
            if terminal:
                stream.isatty = _yes


def _yes() -> bool:
    return True
