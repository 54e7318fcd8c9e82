"""One connection: a request goes out, a reply comes in, and nothing else may come."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from typing import Protocol

from leeward._core.replies import Replies, Reply, TooLarge, Wrong
from leeward._lines.tls import CHUNK, Tls

#: Readings of what is no reply, before a request; a server may not keep us busy with it.
_READINGS = 8

#: The reply, or why there will be none; a second one cannot come.
Outcome = Reply | Exception


class Unexpected(Exception):
    """Bytes came while nothing was asked."""


class Owner(Protocol):
    def came(self, connection: Connection, outcome: Outcome) -> None:
        """The reply to what was sent has come, or cannot: of an idle one, why it is lost."""


class Connection:
    """Not used again once `outcome` was an exception.

    number:  the pool's.
    asked:   a reply is expected.
    """

    __slots__ = (
        "_loop", "_owner", "_poll", "_rest", "_stream", "_tls", "asked", "number", "replies",
        "sock",
    )  # fmt: skip

    def __init__(
        self,
        number: int,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        tls: Tls | None,
        replies: Replies,
        owner: Owner,
    ) -> None:
        self.number = number
        self.sock = sock
        self.replies = replies
        self.asked = False
        self._loop = loop
        self._owner = owner
        self._tls = tls
        self._stream = tls or sock
        self._rest = memoryview(b"")
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def start(self) -> None:
        self._loop.add_reader(self.sock, self._readable)
        if self.asked and self._tls is not None and not self._tls.is_between_records():
            self._readable()  # a greeting that has come with the handshake's last

    def is_silent(self) -> bool:
        """Has nothing come, not even an end?  To be asked before each request.

        The kernel may hold what the loop has not told yet: the end of a connection that
        the server has closed for its idleness, or half of a second reply.  1 µs.
        """
        for _ in range(_READINGS):
            if self._tls is None:
                return not self._poll.poll(0)
            if not self._tls.pending and not self._poll.poll(0):
                return self._tls.is_between_records()
            try:
                self._tls.recv(CHUNK)
            except ssl.SSLWantReadError:
                continue  # a session's ticket, which is no reply; or half of a record
            except OSError:
                return False
            return False
        return False

    def send(self, request: bytes) -> None:
        self.asked = True
        try:
            sent = self._stream.send(request)
        except (BlockingIOError, ssl.SSLWantReadError):
            sent = 0
        except OSError as error:
            # Not from within: the owner is in the middle of lending it.
            self._loop.call_soon(self._failed, error)
            return
        if sent < len(request):
            self._rest = memoryview(request)[sent:]
            self._loop.add_writer(self.sock, self._writable)

    def close(self) -> None:
        """At once; what was not read or sent is lost, and the server may be sent a reset."""
        if self.sock.fileno() < 0:
            return
        self._loop.remove_reader(self.sock)
        if self._rest:
            self._loop.remove_writer(self.sock)
            self._rest = memoryview(b"")
        self.sock.close()

    # --- what the loop calls ------------------------------------------------------------

    def _writable(self) -> None:
        try:
            sent = self._stream.send(self._rest)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError as error:
            self._failed(error)
            return
        self._rest = self._rest[sent:]
        if not self._rest:
            self._loop.remove_writer(self.sock)

    def _readable(self) -> None:
        try:
            data = self._stream.recv(CHUNK)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError as error:
            self._failed(error)
            return
        if not data:
            self._failed(EOFError())
            return
        if not self.asked:
            self._failed(Unexpected(data))
            return
        try:
            reply = self.replies.feed(data)
        except (TooLarge, Wrong) as error:
            self._failed(error)
            return
        except Exception as error:  # a function for ends is the application's
            self._failed(Wrong(repr(error)))
            return
        if reply is not None:
            if self._rest:  # it answered before it had read all: whose the rest is, is open
                reply = reply._replace(clear=False)
            self.asked = False
            self._owner.came(self, reply)
        elif self._tls is not None and self._tls.ended:  # the socket need not say so as well
            self._failed(EOFError())

    def _failed(self, error: Exception) -> None:
        if self.sock.fileno() >= 0:
            self.close()
            self._owner.came(self, error)
