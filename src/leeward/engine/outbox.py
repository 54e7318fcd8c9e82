"""What was written and the kernel has not taken yet: how much it is, and whether it moves."""

from __future__ import annotations

import socket
import sys
from collections import deque
from typing import TYPE_CHECKING, Protocol

from leeward._core.pace import Progress

if TYPE_CHECKING:
    import asyncio
    import contextvars

    from leeward.limits import Deadlines

#: What a write costs besides its bytes: a future that somebody may wait for, and its place.
#: Two-byte pongs would else be counted at a hundredth of what they take.
OVERHEAD = 256
#: Pieces below this are put together, up to that: a transport's own queue has 250 bytes
#: for each piece, and adds all their lengths up whenever it is asked for its size.
_SMALL, _TOGETHER = 4096, 65536

#: Bytes that the peer has acknowledged: tcpi_bytes_acked in linux/tcp.h, since 4.1.
_ACKED = slice(120, 128)

#: Looks within a timeout.  A stalled reader's connection ends one or two of them before it.
_LOOKS = 20


class Outbox:
    """Pieces that wait for the transport, in order, and are at most so many.

    budget:        bytes that may wait; 0 for any number.
    in_transport:  bytes of the write that filled the transport: they wait too.
    size:          bytes that wait, and `OVERHEAD` for each write that came here.

    An application may write more than the budget in one go, within one turn of the loop:
    old ones write a whole file so, and no await of ours could have slowed them down.  What
    it may not is add to that in a later turn, while its client does not read.
    """

    __slots__ = ("_budget", "_costs", "_in_transport", "_most", "_pieces", "size")

    def __init__(self, budget: int, in_transport: int) -> None:
        self._pieces: deque[bytes | bytearray] = deque()
        self._costs: deque[int] = deque()
        self._budget = budget
        self._in_transport = in_transport
        #: What may wait at most; nobody knows while the turn lasts that wrote too much.
        self._most: float = budget or _ANY
        self.size = in_transport

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def put(self, data: bytes | bytearray | memoryview) -> None:
        length = len(data)
        if length >= _SMALL:
            self._pieces.append(data if type(data) is bytes else bytes(data))
            self._costs.append(0)
        else:
            last = self._pieces[-1] if self._pieces else b""
            if type(last) is bytearray and len(last) < _TOGETHER:
                last += data
            else:
                self._pieces.append(bytearray(data))
                self._costs.append(0)
        self._costs[-1] += length + OVERHEAD
        self.size += length + OVERHEAD

    def take(self) -> bytes | bytearray:
        """The first piece.  Raises IndexError if there is none."""
        piece = self._pieces.popleft()
        self.size -= self._costs.popleft()
        return piece

    def less(self, in_transport: int) -> None:
        """The transport has sent something, and holds so much now."""
        self.size += in_transport - self._in_transport
        self._in_transport = in_transport
        if self._budget and self.size <= self._budget:
            self._most = self._budget

    def begins_to_be_too_much(self) -> bool:
        """True once, when the budget is overdrawn: call `turn_ends` at the end of the turn."""
        if self.size <= self._budget or self._most != self._budget:
            return False
        self._most = _ANY
        return True

    def turn_ends(self) -> None:
        if self._most == _ANY and self.size > self._budget:
            self._most = self.size + self._budget // 8

    def grows(self) -> bool:
        """Is it more than may be, and more than one turn has written?"""
        return self.size > self._most > self._budget

    def bytes(self) -> int:
        """Without what they cost besides."""
        return sum(map(len, self._pieces))


_ANY = float("inf")


class Writer(Protocol):
    """A connection that waits for its peer to take what it was sent."""

    progress: Progress

    def mark(self) -> object:
        """Something that changes when bytes are taken."""

    def stalled(self) -> None:
        """None were, in all the time that there is."""


class Watch:
    """Ends those whose peer does not read.

    One timer for all that wait, none while nobody does.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, context: contextvars.Context, timeout: float
    ) -> None:
        self._loop = loop
        self._context = context
        self.timeout = timeout
        self._waiting: set[Writer] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, writer: Writer) -> None:
        self._waiting.add(writer)
        if self._timer is None and self.timeout:
            self._schedule()

    def discard(self, writer: Writer) -> None:
        self._waiting.discard(writer)

    def _schedule(self) -> None:
        delay = self.timeout / _LOOKS
        self._timer = self._loop.call_later(delay, self._look, delay, context=self._context)

    def _look(self, interval: float) -> None:
        self._timer = None
        now, timeout = self._loop.time(), self.timeout
        for writer in tuple(self._waiting):
            if timeout and writer.progress.stalled(writer.mark(), now, timeout, interval):
                self._waiting.discard(writer)
                writer.stalled()
        if self._waiting and timeout:
            self._schedule()

    def tune(self, timeout: float) -> None:
        """Another timeout, for those that wait too."""
        self.timeout = timeout
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting and timeout:
            self._schedule()


class Watches:
    """A `Watch` for the instance's timeout, and one for each that handlers' classes have."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, context: contextvars.Context, timeout: float
    ) -> None:
        self._loop = loop
        self._context = context
        self._default = Watch(loop, context, timeout)
        self._own: dict[float, Watch] = {}

    def of(self, own: Deadlines | None) -> Watch:
        """For whom waits behind a handler whose class says `own`."""
        timeout = None if own is None else own.write
        if timeout is None:
            return self._default
        if timeout not in self._own:
            self._own[timeout] = Watch(self._loop, self._context, timeout)
        return self._own[timeout]

    def tune(self, timeout: float) -> None:
        """Another one for the instance."""
        self._default.tune(timeout)


def acknowledged(sock: socket.socket | None) -> int:
    """Bytes that the peer's kernel has taken, ever; 0 where that is not told (unix sockets)."""
    if sock is None or sock.fileno() < 0 or sock.family == socket.AF_UNIX:
        return 0
    try:
        found = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED.stop)
    except OSError:  # gone meanwhile
        return 0
    return int.from_bytes(found[_ACKED], sys.byteorder)
