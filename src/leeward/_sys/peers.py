"""TCP peers that go without a word: the kernel asks, and gives them up.

The options are set on the *listening* socket, from which Linux copies them to every
connection that is accepted on it: no call for each connection, and whatever takes the
connection over (long-polls, event streams, an application's own protocol) has them.
"""

from __future__ import annotations

import contextlib
import math
import socket

#: The most that Linux takes for TCP_KEEPIDLE and TCP_KEEPINTVL, in seconds.
_LONGEST = 32767


def watch(listener: socket.socket, timeout: float) -> None:
    """Have the kernel end connections accepted on `listener` whose peer is gone.

    timeout:  seconds without an acknowledgement; 0 leaves everything as it is.

    A peer is asked after half of it in silence, and given up when all of it has passed;
    when something was sent that nobody acknowledges, `timeout` after that.  With
    TCP_USER_TIMEOUT set, Linux counts no probes (tcp_keepalive_timer): the count here is
    for readers of `ss`.  The same timeout ends a *living* peer that takes nothing for so
    long (a zero window), so it must not be shorter than a pause that a client may make.

    Unix sockets have no such thing: their peer is a process of this machine.
    """
    if not timeout or listener.family == socket.AF_UNIX:
        return
    idle = min(max(1, int(timeout / 2)), _LONGEST)
    interval = min(max(1, round(timeout / 6)), _LONGEST)
    count = min(max(1, math.ceil((timeout - idle) / interval)), 127)
    tcp = socket.IPPROTO_TCP
    options = (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (tcp, socket.TCP_KEEPIDLE, idle),
        (tcp, socket.TCP_KEEPINTVL, interval),
        (tcp, socket.TCP_KEEPCNT, count),
        (tcp, socket.TCP_USER_TIMEOUT, min(int(timeout * 1000), 2**31 - 1)),
    )
    for level, name, value in options:
        # A listener that was handed in may be MPTCP, which older kernels refuse some of.
        with contextlib.suppress(OSError):
            listener.setsockopt(level, name, value)
