"""Paths as they were typed, symbolic links unresolved.

A deploy that swaps a `current` link is seen by a reload only if nothing has
resolved the link before.  The kernel resolves it (`os.getcwd()` names the old
release for ever), the shell does not and keeps the typed path in $PWD.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

import leeward


def logical_cwd(environ: Mapping[str, str]) -> str:
    """$PWD if it names the directory that we are in, else what the kernel says.

    Raises FileNotFoundError if the directory has been removed.
    """
    physical = os.getcwd()
    typed = environ.get("PWD", "")
    if os.path.isabs(typed):
        try:
            if os.path.samefile(typed, physical):
                return typed
        except OSError:
            pass  # $PWD names nothing: inherited from another place, of no use
    return physical


def as_typed(path: str, cwd: str) -> str:
    """`path` with the kernel's name of the working directory put back to `cwd`.

    Python makes a relative path absolute (a `bin/python` in $PATH, a `src` in
    $PYTHONPATH) with os.getcwd(), which has lost the link.
    """
    physical = os.getcwd()
    if path == physical or path.startswith(physical.rstrip("/") + "/"):
        return cwd.rstrip("/") + path[len(physical.rstrip("/")) :]
    return path


def interpreter(cwd: str) -> tuple[str, ...]:
    """This interpreter and the flags that the user gave it."""
    # The one place in CPython that knows how to spell its own flags again;
    # multiprocessing relies on it too.
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return (as_typed(sys.executable, cwd), *flags)


def package_root(cwd: str) -> str:
    """The directory that holds the `leeward` package, as it was imported."""
    return as_typed(os.path.dirname(os.path.abspath(leeward.__path__[0])), cwd)
