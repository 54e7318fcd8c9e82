"""What process tests share: where the applications are, and waiting without a sleep."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

APPS = Path(__file__).resolve().parents[1] / "apps"
PATIENCE = 20.0

T = TypeVar("T")


def until(look: Callable[[], T], what: str, timeout: float = PATIENCE) -> T:
    """The first true answer of `look`.

    For what nobody can be waited for (a file, a number in /proc, the answer of a
    verb).  The only place in these tests that asks again and again.
    """
    deadline = time.monotonic() + timeout
    while True:
        if found := look():
            return found
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what}"
        select.select([], [], [], 0.01)


@contextlib.contextmanager
def watching(pid: int) -> Iterator[Callable[[float], bool]]:
    """`ended(timeout)`: has the process that is `pid` now ended?  Its pid may be used again."""
    fd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    try:
        yield lambda timeout: bool(poll.poll(timeout * 1000))
    finally:
        os.close(fd)


def gone(pid: int, timeout: float = PATIENCE) -> bool:
    """Has `pid` ended, now or within `timeout` seconds?"""
    try:
        with watching(pid) as ended:
            return ended(timeout)
    except ProcessLookupError:
        return True


def marks(directory: Path, name: str) -> dict[int, int]:
    """How often each process left the mark `name`: {pid: times} (see `tests/apps/held.py`)."""
    found = {}
    for path in directory.glob(f"{name}.*"):
        found[int(path.suffix[1:])] = len(path.read_text().splitlines())
    return found
