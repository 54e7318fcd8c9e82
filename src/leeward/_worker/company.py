"""The shared page as a worker that accepts sees it: itself, and the others that accept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leeward._core.admission import Standing
from leeward._sys.page import (
    ACCEPTED,
    ACCEPTS,
    BEATS,
    BRIEF,
    BUSY_SINCE,
    FULL,
    OPEN,
    OUT,
    PID,
    TAKES,
    WOKEN,
)

if TYPE_CHECKING:
    from leeward._sys.page import Page


class Company:
    """row:  the number of our own."""

    def __init__(self, page: Page, row: int) -> None:
        self._page = page
        self._number = row
        self._words = page.row(row).words
        self._woken = 0
        self._here = True

    # --- ourselves -------------------------------------------------------------------------

    def begin(self) -> None:
        self._words[ACCEPTS] = TAKES

    def full(self) -> None:
        self._words[ACCEPTS] = FULL

    def end(self) -> None:
        if self._here:
            self._words[ACCEPTS] = OUT

    def abandon(self) -> None:
        """In a forked child, whose row this is not."""
        self._here = False

    def woke(self) -> None:
        self._woken += 1
        self._words[WOKEN] = self._woken

    def own(self) -> Standing:
        return _standing(self._words)

    # --- the others --------------------------------------------------------------------------

    def others(self) -> list[Standing]:
        """Those that accept and are not full."""
        row, own = self._page.row, self._number
        words = (row(it).words for it in range(self._page.used) if it != own)
        return [_standing(it) for it in words if it[ACCEPTS] == TAKES]


def _standing(words: memoryview[int]) -> Standing:
    return Standing(
        words[PID],
        words[OPEN],
        words[BRIEF],
        words[ACCEPTED],
        words[WOKEN],
        words[BUSY_SINCE] / 1e9,
        bool(words[BEATS]),
    )
