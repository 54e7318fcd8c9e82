"""Whose certificate is whose: shared after a renewal, handed on by a rollback, closed."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from leeward._supervisor.certificates import Certificates


@pytest.fixture
def made() -> Iterator[list[int]]:
    fds: list[int] = []
    yield fds
    for fd in fds:
        assert not is_open(fd), "left open"


def credentials(made: list[int], count: int = 2) -> tuple[int, ...]:
    fds = tuple(os.memfd_create("leeward-test") for _ in range(count))
    made += fds
    return fds


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_an_older_generation_shows_what_the_newer_one_shows(made: list[int]) -> None:
    """Its own is closed; what both have stays open until the last of them is forgotten."""
    them, old, new = Certificates(), credentials(made), credentials(made)
    them.keep(1, old)
    them.keep(2, new)
    assert them.hand_on(2, 1) == new == them.of(1)
    assert not any(map(is_open, old))
    assert them.hand_on(2, 1) == (), "nothing is told twice"
    them.forget(2)
    assert all(map(is_open, new))
    them.forget(1)


def test_it_keeps_the_cas_of_its_own_settings(made: list[int]) -> None:
    """Whether clients must show a certificate is a setting, and settings go back."""
    them, old, new = Certificates(), credentials(made, 3), credentials(made, 2)
    os.write(old[2], b"the CAs")
    os.write(new[0], b"the newest")
    them.keep(1, old)
    them.keep(2, new)
    mixed = them.hand_on(2, 1)
    made += mixed
    assert [os.pread(fd, 99, 0) for fd in mixed] == [b"the newest", b"", b"the CAs"]
    for number in (2, 1):
        them.forget(number)


def test_without_tls_there_is_nothing_to_hand_on() -> None:
    """Plain http stays plain."""
    them = Certificates()
    them.keep(1, ())
    them.keep(2, ())
    assert them.hand_on(2, 1) == ()
