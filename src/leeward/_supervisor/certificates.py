"""The memfds of each generation's certificate, its key and, where there are any, its CAs.

Generations share what came by a renewal; whatever nobody uses any more is closed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

Credentials = tuple[int, ...]


class Certificates:
    """`of(generation)` is what its processes start with: () without TLS."""

    def __init__(self) -> None:
        self._all: dict[int, Credentials] = {}

    def of(self, generation: int) -> Credentials:
        return self._all[generation]

    def keep(self, generation: int, fds: Credentials) -> None:
        self._all[generation] = fds

    def forget(self, generation: int) -> None:
        old = self._all.pop(generation)
        if old not in self._all.values():
            close(old)

    def fits(self, fds: Credentials) -> bool:
        """Are these for the same use as those in force: with TLS, and with CAs or without?"""
        return bool(fds) and all(len(it) == len(fds) for it in self._all.values())

    def replace(self, fds: Credentials) -> None:
        """For every generation."""
        for number in list(self._all):
            self.forget(number)
            self.keep(number, fds)

    def hand_on(self, generation: int, to: int) -> Credentials:
        """The older `to` shows what `generation` shows, from now on.  () if it does already.

        Whether clients must show a certificate is a setting, and settings are `to`'s own:
        where only one of the two has CAs, `to` keeps what it has of them.
        """
        newest, mine = self._all[generation], self._all[to]
        if newest == mine:
            return ()
        if len(newest) != len(mine):
            newest = tuple(map(os.dup, newest[:2] + mine[2:]))
        self.forget(to)
        self.keep(to, newest)
        return newest


def close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)
