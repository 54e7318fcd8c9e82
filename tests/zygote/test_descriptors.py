"""What an extension has opened is found by looking through the descriptors, when it is due."""

from __future__ import annotations

import os
import socket

import pytest

from leeward._zygote import watch
from leeward._zygote.origins import Origins


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time that /proc was looked through."""
    seen: list[int] = []
    plain = watch.descriptors

    def descriptors():
        seen.append(1)
        return plain()

    monkeypatch.setattr(watch, "descriptors", descriptors)
    return seen


def test_what_is_new_is_seen_and_nothing_is_looked_for_twice(looks: list[int]) -> None:
    it = watch.Watch(Origins())
    before = it._here()
    assert it._here() == before
    with socket.socket() as one:
        new = it._here() - before
        assert {fd for fd, _ in new} == {one.fileno()}
        number = len(looks)
        assert it._here() - before == new
        assert len(looks) == number
    assert it._here() == before


@pytest.mark.parametrize("without", ["a count", "stderr"])
def test_where_the_kernel_does_not_count_it_is_looked_each_time(
    looks: list[int], monkeypatch: pytest.MonkeyPatch, without: str
) -> None:
    """Before Linux 6.2, and where there is no descriptor to be copied."""
    if without == "a count":
        monkeypatch.setattr(os, "stat", lambda path: os.stat_result([0] * 10))
    else:
        monkeypatch.setattr(os, "dup", lambda fd: (_ for _ in ()).throw(OSError(9, "Bad file")))
    it = watch.Watch(Origins())
    before = it._here()
    with socket.socket() as one:
        assert {fd for fd, _ in it._here() - before} == {one.fileno()}
    assert it._here() == before and len(looks) == 3
