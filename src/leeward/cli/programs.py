"""Which files are programs, and what is left to them: their address, their number of processes
and how long they compute."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import TYPE_CHECKING

from leeward._core.record import replace
from leeward.cli import regular, values
from leeward.cli.layers import Value
from leeward.errors import UsageError

if TYPE_CHECKING:
    from leeward._core.messages import Loaded
    from leeward._core.programs import Look
    from leeward.cli.resolution import Resolution

#: Bytes of a program's text that are looked at; no source that a person keeps has as many.
_MOST = 16 * 1024 * 1024

_OWN = "default (the program's own)"

#: Arguments of a program's HTTPServer, which are in force where nobody says otherwise.
_ARGUMENTS = ("max_body", "max_header", "decompress")


def kind(target: Value, given: Value, directory: str, notes: list[str]) -> Value:
    """ "tornado" or "script", told by the text of the file where nobody says it.

    "auto" for a file that is no Python: what it was meant to be nobody can tell.
    """
    path: str = target.value
    is_file = path.endswith(".py")
    if given.value == "script" and not is_file:
        raise UsageError(
            f"{given.origin}: {path} is no file, and only a file can be run as a program",
            "Write leeward serve path/to/app.py --kind script",
        )
    if given.value != "auto":
        return given
    if os.path.basename(path) == "__main__.py":
        return Value("script", f"{given.origin.partition(' (')[0]} (what python -m runs)")
    if not is_file:
        return Value("tornado", given.origin)
    seen = _look(os.path.join(directory, path))
    if seen.is_program:
        why = f"it serves by {seen.serves}" if seen.serves else f"it is run by {seen.runs}"
        if seen.usual:
            why += f", and would when imported for its {seen.usual}"
        return Value("script", f"{given.origin.partition(' (')[0]} ({why})")
    if seen.serves:
        notes.append(f"{seen.usual} is served; --kind script runs {path} with its {seen.serves}")
    return given if seen.broken else Value("tornado", given.origin)


def _look(path: str) -> Look:
    from leeward._core.programs import Look, look  # with `ast` 7 ms, and a module needs none

    try:
        return look(regular.read(path, _MOST))
    except OSError:
        return Look()  # that it is not there, or no file, is said elsewhere


def leave_to_it(found: MutableMapping[str, Value]) -> None:
    """What nobody has set is the program's own affair."""
    if found["bind"].origin.startswith("default"):
        found["bind"] = Value((), _OWN)
    if found["workers"].origin.startswith("default"):
        found["workers"] = Value(0, _OWN)
    for key in _ARGUMENTS:
        if found[key].origin.startswith("default"):
            found[key] = Value(None, _OWN)
    if found["stall_kill"].origin.startswith("default"):
        # What a program does with its loop is its own affair: a tool that computes for
        # minutes between two requests is no accident.
        found["stall_kill"] = Value(0.0, "default (of a program)")


def must_be_asked(resolution: Resolution, adopts: bool) -> bool:
    """Is anything left to the program that must be known before it runs?

    adopts:  a service manager hands the listeners in.
    """
    config = resolution.config
    return config.kind == "script" and not (config.workers and (config.bind or adopts))


def complete(resolution: Resolution, loaded: Loaded) -> Resolution:
    """The settings with what a rehearsal has found out."""
    from leeward.cli.resolution import Machine, processes

    config = resolution.config
    notes = list(config.notes)
    workers = config.workers
    if not workers:
        asked = min(loaded.processes, values.MOST_WORKERS)
        own = Value(1, "default") if asked < 0 else Value(asked, "the program")
        workers = processes(own, Machine.look(), notes).value
    return replace(
        resolution,
        config=replace(config, workers=workers, notes=tuple(notes)),
        wants=loaded.wants,
        tls=loaded.tls,
    )
