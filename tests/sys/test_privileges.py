"""privileges: given up for good, or it is an error."""

from __future__ import annotations

import os

import pytest

from leeward._sys import privileges

# ctypes before the change of user, who may have no right to read this Python.
START = "import ctypes, os\nfrom leeward._sys import privileges, prctl\n"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@needs_root
def test_all_ids_and_groups_change(python):
    """Real, effective, saved; and /proc/self is ours."""
    out = python(
        START + "privileges.drop(65534, 12345, (12345, 4))\n"
        "print(os.getresuid(), os.getresgid(), sorted(os.getgroups()))\n"
        "print(os.stat('/proc/self/fd').st_uid)"
    )
    assert out == "(65534, 65534, 65534) (12345, 12345, 12345) [4, 12345]\n65534"


@needs_root
def test_the_group_alone_and_the_user_alone(python):
    """-1 leaves one as it is."""
    out = python(START + "privileges.drop(-1, 7, (7,)); print(os.getuid(), os.getgid())")
    assert out == "0 7"
    out = python(START + "privileges.drop(7, -1, ()); print(os.getuid(), os.getgid())")
    assert out == "7 0"
    assert python(START + "privileges.drop(0, 0, (0,)); print(os.getresuid())") == "(0, 0, 0)"


@needs_root
def test_without_the_right_it_is_an_error(python):
    out = python(
        START + "privileges.drop(7, 7, (7,))\n"
        "try:\n    privileges.drop(8, 8, (8,))\n"
        "except PermissionError as error:\n    print(error.strerror)"
    )
    assert out == "Operation not permitted"


def test_a_change_that_did_not_happen_or_can_be_undone_is_an_error(monkeypatch):
    """A kernel or sandbox that says yes and does nothing must not run the application."""
    monkeypatch.setattr(os, "setresuid", lambda *ids: None)
    monkeypatch.setattr(os, "getresuid", lambda: (0, 0, 0))
    with pytest.raises(RuntimeError, match=r"user \(0, 0, 0\) instead of 7"):
        privileges.drop(7, -1, ())
    monkeypatch.setattr(os, "getresuid", lambda: (7, 7, 7))
    monkeypatch.setattr(os, "setuid", lambda uid: None)
    with pytest.raises(RuntimeError, match="root again"):
        privileges.drop(7, -1, ())
