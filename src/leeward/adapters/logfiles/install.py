"""When log files are seen to: before the application is loaded, and once more in each worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from leeward import logs
from leeward._core import sinks
from leeward._sys import funnel, whole
from leeward.adapters.logfiles import loguru, queued, standard
from leeward.adapters.logfiles.place import Place

if TYPE_CHECKING:
    from leeward._core.config import Config

_place: Place | None = None


def before_loading(config: Config, supervisor: int, began: float, rehearsal: bool = False) -> None:
    """From now on no log file is rotated, or emptied, that siblings write to, and no line torn.

    supervisor, began:  as `Place` has them.
    """
    global _place
    if config.log_files != "as-is":
        whole.take_stdio()
        _place = Place(config, supervisor, began, rehearsal)
        standard.install(_place)
        loguru.watch(_place)
        queued.write_at_exit()


def cared_for() -> bool:
    """Are log files that rotate no hazard in this process?"""
    return _place is not None


def in_worker(
    slot: int, lines_go: sinks.Spec | None, writer: Callable[[], funnel.Writer | None]
) -> None:
    """This process has become the worker of `slot`.

    lines_go:  where its own lines go; None for stderr.
    writer:    gives that of its log ring.
    """
    funnel.attach(writer)
    logs.attach((lines_go or sinks.Spec("stderr")).to_json())
    if _place is not None:
        _place.begin(slot)
        standard.take_all(_place)
        loguru.take_all(_place)


def say(say: Callable[[str], object], complain: Callable[[str, str], object] | None = None) -> None:
    """Have `say` called with a line for each file that is not left as it is, now and later, and
    `complain` with (level, text) of what cannot be written."""
    if _place is not None:
        _place.say(say, complain)


def survey() -> list[str]:
    """In a rehearsal: the lines that `say` would say in the worker of slot 0.

    Of handlers that are there now: those that a factory makes are not.
    """
    if _place is None:
        return []
    standard.tell_all(_place)
    lines: list[str] = []
    _place.say(lines.append)
    return lines


def in_child() -> None:
    """In a process that the application forked in a worker: the ring is the worker's."""
    funnel.attach(None)
