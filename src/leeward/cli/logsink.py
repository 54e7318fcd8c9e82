"""Is there anybody at the other end of --log-file syslog: or journal:?  Asked at a start only.

Later it is waited for (`leeward._collector.datagrams`): a daemon that is restarted stops nobody.
"""

from __future__ import annotations

import errno
import os
import socket

from leeward._core import sinks, syslog
from leeward._core.config import Config
from leeward.errors import UsageError

_REMEDY = {
    sinks.SYSLOG: "is a syslog daemon running?  --log-file syslog:/path/of/its/socket, "
    "syslog:HOST:514 (UDP), or a file",
    sinks.JOURNAL: "journald runs where systemd does, and in containers only if its socket is "
    "mounted: --log-file syslog:, or a file",
}


def check(config: Config) -> None:
    """Raises `UsageError`, which names what is missing and what would do instead."""
    if not config.log_file:
        return
    kind, path = sinks.destination(config.log_file)
    if kind == "file":
        return
    what, remedy = f"--log-file {config.log_file}", _REMEDY[kind]
    if not path.startswith("/"):
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
