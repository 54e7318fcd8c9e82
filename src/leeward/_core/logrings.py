"""Who may still write into a log ring, how long somebody waits, and what is said of the rest.
Lines that wait in a worker for a reader of stderr are dealt with alike.

A ring that fills is one whose collector, or whose disk, is slower than its worker.  Lines of
requests go first: they have the first half of it.  Other lines below WARNING have three
quarters, so that a quarter is kept for what tells why.
"""

from __future__ import annotations

#: Levels, as `logging` numbers them.
WARNING = 30
ERROR = 40

#: Seconds that an ERROR waits for room, and what else is no request: the caller may be an event
#: loop, and the collector needs some tenths of a millisecond to make room after a burst.
PATIENCE = 0.05
BRIEF = 0.0008

#: Seconds between two tellings of what was refused, at least.
TELL_EVERY = 1.0

#: What a line counts as, and the place of its counter.  UNWRITTEN is one that went past the
#: ring, to a file that did not take it.
ACCESS, LOW, HIGH, LONG, UNWRITTEN = range(5)
NAMES = (
    "of requests",
    "below WARNING",
    "of WARNING and above",
    "too long for any ring",
    "by a file that could not be written",
)


def kind(access: bool, level: int) -> int:
    """`ACCESS`, `LOW` or `HIGH`.  A request that failed is told of at WARNING, and is ACCESS."""
    if access:
        return ACCESS
    return HIGH if level >= WARNING else LOW


def limits(size: int) -> tuple[int, int, int]:
    """Octets of a ring of `size` up to which lines of each kind are taken."""
    return size // 2, size - size // 4, size


def longest(size: int) -> int:
    """Octets of the longest record.  More could not be taken while any other is in the ring."""
    return size // 2


def patience(level: int) -> float:
    """Seconds that a line of this level waits for room."""
    return PATIENCE if level >= ERROR else BRIEF


def telling(counts: tuple[int, ...], what: str = "refused by a full ring") -> str:
    """What is said of lines that were refused: so many of each kind."""
    parts = [f"{it} {name}" for it, name in zip(counts, NAMES, strict=True) if it]
    unwritten = counts[UNWRITTEN]
    total = sum(counts) - unwritten
    told = []
    if total:
        of_ring = ", ".join(parts[: len(parts) - bool(unwritten)])
        told.append(f"{total} log line{'s' * (total != 1)} {what}: {of_ring}")
    if unwritten:
        told.append(f"{unwritten} log line{'s' * (unwritten != 1)} refused {NAMES[UNWRITTEN]}")
    return "; ".join(told)
