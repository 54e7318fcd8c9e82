"""A bounded cache that admits what it is offered for the second time.

A stream of entries that never come back leaves nothing behind but the hashes of
the last few, so it cannot push out what pays.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Seen(Generic[K, V]):
    """Up to `size` entries: read them from `entries`; `keep` those that came `again`."""

    __slots__ = ("_once", "_size", "_turned_away", "entries")

    def __init__(self, size: int) -> None:
        self.entries: dict[K, V] = {}
        self._size = size
        self._once: set[int] = set()
        self._turned_away = 0

    def again(self, key: K) -> bool:
        """Whether the key was asked for before, as far as is remembered."""
        mark = hash(key)
        if mark in self._once:
            return True
        if len(self._once) >= 2 * self._size:
            self._once.clear()
        if self._size:
            self._once.add(mark)
        return False

    def keep(self, key: K, value: V) -> None:
        """Keep the entry if there is room.

        What is full stays as it is, which serves a part of a working set that is too
        large (first in, first out would serve none of it, when all come in turn);
        after `size` entries that were turned away it starts anew.
        """
        if len(self.entries) < self._size:
            self._once.discard(hash(key))
            self.entries[key] = value
            return
        self._turned_away += 1
        if self._turned_away >= self._size:
            self.entries.clear()
            self._turned_away = 0
