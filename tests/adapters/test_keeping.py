"""What leeward has open stays open while the application is loaded, and nothing else does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from leeward.adapters import keeping


@pytest.fixture(autouse=True)
def nothing_of_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "_theirs", {})


@pytest.fixture
def fd() -> Iterator[int]:
    """One that is open; at the end it may be closed."""
    number = os.open(os.devnull, os.O_RDONLY)
    with ExitStack() as last:
        last.callback(lambda: is_open(number) and os.close(number))
        yield number


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_ours_stay_open(fd: int) -> None:
    """By one number and by a range, in which all others are closed."""
    with keeping.kept():
        theirs = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
        os.close(fd)
        os.closerange(fd, fd + 1)
        os.closerange(min(fd, *theirs), max(theirs) + 1)
        assert is_open(fd)
        assert not any(map(is_open, theirs))


@pytest.mark.parametrize("high", [0, -1])
def test_ours_stay_open_where_a_range_has_no_end(high: int) -> None:
    """RLIM_INFINITY is -1.  In a process of its own: nothing of the tests' stays open."""
    script = (
        "import os; from leeward.adapters import keeping\n"
        "ours = os.open(os.devnull, os.O_RDONLY)\n"
        "with keeping.kept():\n"
        "    theirs = os.open('/dev/zero', os.O_RDONLY)\n"
        f"    os.closerange(3, {high})\n"
        "left = [each for each in (ours, theirs) if os.path.exists(f'/proc/self/fd/{each}')]\n"
        "assert left == [ours], left\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr.decode()


def test_afterwards_they_are_closed(fd: int) -> None:
    """Also by who has imported the function in the meantime; and `os` has its own again."""
    plain = os.close, os.closerange
    with keeping.kept():
        close = os.close
        assert close is not plain[0]
    assert (os.close, os.closerange) == plain
    close(fd)
    assert not is_open(fd)


def test_what_somebody_puts_around_it_stays(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    with keeping.kept():
        inner = os.close

        def around(fd: int) -> None:
            asked.append(fd)
            inner(fd)

        monkeypatch.setattr(os, "close", around)
    os.close(fd)
    assert asked == [fd] and not is_open(fd)
    monkeypatch.undo()


def test_a_number_that_is_given_again_is_theirs(fd: int) -> None:
    with keeping.kept():
        with closing(os.fdopen(fd)):  # closed past `os.close`
            pass
        again = os.open("/dev/zero", os.O_RDONLY)
        assert again == fd
        os.close(again)
        assert not is_open(again)


def test_the_next_load_closes_what_the_last_has_opened(fd: int) -> None:
    """A factory what the import has opened; ours, opened before and between them, stay."""
    with keeping.kept():
        theirs = os.open(os.devnull, os.O_RDONLY)
    between = os.open("/dev/zero", os.O_RDONLY)
    with keeping.kept():
        os.close(theirs)
        os.close(between)
        os.close(fd)
        assert (is_open(theirs), is_open(between), is_open(fd)) == (False, True, True)
    os.close(between)


def test_a_forked_child_closes_all(fd: int) -> None:
    with keeping.kept():
        pid = os.fork()
        if pid == 0:
            os.closerange(3, 4096)
            os._exit(is_open(fd))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_what_is_not_open_fails_as_ever(fd: int) -> None:
    with keeping.kept():
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.close(1 << 20)
        with pytest.raises(TypeError):
            os.close("3")  # type: ignore[arg-type]
    with pytest.raises(RuntimeError), keeping.kept():
        raise RuntimeError
    os.close(fd)
    assert not is_open(fd)
