"""What an extension has opened is found by looking through the descriptors, when it is due."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from leeward._zygote import census


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time that /proc was looked through."""
    seen: list[int] = []
    plain = census.descriptors

    def descriptors():
        seen.append(1)
        return plain()

    monkeypatch.setattr(census, "descriptors", descriptors)
    return seen


@pytest.fixture
def it() -> Iterator[census.Census]:
    it = census.Census()
    it.open()
    yield it
    it.close()


def test_what_is_new_is_seen_and_nothing_is_looked_for_twice(
    it: census.Census, looks: list[int]
) -> None:
    before = it.here()
    assert it.here() == before
    with socket.socket() as one:
        new = it.here() - before
        assert {fd for fd, _ in new} == {one.fileno()}
        number = len(looks)
        assert it.here() - before == new
        assert len(looks) == number
    assert it.here() == before


@pytest.mark.parametrize("without", ["a count", "room", "its table", "/proc"])
def test_where_the_kernel_does_not_count_it_is_looked_each_time(
    it: census.Census, looks: list[int], monkeypatch: pytest.MonkeyPatch, without: str
) -> None:
    """Before Linux 6.2, where the table is full, and where the application has closed ours."""
    plain = os.fstat
    if without == "a count":
        monkeypatch.setattr(
            os, "fstat", lambda fd: os.stat_result([*plain(fd)[:6], 0, *plain(fd)[7:]])
        )
    elif without == "room":
        monkeypatch.setattr(os, "dup", lambda fd: (_ for _ in ()).throw(OSError(24, "Too many")))
    elif without == "its table":
        it.close()
    else:
        it.close()
        monkeypatch.setattr(os, "open", lambda *args: (_ for _ in ()).throw(OSError(2, "No such")))
        it.open()
    before, number = it.here(), len(looks)
    with socket.socket() as one:
        assert {fd for fd, _ in it.here() - before} == {one.fileno()}
    assert it.here() == before and len(looks) == number + 2


def test_it_leaves_no_descriptor() -> None:
    before = os.listdir("/proc/self/fd")
    it = census.Census()
    it.open()
    assert len(os.listdir("/proc/self/fd")) == len(before) + 1
    it.close()
    it.close()
    assert os.listdir("/proc/self/fd") == before
