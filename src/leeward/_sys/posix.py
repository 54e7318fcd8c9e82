"""The system calls that the supervisor makes, as fields of a record.

The supervisor calls `posix.kill(…)` on a `Posix` that it was handed, so a test
hands in its own, with its own clock, and no process is harmed.  Add a call by
adding a field; a call that is not a field is not made by the supervisor.

Also here: whole byte strings in memfds.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import time
from collections.abc import Callable

from leeward._core.record import Record

#: Largest content that `read_memfd` takes, in bytes.  The largest thing that
#: leeward itself hands over is the fingerprints of an application's module
#: files: 1.3 MiB for 10 000 of them.
MEMFD_LIMIT = 16 * 1024 * 1024

#: Seconds that poll(2) and epoll_wait(2) are asked to wait at most; who waits for longer asks
#: again.  They take milliseconds in an int: at 24.9 days Python raises OverflowError.
LONGEST_WAIT = 86_400.0

#: Linux 6.3; older kernels say EINVAL.  A kernel with `vm.memfd_noexec=2`
#: refuses a memfd without it (EACCES).
_MFD_NOEXEC_SEAL = 0x0008

#: All that could still change a finished memfd.
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def memfd_create(name: str, flags: int = 0) -> int:
    """A new close-on-exec memfd that can be sealed.  Raises OSError."""
    flags |= os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create(name, flags | _MFD_NOEXEC_SEAL)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.memfd_create(name, flags)


class Posix(Record):
    """The calls, each with the meaning and the errors of the function that it defaults to."""

    monotonic: Callable[[], float] = time.monotonic
    time: Callable[[], float] = time.time
    getpid: Callable[[], int] = os.getpid
    getppid: Callable[[], int] = os.getppid
    posix_spawn: Callable[..., int] = os.posix_spawn
    chdir: Callable[[str], None] = os.chdir
    kill: Callable[[int, int], None] = os.kill
    killpg: Callable[[int, int], None] = os.killpg
    #: Not wait4: it imports `resource` at its first use, and at EMFILE that raises
    #: ImportError in the middle of reaping.
    waitpid: Callable[[int, int], tuple[int, int]] = os.waitpid
    waitid: Callable[[int, int, int], os.waitid_result | None] = os.waitid
    pidfd_open: Callable[..., int] = os.pidfd_open
    pidfd_send_signal: Callable[..., None] = signal.pidfd_send_signal
    memfd_create: Callable[..., int] = memfd_create
    open: Callable[..., int] = os.open
    read: Callable[[int, int], bytes] = os.read
    write: Callable[[int, bytes], int] = os.write
    dup: Callable[[int], int] = os.dup
    close: Callable[[int], None] = os.close
    unlink: Callable[[str], None] = os.unlink
    poll: Callable[[], select.poll] = select.poll
    epoll: Callable[[], select.epoll] = select.epoll


#: The real ones.
POSIX = Posix()


def memfd(name: str, data: bytes, inheritable: bool = False) -> int:
    """A memfd that holds `data`, rewound and sealed for good.

    Sealed, so that a reader may trust its size and content without a copy: a
    peer that kept a descriptor of its own cannot change or truncate it.
    Raises OSError (EMFILE, ENFILE, ENOMEM).
    """
    fd = memfd_create(name)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.lseek(fd, 0, os.SEEK_SET)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
        os.set_inheritable(fd, inheritable)
    except BaseException:
        os.close(fd)
        raise
    return fd


def read_memfd(fd: int, limit: int = MEMFD_LIMIT) -> bytes:
    """The whole content of a memfd that `memfd` made, wherever its offset stands.

    Never blocks and never reads more than `limit` bytes: raises ValueError for
    anything but a sealed memfd (a pipe, a file on a dead NFS server, a file that
    its owner can still truncate under our read), for one that was opened for
    writing only, and for more than `limit`.  Raises OSError if `fd` is not open.
    """
    size = os.fstat(fd).st_size
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        seals = 0  # EINVAL: no memfd; EBADF: one opened with O_PATH
    if seals & SEALS != SEALS:
        raise ValueError(f"descriptor {fd} is not a sealed memfd")
    if size > limit:
        raise ValueError(f"memfd of {size} bytes, the limit is {limit}")
    parts = []
    offset = 0
    try:
        while offset < size and (part := os.pread(fd, size - offset, offset)):
            parts.append(part)
            offset += len(part)
    except OSError as error:
        raise ValueError(f"memfd {fd} cannot be read: {error.strerror}") from None
    return b"".join(parts)


def set_comm(name: str) -> None:
    """Name this process in `ps` and `top` (15 bytes, the kernel cuts the rest).

    Through /proc instead of prctl, so that the supervisor needs no ctypes
    (0.3 MiB of its private memory), unless /proc is read-only: by its name a spare
    is told from what a dead worker has left.  Raises OSError.
    """
    try:
        fd = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise  # ctypes could not be imported either, by an ImportError
        from leeward._sys import prctl

        prctl.set_name(name)
        return
    try:
        os.write(fd, name.encode("utf-8", "replace")[:15])
    finally:
        os.close(fd)
