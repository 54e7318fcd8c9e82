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

    def fits(self, fds: Credentials, generations: Iterable[int | None]) -> bool:
        """Are these for the same use as those of one of these: with TLS, and with CAs or without?

        Not of any: one that is kept or drains may have settings that are no more.
        """
        used = [len(it) for number, it in self._all.items() if number in generations]
        return bool(fds) and len(fds) in used

    def replace(self, fds: Credentials) -> None:
        """For every generation, each with the CAs that its settings ask for.  One must fit."""
        for number, mine in list(self._all.items()):
            self._show(number, _fitted(fds, mine))

    def instead(self, fds: Credentials, generation: int) -> Credentials:
        """What `generation` shows in place of these, which are older.  Their CAs stay theirs."""
        newest = _fitted(self._all[generation], fds)
        close(fds)
        return newest

    def hand_on(self, generation: int, to: int) -> Credentials:
        """The older `to` shows what `generation` shows, from now on.  () if it does already.

        Its settings go back too: whether clients must show a certificate is one of them.
        """
        newest, mine = self._all[generation], self._all[to]
        if newest == mine:
            return ()
        newest = _fitted(newest, mine)
        self._show(to, newest)
        return newest

    def _show(self, generation: int, fds: Credentials) -> None:
        self.forget(generation)
        self.keep(generation, fds)


def _fitted(newest: Credentials, mine: Credentials) -> Credentials:
    """For whoever has `mine`: where only one of the two has CAs, it keeps what it has of them."""
    if len(newest) == len(mine):
        return newest
    return tuple(map(os.dup, newest[:2] + mine[2:]))


def close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)
