"""leeward._sys.needed: what a kernel, or a filter in front of it, keeps from everybody."""

from __future__ import annotations

import errno
import os

import pytest

from leeward._sys import needed, prctl


def failing(number: int):
    def call(*args: object, **kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    return call


def test_nothing_is_refused_here():
    """And nothing stays open; nobody begins to adopt orphans for having asked."""
    before = prctl.get_child_subreaper()
    assert needed.refused() is None
    assert prctl.get_child_subreaper() == before


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM])
@pytest.mark.parametrize("name", ["pidfd_open", "memfd_create", "eventfd", "waitid"])
def test_what_is_refused_is_named(name, number, monkeypatch):
    """As an older seccomp profile (EPERM) or a sandbox (ENOSYS) does it."""
    monkeypatch.setattr(os, name, failing(number))
    found = needed.refused()
    assert found is not None
    assert (found[0], found[1].errno) == (name, number)


def test_a_shortage_is_no_refusal(monkeypatch):
    """EMFILE says nothing of the kernel."""
    monkeypatch.setattr(os, "pidfd_open", failing(errno.EMFILE))
    with pytest.raises(OSError, match="Too many open files"):
        needed.refused()
