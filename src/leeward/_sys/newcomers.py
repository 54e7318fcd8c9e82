"""A listener that takes nobody new, while who has come already may still be accepted.

`shutdown(SHUT_RD)` alone resets whoever is in the queue: who came between the last accept() and
it, some microseconds, was cut in 1 of 40 stops under load.

TCP: a classic BPF program (socket(7), SO_ATTACH_FILTER) that drops SYNs, for all processes that
hold the listener; the acknowledgement that ends a handshake passes.  Whoever is dropped tries
again after a second (RFC 6298 §2) and is refused then.  Unix sockets have no such packets, and
need none: behind SHUT_RD connect(2) is refused, and the queue can be accepted to its end.

ctypes is imported with this module, and not when it is needed: a worker that stops may have no
descriptor left for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct

_SO_ATTACH_FILTER = 26  # asm-generic/socket.h
#: linux/filter.h: code, steps if true, steps if false, operand.
_FILTER = struct.Struct("HBBI")
_FLAGS_AT, _SYN = 13, 0x02  # RFC 9293 §3.1
_DROP_SYNS = b"".join(
    _FILTER.pack(*it)
    for it in (
        (0x30, 0, 0, _FLAGS_AT),  # load the byte there
        (0x45, 0, 1, _SYN),  # is that bit set?
        (0x06, 0, 0, 0),  # then keep nothing of the packet
        (0x06, 0, 0, 2**32 - 1),  # else all of it
    )
)


def keep_out(listener: socket.socket) -> None:
    """Let nobody new into the listener's queue, for whoever holds it, until it is closed.

    Without effect where the system does not know how: some more may come.
    """
    with contextlib.suppress(OSError):  # ENOTCONN: another has; ENOPROTOOPT: a sandbox
        if listener.family == socket.AF_UNIX:
            listener.shutdown(socket.SHUT_RD)
        else:
            _attach(listener, _DROP_SYNS)


def _attach(listener: socket.socket, program: bytes) -> None:
    kept = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: how many, and a pointer, aligned as the machine's are.
    count = len(program) // _FILTER.size
    listener.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", count, ctypes.addressof(kept))
    )
