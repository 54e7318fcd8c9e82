"""TCP peers that go without a word: the kernel asks, and gives them up.

The options are set on the *listening* socket, from which Linux copies them to every
connection that is accepted on it: no call for each connection, and whatever takes the
connection over (long-polls, event streams, an application's own protocol) has them.
"""

from __future__ import annotations

import contextlib
import math
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from leeward._core.config import Config

#: The most that Linux takes for TCP_KEEPIDLE and TCP_KEEPINTVL, in seconds.
_LONGEST = 32767
#: Options as the kernel has them.
_NOTHING = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 0),
)
#: Probes in the time of the whole silence: half of them are sent.  With three a living peer
#: behind a wire that loses 5 % of the packets each way was given up every thousandth time,
#: which for a long-poll that waits is one in ten within an hour; with ten, never.
_PROBES = 20


def watch(listeners: Iterable[int], config: Config) -> None:
    """Have the kernel end connections accepted on these descriptors whose peer is gone.

    `peer_timeout`:  seconds without a sign of life; 0 leaves everything as it is.
    `write_timeout`: where it is given, seconds for a peer that takes nothing.

    A peer is asked after half of the first in silence, and given up when all of it has
    passed; when something was sent that nobody acknowledges, so long after that.  Linux has
    one number, TCP_USER_TIMEOUT, for that, for a *living* peer that takes nothing (a zero
    window), and instead of the count of probes (tcp_keepalive_timer).  So it is the longer
    of the two; where nobody is ever ended for not reading, only the probes are left.

    Unix sockets have no such thing: their peer is a process of this machine.
    """
    if config.peer_timeout:
        _set(listeners, _options(config))


def tune(sockets: Iterable[int], config: Config) -> None:
    """The same for sockets that may have other options from before: by 0 they have none any more.

    Connections that are open take 11 us each, a tenth of a second for 10,000 of them.
    """
    _set(sockets, _options(config) if config.peer_timeout else _NOTHING)


def bear(fd: int, config: Config, write: float) -> None:
    """Of one connection whose route has a `write` of its own: the same in its place.

    write:  seconds for a peer that takes nothing, 0 for ever.
    """
    if config.peer_timeout:
        _set([fd], _silence(config.peer_timeout, write))


def _options(config: Config) -> tuple[tuple[int, int, int], ...]:
    timeout = config.peer_timeout
    idle = min(max(1, int(timeout / 2)), _LONGEST)
    interval = min(max(1, round(timeout / _PROBES)), _LONGEST)
    count = min(max(1, math.ceil((timeout - idle) / interval)), 127)
    patience = config.write_timeout if "write_timeout" in config.given else timeout
    tcp = socket.IPPROTO_TCP
    return (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (tcp, socket.TCP_KEEPIDLE, idle),
        (tcp, socket.TCP_KEEPINTVL, interval),
        (tcp, socket.TCP_KEEPCNT, count),
        *_silence(timeout, patience),
    )


def _silence(timeout: float, patience: float) -> tuple[tuple[int, int, int], ...]:
    silent = max(timeout, patience) if patience else 0.0
    return ((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, min(int(silent * 1000), 2**31 - 1)),)


def _set(sockets: Iterable[int], options: Iterable[tuple[int, int, int]]) -> None:
    for fd in sockets:
        try:
            sock = socket.socket(fileno=fd)
        except OSError:
            continue  # closed meanwhile
        try:
            if sock.family == socket.AF_UNIX:
                continue
            for level, name, value in options:
                # One that was handed in may be MPTCP, where older kernels refuse some of them.
                with contextlib.suppress(OSError):
                    sock.setsockopt(level, name, value)
        finally:
            sock.detach()
