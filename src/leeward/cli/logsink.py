"""Can --log-file be written, is there anybody at the other end of syslog: or journal:?  Asked at
a start only.

Later it is waited for (`leeward._collector`): a daemon that is restarted, or a directory that is
away for a while, stops nobody.
"""

from __future__ import annotations

import errno
import os
import socket
import stat

from leeward._core import sinks
from leeward._core.config import Config
from leeward._sys import privileges
from leeward.errors import UsageError

_REMEDY = {
    sinks.SYSLOG: "is a syslog daemon running?  --log-file syslog:/path/of/its/socket, "
    "syslog:HOST:514 (UDP), or a file",
    sinks.JOURNAL: "journald runs where systemd does, and in containers only if its socket is "
    "mounted: --log-file syslog:, or a file",
}


def check(config: Config, origin: str = "flag --log-file") -> None:
    """Raises `UsageError`, which names what is missing and what would do instead.

    origin:  where the setting stands, in words.
    """
    if not config.log_file:
        return
    kind, path = sinks.destination(config.log_file)
    what = f"--log-file {config.log_file}"
    if not origin.startswith("flag"):
        what = f"{origin}: log-file {config.log_file}"
    if kind == "file":
        _check_file(path.replace(sinks.SLOT, "0"), config, what)
        return
    remedy = _REMEDY[kind]
    if not path.startswith("/"):
        from leeward._core import syslog

        host, port = syslog.address(path)
        try:
            socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise UsageError(f"{what}: {host}: {why}", "an address needs no resolver") from None
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect(path)
    except OSError as error:
        if error.errno == errno.EPROTOTYPE:
            why, remedy = "a stream socket, which keeps no messages apart", "datagrams are needed"
        elif error.errno == errno.ECONNREFUSED and not os.path.isdir(path):
            why = "nobody listens there"
        else:
            why = error.strerror or str(error)
        raise UsageError(f"{what}: {path}: {why}", remedy) from None


def _check_file(path: str, config: Config, what: str) -> None:
    """As the user who will write it, and without making it: `check` leaves nothing behind."""
    whose = f" for user {config.uid}" if config.uid != -1 else ""
    # A link that leads nowhere yet is followed, as it is when the file is made.
    directory = os.path.dirname(os.path.realpath(path))
    try:
        with privileges.borrowed(config.uid, config.gid, config.groups):
            _try(path, directory)
    except PermissionError as error:
        raise UsageError(
            f"{what}: {error.strerror}{whose}", f"see who may write there: ls -ld {directory}"
        ) from None
    except FileNotFoundError:
        raise UsageError(
            f"{what}: there is no directory {directory}", f"mkdir -p {directory}"
        ) from None
    except OSError as error:
        raise UsageError(
            f"{what}: {error.strerror}", "it is the path of a file that can be appended to"
        ) from None


def _try(path: str, directory: str) -> None:
    """Raises OSError if no line could be appended."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        os.stat(directory)
        path, wanted = directory, os.W_OK | os.X_OK
    else:
        if not stat.S_ISFIFO(mode):
            os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY))
            return
        # Not opened: for who reads it our leaving would be the end.  A reader may come later.
        wanted = os.W_OK
    if not os.access(path, wanted, effective_ids=True):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
