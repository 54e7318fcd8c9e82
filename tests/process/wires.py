"""A wire between two networks of a test's own, which loses packets and can be cut.

`tc netem` is not in every kernel.  So each network has a cable of its own (a veth pair),
and a thread carries frames from one cable's end to the other's, or does not.
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import threading
from collections.abc import Iterator

import pytest
from process.nets import Net, network

#: linux/if_packet.h.  Frames come with what the kernel has left undone, checksums and
#: segments, and go with it: without this header each would arrive with a bad checksum.
_SOL_PACKET, _VNET_HDR, _LENGTH = 263, 15, 10
_ETH_P_ALL = 3
_IP, _FROM, _TO = b"\x08\x00", slice(26, 30), slice(30, 34)
_LARGEST = 70_000


class Wire:
    """near: the service's network, where it is at `SERVER`.  far: its clients'."""

    SERVER = "10.8.0.1"

    def __init__(self, near: Net, far: Net, loss: float, seed: int) -> None:
        self.near, self.far, self.loss = near, far, loss
        self.lost = self.carried = 0
        self._random = random.Random(seed)
        self._holes: frozenset[bytes] = frozenset()
        self._clients = 1
        self._ends: list[socket.socket] = []
        for net in (near, far):
            net.ip("link add cable type veth peer name end")
            net.ip("link set cable up")
            net.ip("link set end up")
            self._ends.append(net.inside(_end))
        near.ip(f"addr add {self.SERVER}/24 dev cable")
        far.ip("addr add 10.8.0.254/24 dev cable")  # of whoever does not choose one
        self._bell, self._ring = socket.socketpair()
        self._thread = threading.Thread(target=self._carry, name="wire", daemon=True)
        self._thread.start()

    def client(self) -> str:
        """The address of a new client."""
        self._clients += 1
        address = f"10.8.0.{self._clients}"
        self.far.ip(f"addr add {address}/24 dev cable")
        return address

    def cut(self, *addresses: str) -> None:
        """From now on nothing comes from them, and nothing reaches them; the others' is carried."""
        self._holes = frozenset(map(socket.inet_aton, addresses))

    def close(self) -> None:
        self._ring.send(b"!")
        self._thread.join()
        for it in (*self._ends, self._bell, self._ring):
            it.close()

    def _carry(self) -> None:
        first, second = self._ends
        other = {first.fileno(): (first, second), second.fileno(): (second, first)}
        poll = select.poll()
        for fd in (*other, self._bell.fileno()):
            poll.register(fd, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd not in other:
                    return
                source, target = other[fd]
                with contextlib.suppress(BlockingIOError):
                    for _ in range(64):
                        self._pass(source, target)

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        data, (_, _, kind, *_) = source.recvfrom(_LARGEST)
        if kind == socket.PACKET_OUTGOING:
            return  # what we, or the kernel, put on the cable
        frame = memoryview(data)[_LENGTH:]
        if frame[12:14] == _IP:
            if bytes(frame[_FROM]) in self._holes or bytes(frame[_TO]) in self._holes:
                return
            if self._random.random() < self.loss:
                self.lost += 1
                return
        self.carried += 1
        with contextlib.suppress(OSError):  # a full queue: one more that is lost
            target.send(data)


def _end() -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK)
    sock.setsockopt(_SOL_PACKET, _VNET_HDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    sock.bind(("end", _ETH_P_ALL))
    return sock


@contextlib.contextmanager
def wire(loss: float, seed: int) -> Iterator[Wire]:
    """Loses this part of all packets.  Skips the test where that cannot be made."""
    with network() as near, network() as far:
        try:
            found = Wire(near, far, loss, seed)
        except OSError as error:
            pytest.skip(f"no packet sockets here: {error}")
        with contextlib.closing(found):
            yield found
