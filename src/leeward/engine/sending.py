"""The sending half of a connection: what is written, what waits, what becomes of too much.

As long as the kernel takes what is written, nothing is kept.  Else the transport holds
the rest of that write, and an `Outbox` what is written after it:

    a quarter of --write-budget waits   an upgraded connection is not read from: whoever
                                        echoes without reading its peer stops by itself
    all of it, and it grows             cut (`Outbox.grows`), and one line says whose
    nothing is taken for --write-timeout    cut, and one line

A whole answer of HTTP is never too much: the application has made it, and has it in memory.
"""

from __future__ import annotations

import abc
import asyncio
import logging
import socket
import struct
from time import monotonic
from typing import TYPE_CHECKING, Any

from tornado.iostream import StreamClosedError

from leeward._core.connection import Life
from leeward._core.pace import Progress
from leeward.engine.outbox import Outbox, acknowledged
from leeward.engine.telling import Account

if TYPE_CHECKING:
    from leeward.engine.engine import Engine
    from leeward.engine.outbox import Watch
    from leeward.limits import Deadlines

_UPGRADED, _ENDING = Life.UPGRADED, Life.CLOSING

#: SO_LINGER on, for no time: closing is a reset.
_RESET = struct.pack("ii", 1, 0)

#: Of a connection that has not waited for its client yet.
NONE = Progress()


class Sending(asyncio.BufferedProtocol, abc.ABC):
    """The base of `leeward.engine.link.Link`.

    All attributes have slots, here and in the classes below: CPython keeps up to 30 of an
    instance's attributes in its dict where they are found at once, and a connection has
    more; then not even its methods are found at once.  With slots for these alone a request
    cost 5 % more, without any another 5 %.
    """

    __slots__ = (
        "_flushing",
        "_full",
        "_in_transport",
        "_outbox",
        "_paused_reading",
        "_paused_writing",
        "_watch",
        "account",
        "choked",
        "life",
        "lost",
        "progress",
        "sent",
        "server",
        "transport",
    )

    transport: asyncio.Transport
    _watch: Watch  # while it waits for its client to take something

    def __init__(self, server: Engine) -> None:
        self.server = server
        self.life = Life.NEW
        self.account = Account()
        self.lost = False  # nothing can be sent any more
        self.sent = 0  # bytes that we were given to send
        self.choked = False  # reads nothing, as too much waits to be written
        self.progress = NONE
        self._paused_reading = False
        #: Something that was sent has not left us yet: it is in the transport, which is
        #: `_full` then, and what was sent after it in the outbox.
        self._paused_writing = False
        self._full = False
        self._in_transport = 0
        self._outbox: Outbox | None = None
        self._flushing: list[asyncio.Future[None]] = []

    # --- what the others do ----------------------------------------------------------------------

    @property
    @abc.abstractmethod
    def context(self) -> Any:
        """Tornado's request context."""

    @property
    @abc.abstractmethod
    def own(self) -> Deadlines | None:
        """What the class of its handler says (`leeward.deadlines`), None for nothing."""

    @abc.abstractmethod
    def what(self) -> str:
        """The request that it serves, for the log."""

    @abc.abstractmethod
    def answer_is_complete(self) -> bool:
        """Is all that waits to be sent one answer, which the application has made?"""

    @abc.abstractmethod
    def flushed(self) -> None:
        """All that was sent has left us."""

    @abc.abstractmethod
    def read_again(self) -> None:
        """Little enough waits to be written."""

    @abc.abstractmethod
    def cut(self) -> None:
        """Close now, whatever is left to send."""

    # --- sending ---------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Can nothing more be sent, because it is lost or we have closed it?"""
        return self.lost or self.life is _ENDING

    def send(self, data: bytes | memoryview) -> asyncio.Future[None]:
        """Write `data`.  The future is done when the kernel has all that was written."""
        if self.lost or self.life is _ENDING:
            return failed(self.server.loop)
        self.sent += len(data)
        if self._paused_writing:
            self._keep(data)
        else:
            self.account.moved = monotonic()
            self.transport.write(data)
            if not self._paused_writing:
                return self.server.flushed
            self._in_transport = len(data)
            self._choke()
        future = self.server.loop.create_future()
        self._flushing.append(future)
        return future

    def _keep(self, data: bytes | memoryview) -> None:
        """The transport has enough: what is more waits here, where it is counted."""
        outbox = self._outbox
        if outbox is None:
            outbox = self._outbox = Outbox(self.server.write_budget, self._in_transport)
        outbox.put(data)
        self._choke()
        if outbox.grows() and not self.answer_is_complete():
            text = f"{outbox.size / 1048576:.1f} MiB wait to be read, and it grows: cut"
            self.server.ends(self, "write-budget", text, logging.WARNING)
            self._reset()
        elif outbox.begins_to_be_too_much():
            self.server.loop.call_soon(outbox.turn_ends, context=self.server.context)

    # --- the transport speaks --------------------------------------------------------------------

    def pause_writing(self) -> None:
        self._full = True
        if not self._paused_writing:
            self._paused_writing = True
            self.progress = Progress()
            self._watch = self.server.writers.of(self.own)
            self._watch.add(self)

    def resume_writing(self) -> None:
        self._full = False
        self.account.moved = monotonic()
        self._hand_over()
        if self._full:
            self.server.loop.call_soon(self._all_sent, context=self.server.context.copy())
            return
        self._paused_writing = False
        self._outbox = None
        self._watch.discard(self)
        flushed, self._flushing = self._flushing, []
        for future in flushed:
            if not future.done():
                future.set_result(None)
        # Not here, where asyncio is in the middle of writing: a transport that is closed now it
        # closes twice, with a traceback.
        self.server.loop.call_soon(self._all_sent, context=self.server.context.copy())

    def _all_sent(self) -> None:
        if not self.lost:
            self._unchoke()
        if not (self.lost or self._paused_writing):
            self.flushed()

    def _hand_over(self) -> None:
        """Give the transport what waits, as far as it takes it."""
        outbox = self._outbox
        if outbox is None:
            return
        while outbox and not self._full and not self.transport.is_closing():
            piece = outbox.take()
            self.transport.write(piece)
            self._in_transport = len(piece)
        outbox.less(self._in_transport if self._full else 0)

    def _hand_all_over(self) -> None:
        """Give the transport all, before it closes: it sends what it has."""
        outbox, self._outbox = self._outbox, None
        while outbox:
            self.transport.write(outbox.take())

    def _forget_unsent(self, error: Exception | None) -> None:
        """The connection is lost: nothing more can be sent."""
        self._outbox = None
        if self._paused_writing:
            self._watch.discard(self)
        for future in self._flushing:
            if not future.done():
                future.set_exception(StreamClosedError(real_error=error))
                future.exception()
        self._flushing.clear()

    # --- too much, too slow ----------------------------------------------------------------------

    def _unsent(self) -> int:
        """Bytes that are kept for this client, with what they cost."""
        if self._outbox is not None:
            return self._outbox.size
        return self._in_transport if self._paused_writing else 0

    def _choke(self) -> None:
        if self.life is _UPGRADED and not self.choked and self._unsent() > self.server.choke_at:
            self.choked = True
            self._pause_reading()

    def _unchoke(self) -> None:
        if self.choked and self._unsent() <= self.server.choke_at / 2:
            self.choked = False
            self.read_again()

    def mark(self) -> object:
        """Something that changes when the client takes bytes."""
        kept = self.transport.get_write_buffer_size()
        if self._outbox is not None:
            kept += self._outbox.bytes()
        return acknowledged(self.transport.get_extra_info("socket")), self.sent - kept

    def stalled(self) -> None:
        """The client has taken nothing for --write-timeout."""
        self.server.ends(self, "write", "Timeout writing: nothing is taken")
        self._reset()

    def _reset(self) -> None:
        """Cut, and have the kernel forget what it holds for the client.

        Else it would ask a client that takes nothing for minutes whether it does now: the
        socket is closed, but its buffer of up to 4 MiB is not free.
        """
        sock = self.transport.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.cut()

    # --- reading ---------------------------------------------------------------------------------

    def _pause_reading(self) -> None:
        if not self._paused_reading and not self.lost:
            self._paused_reading = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        self._paused_reading = False
        if not self.transport.is_closing():
            self.transport.resume_reading()


def failed(loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
    """What a write on a closed connection returns; nobody need look at it."""
    future = loop.create_future()
    future.set_exception(StreamClosedError())
    future.exception()
    return future
