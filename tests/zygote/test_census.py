"""What an extension has opened is found by looking through the descriptors, when it is due."""

from __future__ import annotations

import os
import socket

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


def test_what_is_new_is_seen_and_nothing_is_looked_for_twice(looks: list[int]) -> None:
    it = census.Census()
    before = it.here()
    assert it.here() == before
    with socket.socket() as one:
        new = it.here() - before
        assert {fd for fd, _ in new} == {one.fileno()}
        number = len(looks)
        assert it.here() - before == new
        assert len(looks) == number
    assert it.here() == before


@pytest.mark.parametrize("without", ["a count", "stderr"])
def test_where_the_kernel_does_not_count_it_is_looked_each_time(
    looks: list[int], monkeypatch: pytest.MonkeyPatch, without: str
) -> None:
    """Before Linux 6.2, and where there is no descriptor to be copied."""
    if without == "a count":
        monkeypatch.setattr(os, "stat", lambda path: os.stat_result([0] * 10))
    else:
        monkeypatch.setattr(os, "dup", lambda fd: (_ for _ in ()).throw(OSError(9, "Bad file")))
    it = census.Census()
    before = it.here()
    with socket.socket() as one:
        assert {fd for fd, _ in it.here() - before} == {one.fileno()}
    assert it.here() == before and len(looks) == 3
