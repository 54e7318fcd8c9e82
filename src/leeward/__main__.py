"""`python -m leeward`, and the `leeward` command: the command line."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn

_ENDING = (signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Runs the command line that the process was started with; returns its exit code."""
    for signum in _ENDING:
        if signal.getsignal(signum) is signal.SIG_DFL:  # nohup's HUP stays ignored
            signal.signal(signum, _end)
    asked = signal.getsignal(signal.SIGINT)
    if asked is signal.default_int_handler:
        # Importing takes 0.2 s, on a busy machine more: Ctrl-C in it ends us as it ends
        # any program, and not by a traceback of what was being imported.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from leeward._sys.lazily import import_lazily

    import_lazily("inspect")  # click's, with ast and dis a sixth of the time that `ps` takes
    from leeward.cli.main import main as run

    signal.signal(signal.SIGINT, asked)
    return run()


def _end(signum: int, frame: FrameType | None) -> NoReturn:
    """What is begun is undone: a program that is rehearsed has started processes, maybe.  And
    what is PID 1 would not even hear what has its default action."""
    for other in _ENDING:  # what undoes it is not to be disturbed
        signal.signal(other, signal.SIG_IGN)
    raise SystemExit(128 + signum)


if __name__ == "__main__":
    if not sys.flags.safe_path:
        # The directory that `-m` puts first is the application's: its `types.py`
        # or `select.py` must not become ours, imported lazily later on.
        del sys.path[0]
    sys.exit(main())
