"""The table of jobs: one entry for a key, one holder of its lock, whoever dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from leeward._sys.page import ROWS, Page
from leeward._sys.schedule import MOST, Full, entry


@pytest.fixture
def page() -> Iterator[Page]:
    page = Page.create()
    yield page
    page.close()


def elsewhere(what: Callable[[], bool]) -> bool:
    """What `what` answers in a process of its own, which then ends."""
    pid = os.fork()
    if not pid:
        try:
            os._exit(10 + what())
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (10, 11)
    return code == 11


def test_one_entry_for_a_key_in_every_process(page: Page) -> None:
    first, second = entry(page, "shop:purge"), entry(page, "shop:count")
    first.last, first.by = 12.5, 4711
    again = entry(page, "shop:purge")
    assert (again.last, again.by, second.last, second.by) == (12.5, 4711, 0.0, 0)
    assert elsewhere(lambda: entry(page, "shop:purge").by == 4711)


def test_the_rows_are_not_touched(page: Page) -> None:
    page.row(ROWS - 1).words[31] = 7
    entry(page, "shop:purge").last = 99.0
    assert page.row(ROWS - 1).words[31] == 7
    page.row(ROWS - 1).clear()
    assert entry(page, "shop:purge").last == 99.0


def test_the_table_has_an_end(page: Page) -> None:
    for number in range(MOST):
        entry(page, f"job {number}")
    entry(page, "job 0")
    with pytest.raises(Full):
        entry(page, "one more")


def test_one_process_has_the_lock(page: Page) -> None:
    """Of this job, not of another; and a fork of the holder has none."""
    mine, other = entry(page, "a"), entry(page, "b")
    assert mine.lock()
    assert not elsewhere(mine.lock)
    assert elsewhere(other.lock)
    assert elsewhere(lambda: (entry(page, "a"), True)[1]), "taking an entry waits for nobody"
    mine.unlock()
    assert elsewhere(mine.lock)


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_a_lock_dies_with_its_process(page: Page, signum: int) -> None:
    """Even if a child of it lives on."""
    mine = entry(page, "a")
    told, tell = os.pipe()
    keep, hold = os.pipe()
    pid = os.fork()
    if not pid:
        mine.lock()
        child = os.fork()
        os.write(tell, b"!") if child else os.read(keep, 1)
        signal.pause() if child else os._exit(0)
    os.read(told, 1)
    assert not mine.lock()
    os.kill(pid, signum)
    os.waitpid(pid, 0)
    assert mine.lock()
    os.write(hold, b"!")
    for fd in (told, tell, keep, hold):
        os.close(fd)
