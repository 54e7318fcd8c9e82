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


def texts(fds: tuple[int, ...]) -> list[bytes]:
    return [os.pread(fd, 99, 0) for fd in fds]


def written(made: list[int], *them: bytes) -> tuple[int, ...]:
    fds = credentials(made, len(them))
    for fd, text in zip(fds, them, strict=True):
        os.write(fd, text)
    return fds


@pytest.mark.parametrize("cas_came", [True, False])
def test_a_renewal_fits_what_serves_and_not_what_did(made: list[int], cas_came: bool) -> None:
    """With CAs or without is judged by who serves or comes; those before keep their own of it."""
    them = Certificates()
    with_cas, without = (b"old cert", b"old key", b"CAs"), (b"old cert", b"old key")
    before, now = (without, with_cas) if cas_came else (with_cas, without)
    them.keep(1, written(made, *before))
    them.keep(2, written(made, *now))
    them.keep(3, written(made, *now))
    new = written(made, b"cert", b"key", *((b"new CAs",) if cas_came else ()))
    assert them.fits(new, (2, None)) and them.fits(new, (1, 2)) and not them.fits(new, (1, None))
    assert not them.fits((), (1, 2))
    for _ in range(2):  # renewed again: what was made for the first renewal is closed
        them.replace(new)
        made += them.of(1)
        assert texts(them.of(1)) == [b"cert", b"key", *before[2:]]
        assert them.of(2) == them.of(3) == new
        new = written(made, *texts(new))
    for number in (2, 3, 1):
        them.forget(number)
    for fd in new:
        os.close(fd)


def test_what_is_offered_late_shows_the_newest(made: list[int]) -> None:
    """Read before a renewal: the renewed certificate, with the CAs of the new settings."""
    them = Certificates()
    them.keep(1, written(made, b"newest", b"its key"))
    same = them.instead(written(made, b"older", b"older key"), 1)
    assert same == them.of(1)
    mixed = them.instead(written(made, b"older", b"older key", b"CAs"), 1)
    made += mixed
    assert texts(mixed) == [b"newest", b"its key", b"CAs"]
    them.keep(2, same)
    them.keep(3, mixed)
    for number in (1, 2, 3):
        them.forget(number)


def test_without_tls_there_is_nothing_to_hand_on() -> None:
    """Plain http stays plain."""
    them = Certificates()
    them.keep(1, ())
    them.keep(2, ())
    assert them.hand_on(2, 1) == ()
