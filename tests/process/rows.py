"""The shared page of a running service, read without asking anybody."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from process.support import links, until

from leeward._sys.page import TAKES, Page, Row
from leeward.testing import Service


class Rows:
    def __init__(self, page: Page) -> None:
        self._page = page

    def accepting(self) -> list[Row]:
        """Those of the workers that accept."""
        rows = [self._page.row(it) for it in range(self._page.used)]
        return [it for it in rows if it.accepts == TAKES]

    def all(self) -> list[Row]:
        return [self._page.row(it) for it in range(self._page.used)]

    def of(self, pid: int) -> Row:
        (found,) = (it for it in self.all() if it.pid == pid)
        return found

    def open(self) -> list[int]:
        """Connections of each worker that accepts, or is full."""
        return [it.open for it in self.all() if it.accepts]

    def until_open(self, count: int) -> list[int]:
        until(lambda: sum(self.open()) == count, f"{count} open connections")
        return self.open()


@contextlib.contextmanager
def rows(service: Service) -> Iterator[Rows]:
    for fd, target in links(service.pid).items():
        if "leeward-page" in target:
            page = Page.attach(os.open(f"/proc/{service.pid}/fd/{fd}", os.O_RDWR))
            break
    else:
        raise AssertionError(f"pid {service.pid} has no page")
    with contextlib.closing(page):
        yield Rows(page)
