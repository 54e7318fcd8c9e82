"""In which order resources open, and how long each may take to close.

A resource comes after those that it *needs* (declared) and those that its function
*mentions* (found by reading it).  A need is a rule, a mention only a hint: what is mentioned
may be asked for much later, so where two mention each other neither hint counts.

Who waits for whom while they open is a graph of its own (`Waits`): what is asked for is
opened on the way, and an asker that would wait for itself is a cycle, told by its names.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

#: Of the time that is left for closing, the share that one closer may take when others wait.
SHARE = 0.5


class Cycle(Exception):
    """Each of `path` waits for the next, and the last is the first."""

    def __init__(self, path: list[object]) -> None:
        super().__init__(path)
        self.path = path


def before(
    key: K, needs: Callable[[K], Iterable[K]], mentions: Callable[[K], Iterable[K]]
) -> list[K]:
    """What is to be open before `key`, its needs first; no mention that leads back to it."""

    def leads(to: K) -> Iterable[K]:
        return (*needs(to), *mentions(to))

    found = list(dict.fromkeys(needs(key)))
    for other in mentions(key):
        if other not in found and other != key and not way(other, key, leads):
            found.append(other)
    return found


def way(start: K, end: K, leads: Callable[[K], Iterable[K]]) -> list[K]:
    """A shortest way from `start` to `end`, both included; [] if there is none."""
    came: dict[K, K] = {start: start}
    queue = [start]
    for here in queue:
        if here == end:
            path = [here]
            while came[path[0]] != path[0]:
                path.insert(0, came[path[0]])
            return path
        for there in leads(here):
            if there not in came:
                came[there] = here
                queue.append(there)
    return []


class Waits(Generic[K]):
    """Who waits for whose opening now."""

    def __init__(self) -> None:
        self._for: dict[K, list[K]] = {}

    def begin(self, asker: K, wanted: K) -> None:
        """`asker` waits for `wanted` from now on.  Raises `Cycle`, and then it does not."""
        back = self.path(wanted, asker)
        if back:
            raise Cycle([asker, *back])
        self._for.setdefault(asker, []).append(wanted)

    def end(self, asker: K, wanted: K) -> None:
        """It has it, or will not get it."""
        self._for[asker].remove(wanted)
        if not self._for[asker]:
            del self._for[asker]

    def path(self, start: K, end: K) -> list[K]:
        """By which waits `start` comes to `end`; [] if by none."""
        return way(start, end, lambda key: self._for.get(key, ()))


def allowance(left: float, count: int) -> float:
    """Seconds for the next of `count` closers when `left` seconds are left for all.

    One that hangs costs the next ones half of their time, never all of it.
    """
    return max(0.0, left if count <= 1 else left * SHARE)
