"""The shared page."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import subprocess
import sys

import pytest

from leeward._sys.page import PAGE_BYTES, ROWS, Page
from leeward._sys.posix import memfd, memfd_create

WORDS = (
    *("pid", "slot", "generation", "open", "accepted", "requests", "in_flight"),
    *("busy_since", "turns", "beats"),
    *("accepts", "woken", "brief", "evicted", "shed"),
    *("ping_no_answer", "ping_reset", "ping_deaf", "stubborn", "in_threads", "refused"),
)


def test_a_new_page_is_all_zeros():
    """Every word of every row."""
    page = Page.create()
    assert all(getattr(page.row(row), word) == 0 for row in range(ROWS) for word in WORDS)
    page.close()


def test_words_are_apart_and_hold_64_bits():
    """Each word of each row keeps its own number, whatever is written beside it."""
    page = Page.create()
    rng = random.Random(7)
    wanted = {(row, word): rng.randrange(2**64) for row in (0, 1, 2, ROWS - 1) for word in WORDS}
    page.awake, page.used = rng.randrange(2**64), rng.randrange(2**64)
    before = page.awake, page.used
    for (row, word), value in wanted.items():
        setattr(page.row(row), word, value)
    assert {key: getattr(page.row(key[0]), key[1]) for key in wanted} == wanted
    page.row(1).clear()
    page.row(0).clear()
    assert all(getattr(page.row(1), word) == 0 for word in WORDS)
    assert (page.awake, page.used) == before == (page.head[0], page.head[1])
    assert all(getattr(page.row(2), word) == wanted[2, word] for word in WORDS)
    page.close()


def test_counting():
    """add_* and += do the same."""
    page = Page.create()
    row = page.row(5)
    for word in ("open", "accepted", "requests", "in_flight"):
        add = getattr(row, f"add_{word}")
        add()
        add(3)
        add(-2)
        setattr(row, word, getattr(row, word) + 1)
        assert getattr(row, word) == 3
    assert page.row(5) is row
    page.close()


def test_another_process_sees_what_is_written():
    """A page attached by its descriptor is the same memory."""
    page = Page.create()
    page.row(3).requests = 41
    code = (
        "import sys; from leeward._sys.page import Page\n"
        "page = Page.attach(int(sys.argv[1]))\n"
        "page.row(3).add_requests(); page.row(4).pid = 4711; page.close()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(page.fd)],
        pass_fds=[page.fd],
        env={**os.environ, "PYTHONPATH": "src"},
        cwd=os.path.join(os.path.dirname(__file__), "..", ".."),
        timeout=30,
        check=False,
    )
    assert done.returncode == 0
    assert (page.row(3).requests, page.row(4).pid) == (42, 4711)
    page.close()


def test_attaching_makes_the_descriptor_private():
    """An inherited descriptor does not go on to what the application executes."""
    page = Page.create()
    fd = os.dup(page.fd)
    os.set_inheritable(fd, True)
    other = Page.attach(fd)
    assert not os.get_inheritable(other.fd)
    other.row(0).pid = 1
    assert page.row(0).pid == 1
    other.close()
    page.close()


def test_nobody_can_pull_the_page_away():
    """Shrinking it would be SIGBUS in every other process; the kernel refuses."""
    page = Page.create()
    for size in (0, PAGE_BYTES - 1, PAGE_BYTES + 1):
        with pytest.raises(PermissionError):
            os.ftruncate(page.fd, size)
    page.close()


def test_what_is_no_page_is_refused(tmp_path):
    """Another file, a memfd of another size or one that can shrink; each stays the caller's."""
    loose = memfd_create("loose")
    os.truncate(loose, PAGE_BYTES)
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.truncate(file, PAGE_BYTES)
    for fd in (loose, file, memfd("small", b"x")):
        with pytest.raises((ValueError, OSError)):
            Page.attach(fd)
        os.close(fd)


def test_rows_outside_of_the_page_raise():
    """Neither a negative index nor one too many wraps around."""
    page = Page.create()
    for index in (-1, ROWS):
        with pytest.raises(IndexError):
            page.row(index)
    page.close()


def test_a_closed_page_is_closed_for_its_rows_too():
    """A row that was kept raises instead of writing into memory that is somebody else's."""
    page = Page.create()
    row = page.row(0)
    page.close()
    page.close()
    with pytest.raises(ValueError):
        row.pid = 1
    with pytest.raises(ValueError):
        page.row(1)
    with pytest.raises(ValueError):
        page.awake = 1


def test_a_page_that_cannot_be_made_leaves_nothing_behind(monkeypatch):
    """Here because the kernel does not seal."""

    def refuse(*args: object) -> None:
        raise OSError(errno.EINVAL, "injected")

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    with pytest.raises(OSError, match="injected"):
        Page.create()


def test_numbers_that_do_not_fit_raise():
    """A count below zero is a bug to be seen."""
    page = Page.create()
    with pytest.raises(ValueError):
        page.row(0).add_open(-1)
    page.close()


def test_what_the_others_leave_of_the_open_ones_is_idle() -> None:
    """Never below 0, which it would be while a worker is about to change two of them."""
    page = Page.create()
    try:
        row = page.row(3)
        row.open, row.new, row.in_flight, row.upgraded, row.closing = 10, 1, 2, 3, 1
        assert (row.new, row.upgraded, row.closing, row.idle) == (1, 3, 1, 3)
        row.open = 6
        assert row.idle == 0
        row.clear()
        assert (row.new, row.upgraded, row.closing, row.idle) == (0, 0, 0, 0)
    finally:
        page.close()
