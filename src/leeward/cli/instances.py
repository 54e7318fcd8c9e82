"""Where control sockets live, who owns them, and how one is found by name.

    DIRECTORY/NAME.sock    0600, listening, SOCK_SEQPACKET
    DIRECTORY/NAME.lock    flock'ed by the supervisor for life; holds its pid

The lock decides: whoever has it owns the name, and the kernel gives it back
when the last copy of the descriptor closes, SIGKILL included.  A pid file
cannot say that (pids are used again), nor can a connect (a stopped supervisor
does not answer and is alive).  Neither file is trusted for anything else.

The directory is the first that this user can have for himself:
$XDG_RUNTIME_DIR/leeward; for root /run/leeward; /run/user/UID/leeward;
/tmp/leeward-UID.  A daemon and a shell often disagree about XDG_RUNTIME_DIR, so
finding looks into all of them and at what listens in /proc/net/unix as well.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
import stat
from collections.abc import Iterator, Mapping

from leeward._core.record import Record, Struct
from leeward._sys import procfs, sockets
from leeward.errors import NoInstanceError, UsageError

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
#: .../leeward/NAME.sock and /tmp/leeward-UID/NAME.sock
_SOCKET = re.compile(r"/(?:.*/)?leeward(?:-\d+)?/[A-Za-z0-9._-]{1,64}\.sock")
#: sun_path is 108 bytes, the last of them NUL.
_PATH_LIMIT = 107
_BACKLOG = 64


class Instance(Record):
    """A control socket that somebody listened on once; connecting says whether still."""

    name: str
    path: str


class Claim(Struct):
    """A name that is ours: the lock is held, the socket listens.

    former:  pid of the instance that had the name before and is dead, 0 if none.
    """

    name: str
    path: str
    control: socket.socket
    lock_fd: int
    former: int

    def settle(self) -> None:
        """Writes our pid into the lock, which it had kept for `former`'s strays.

        Raises `UsageError` on a full disk.
        """
        try:
            os.ftruncate(self.lock_fd, 0)
            os.pwrite(self.lock_fd, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            lock = f"{self.path.removesuffix('.sock')}.lock"
            raise UsageError(f"lock {lock}: {error.strerror}") from None

    def release(self) -> None:
        """Leaves nothing behind but the lock's file.

        That one stays: removing it while another start holds it open would let
        two processes lock two files of one name.
        """
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self.control.close()
        os.close(self.lock_fd)


def check_name(name: str) -> str:
    if not _NAME.fullmatch(name) or name in (".", ".."):
        raise UsageError(
            f"{name!r} cannot be the name of an instance: "
            "expected 1 to 64 of the characters A-Z a-z 0-9 . _ -"
        )
    return name


# --- directories -----------------------------------------------------------------------


def candidates(environ: Mapping[str, str], uid: int) -> list[str]:
    """The directories that this user's instances may be in, the preferred one first."""
    found: list[str] = []
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    # `su` and `sudo` may keep another user's: not ours to write into.
    if os.path.isabs(runtime) and _owned(runtime, uid):
        found.append(os.path.join(runtime, "leeward"))
    if uid == 0:
        found.append("/run/leeward")
    if _owned(f"/run/user/{uid}", uid):
        found.append(f"/run/user/{uid}/leeward")
    found.append(f"/tmp/leeward-{uid}")
    return list(dict.fromkeys(found))


def own_directory(environ: Mapping[str, str], uid: int) -> str:
    """The directory for new instances, made if need be, for this user only (0700)."""
    for path in candidates(environ, uid):
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        except OSError:
            continue  # /run is read-only in many containers: the next one
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or found.st_mode & 0o022:
            raise UsageError(
                f"{path} must be a directory of user {uid} that nobody else can write to: "
                "somebody else could take the control socket over",
                f"look at it and remove it: ls -ld {path}",
            )
        if os.access(path, os.W_OK | os.X_OK):
            return path
    raise UsageError(
        "no directory for the control socket can be made: tried "
        + ", ".join(candidates(environ, uid)),
        "set XDG_RUNTIME_DIR to a directory of yours",
    )


def _owned(path: str, uid: int) -> bool:
    try:
        found = os.stat(path)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == uid


# --- claiming --------------------------------------------------------------------------


def claim(name: str, environ: Mapping[str, str]) -> Claim:
    """Takes `name`: locks it, clears a dead socket, listens.

    Raises `UsageError` if a live instance has it; a live one is never touched.
    """
    directory = own_directory(environ, os.getuid())
    path = os.path.join(directory, f"{check_name(name)}.sock")
    if len(os.fsencode(path)) > _PATH_LIMIT:
        raise UsageError(
            f"control socket {path}: {len(os.fsencode(path))} bytes, "
            f"the kernel takes {_PATH_LIMIT}",
            "choose a shorter --name, or a shorter XDG_RUNTIME_DIR",
        )
    lock_fd = _lock(os.path.join(directory, f"{name}.lock"), name)
    try:
        if sockets.is_live(path):
            # The lock's file was removed by hand under a live instance.
            raise _taken(name, 0)
        if _is_elsewhere(name, directory, environ):
            raise _taken(name, 0)
        former = _former(lock_fd)
        control = _listen(path)
    except BaseException:
        os.close(lock_fd)
        raise
    return Claim(name, path, control, lock_fd, former)


def _is_elsewhere(name: str, directory: str, environ: Mapping[str, str]) -> bool:
    """Has this user an instance of that name in another directory?

    A service has no /run/user/UID, and the same user's next session has: no verb could tell
    the two of them apart.
    """
    uid = os.getuid()
    for other in candidates(environ, uid):
        path = os.path.join(other, f"{name}.sock")
        same = os.path.realpath(other) == os.path.realpath(directory)
        if not same and owner(path) == uid and _ours(path, uid) and sockets.is_live(path):
            return True
    return False


def owner(path: str) -> int:
    """Whose socket it is; -1 if it has gone."""
    try:
        return os.lstat(path).st_uid
    except OSError:
        return -1


def _lock(path: str, name: str) -> int:
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(
                f"lock {path}: {error.strerror}", f"look at it and remove it: ls -l {path}"
            ) from None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise UsageError(f"lock {path}: is no regular file", f"rm {path}")
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Was the file that we locked removed meanwhile?  Then it guards nothing.
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        except BlockingIOError:
            pid = _former(fd)
            os.close(fd)
            raise _taken(name, pid) from None
        except FileNotFoundError:
            pass  # removed meanwhile: the same case, once more
        except OSError as error:  # ENOLCK: NFS without a lock daemon
            os.close(fd)
            raise UsageError(
                f"lock {path}: {error.strerror}",
                "its file system keeps no locks: set XDG_RUNTIME_DIR to a directory on another",
            ) from None
        os.close(fd)


def _former(lock_fd: int) -> int:
    text = os.pread(lock_fd, 32, 0).strip()
    return int(text) if text.isdigit() else 0


def _taken(name: str, pid: int) -> UsageError:
    who = f", pid {pid}" if pid else ""
    return UsageError(
        f"an instance called {name!r} is already running{who}",
        f"leeward ps {name} shows it, leeward reload {name} gives it new code; "
        "--name OTHER runs a second one beside it",
    )


def _listen(path: str) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise UsageError(f"{path} is in the way: it is no socket", f"rm {path}")
        try:
            os.unlink(path)
        except PermissionError as error:
            raise UsageError(f"control socket {path}: {error.strerror}", f"rm {path}") from None
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        # Linux takes the new file's mode from the socket: there is no moment at
        # which it is open to others, and the process's umask is left alone.
        os.fchmod(control.fileno(), 0o600)
        control.bind(path)
        control.listen(_BACKLOG)
        control.setblocking(False)
    except OSError as error:
        control.close()
        raise UsageError(f"control socket {path}: {error.strerror}") from None
    return control


# --- finding ---------------------------------------------------------------------------


def every(environ: Mapping[str, str]) -> list[Instance]:
    """The instances of this user (for root: of all) whose socket answers, by name."""
    uid = os.getuid()
    # By its file: a directory may have two names, such as /var/run and /run.
    found: dict[tuple[int, int], Instance] = {}
    for path in (*_in_directories(environ), *procfs.unix_sockets()):
        file = _ours(path, uid)
        if file is not None and file not in found and sockets.is_live(path):
            found[file] = Instance(os.path.basename(path)[: -len(".sock")], path)
    return sorted(found.values(), key=lambda instance: (instance.name, instance.path))


def find(name: str, environ: Mapping[str, str]) -> Instance:
    """The instance called `name`, or the only one there is for "".

    Raises `NoInstanceError`, or `UsageError` if several fit.
    """
    if name:
        check_name(name)
    all_of_them = every(environ)
    fitting = [each for each in all_of_them if not name or each.name == name]
    if name and len(fitting) > 1:
        # Root sees those of others too, who may call theirs as they like.
        fitting = [it for it in fitting if owner(it.path) == os.getuid()] or fitting
    if name and len(fitting) > 1 and environ.get("XDG_RUNTIME_DIR"):
        meant = candidates(environ, os.getuid())[0]
        fitting = [it for it in fitting if os.path.dirname(it.path) == meant] or fitting
    if len(fitting) == 1:
        return fitting[0]
    if fitting and not name:
        names = ", ".join(each.name for each in fitting)
        raise UsageError(f"several instances are running: {names}", "say which one: add its NAME")
    if fitting:
        # Two users' instances of one name (root sees both), or two directories.
        places = ", ".join(each.path for each in fitting)
        raise UsageError(
            f"several instances are called {name!r}: {places}",
            "ask as the user who started it, or set XDG_RUNTIME_DIR to the one that is meant",
        )
    raise no_instance(name, all_of_them)


def no_instance(name: str, others: list[Instance]) -> NoInstanceError:
    if others:
        names = ", ".join(each.name for each in others)
        return NoInstanceError(f"no instance is called {name!r}; running: {names}")
    who = "" if os.getuid() == 0 else " of this user"
    return NoInstanceError(
        f"no instance{who} is running" + (f" (asked for {name!r})" if name else ""),
        "leeward serve chat:make_app starts one",
    )


def _in_directories(environ: Mapping[str, str]) -> Iterator[str]:
    for directory in candidates(environ, os.getuid()):
        try:
            names = os.listdir(directory)
        except OSError:
            continue  # not there, or not for us to see
        yield from (os.path.join(directory, name) for name in names)


def _ours(path: str, uid: int) -> tuple[int, int] | None:
    """Device and inode, if it is called like a control socket, and made by this user (root:
    by anyone).
    """
    if not _SOCKET.fullmatch(path):
        return None
    try:
        found = os.lstat(path)
    except OSError:
        return None
    ours = stat.S_ISSOCK(found.st_mode) and uid in (0, found.st_uid)
    return (found.st_dev, found.st_ino) if ours else None
