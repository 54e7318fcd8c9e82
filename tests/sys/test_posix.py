"""The record of calls, and memfds."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import time

import pytest

from leeward._core.record import replace
from leeward._sys import posix
from leeward._sys.posix import POSIX, Posix, memfd, memfd_create, read_memfd


def test_the_calls_are_the_real_ones_unless_replaced():
    """A test replaces one call, by a field, and the others stay."""
    killed: list[tuple[int, int]] = []
    mine = replace(POSIX, kill=lambda pid, signum: killed.append((pid, signum)))
    mine.kill(1, 9)
    assert killed == [(1, 9)]
    assert mine.getpid() == os.getpid() == POSIX.getpid()
    assert Posix() == POSIX
    with pytest.raises(AttributeError, match="cannot be set"):
        POSIX.kill = mine.kill  # type: ignore[misc]


@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
def test_a_memfd_holds_what_was_written(size):
    """Rewound, so that a plain read works; and readable whole whatever the offset."""
    data = os.urandom(size)
    fd = memfd("test", data)
    try:
        assert os.lseek(fd, 0, os.SEEK_CUR) == 0
        assert not os.get_inheritable(fd)
        assert read_memfd(fd) == data
        os.lseek(fd, 0, os.SEEK_END)
        assert read_memfd(fd) == data
        assert "memfd:test" in os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def test_a_memfd_can_be_handed_across_an_exec(python):
    """With `inheritable` the number means the same file in the next program."""
    fd = memfd("test", b"across", inheritable=True)
    try:
        assert os.get_inheritable(fd)
    finally:
        os.close(fd)
    out = python(
        "import os, sys\n"
        "from leeward._sys.posix import memfd\n"
        "fd = memfd('x', b'across', inheritable=True)\n"
        "os.execv(sys.executable, [sys.executable, '-c',\n"
        "    f'from leeward._sys.posix import read_memfd; print(read_memfd({fd}))'])\n"
    )
    assert out == "b'across'"


def test_a_memfd_never_changes(tmp_path):
    """Neither written nor shrunk nor grown, not even by who made it."""
    fd = memfd("test", b"settled")
    try:
        for change in (
            lambda: os.pwrite(fd, b"x", 0),
            lambda: os.ftruncate(fd, 3),
            lambda: os.ftruncate(fd, 300),
        ):
            with pytest.raises(PermissionError):
                change()
        assert read_memfd(fd) == b"settled"
    finally:
        os.close(fd)


def test_only_a_sealed_memfd_of_bounded_size_is_read(tmp_path):
    """A pipe does not block us, a sparse terabyte does not fill us, a file is refused."""
    read, write = os.pipe()
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    loose = memfd_create("loose")
    os.truncate(loose, 1 << 40)
    small = memfd("small", b"12345")
    path_only = os.open(f"/proc/self/fd/{small}", os.O_PATH)
    loose_again = os.open(f"/proc/self/fd/{loose}", os.O_WRONLY)
    try:
        began = time.monotonic()
        for fd in (read, file, loose, path_only):
            with pytest.raises(ValueError, match="not a sealed memfd"):
                read_memfd(fd)
        with pytest.raises(ValueError, match="the limit is 4"):
            read_memfd(small, limit=4)
        os.ftruncate(loose, 5)
        fcntl.fcntl(loose_again, fcntl.F_ADD_SEALS, posix.SEALS)
        with pytest.raises(ValueError, match="cannot be read"):
            read_memfd(loose_again)
        assert time.monotonic() - began < 1
    finally:
        for fd in (read, write, file, loose, small, path_only, loose_again):
            os.close(fd)
    with pytest.raises(OSError) as caught:
        read_memfd(small)
    assert caught.value.errno == errno.EBADF


def test_an_old_kernel_gets_the_flags_that_it_knows(monkeypatch):
    """MFD_NOEXEC_SEAL (Linux 6.3) is left out where the kernel says EINVAL; EMFILE is said."""
    tried = []
    real = os.memfd_create

    def old(name: str, flags: int) -> int:
        tried.append(flags)
        if flags & posix._MFD_NOEXEC_SEAL:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(name, flags)

    monkeypatch.setattr(os, "memfd_create", old)
    os.close(memfd("test", b"x"))
    assert len(tried) == 2
    monkeypatch.undo()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OSError) as caught:
            memfd("test", b"x")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.errno == errno.EMFILE


def test_a_memfd_that_cannot_be_filled_is_closed():
    """Not bytes: TypeError, and the fixture finds no descriptor left."""
    with pytest.raises(TypeError):
        memfd("test", "text")  # type: ignore[arg-type]


def test_a_process_is_named():
    """The name is seen in /proc, cut to 15 bytes."""
    with open("/proc/self/comm") as file:
        before = file.read().rstrip("\n")
    posix.set_comm("leeward: supervisor")
    try:
        with open("/proc/self/comm") as file:
            assert file.read() == "leeward: superv\n"
    finally:
        posix.set_comm(before)


def test_a_process_is_named_where_proc_is_read_only(monkeypatch):
    """By its name a spare is told from what a dead worker has left behind."""
    opened = os.open

    def read_only(path, flags, *args, **kwargs):
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return opened(path, flags, *args, **kwargs)

    with open("/proc/self/comm") as file:
        before = file.read().rstrip("\n")
    monkeypatch.setattr(os, "open", read_only)
    posix.set_comm("spare 4711")
    try:
        with open("/proc/self/comm") as file:
            assert file.read() == "spare 4711\n"
    finally:
        posix.set_comm(before)
