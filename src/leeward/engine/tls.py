"""TLS between a connection and its socket.

The loops have their own.  What speaks for this one:

* Without a farewell of TLS a FIN is an end here as it is in plain text: what came before it is
  handed on, and what the application answers is still sent.  asyncio and uvloop close, and drop
  what they have deciphered while reading is paused: of a megabyte that a client sent to a slow
  WebSocket before it left 796,000 bytes arrived, of an echo that was to be read behind it 571,000.
* Pausing stops the socket, not what lies between it and us: nothing is deciphered that nobody
  is ready for, and the end is seen behind all that came before it.
* "Flushed" is true: what the kernel does not take at once counts.
* Both loops do the same.

A connection's end is RFC 8446 §6.1's: our close_notify says that no more will come, and leaves
the other direction alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from typing import Any, cast

#: Neither has failed: OpenSSL needs more of the peer's bytes first.
_AGAIN = (ssl.SSLWantReadError, ssl.SSLWantWriteError)

#: Bytes that OpenSSL is given at a time to encipher, and to decipher.  Its buffers never shrink:
#: with answers of 8 MiB enciphered in one go each idle client held 8 MiB for good, and one of
#: 256 MiB stopped the loop for 1.6 s.  Record by record (16 KiB) a download costs 15 % more.
_PIECE, _FEED = 64 * 1024, 32 * 1024

#: Of a connection that is lost.
_NOBODY = asyncio.BufferedProtocol()


class Tls(asyncio.Transport, asyncio.BufferedProtocol):
    """To `protocol` its transport; to the socket's transport its protocol.

    protocol:  what the plain text is for.  It is connected once the handshake is over, and
               before that it hears of nothing.
    wire:      where the socket's bytes are read into, and
    intake:    what was in them; both are all connections', as none keeps anything there.

    `shaken` is done when the handshake is; its exception is why there was none.
    """

    __slots__ = (
        "_backlog",
        "_closing",
        "_deciphers",
        "_end_is_sent",
        "_ended",
        "_error",
        "_full",
        "_incoming",
        "_intake",
        "_loop",
        "_outgoing",
        "_paused",
        "_protocol",
        "_raw",
        "_raw_is_full",
        "_said_end",
        "_ssl",
        "_waiting",
        "_wire",
        "half_a_record",
        "shaken",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol: asyncio.BufferedProtocol,
        context: ssl.SSLContext,
        wire: memoryview,
        intake: memoryview,
    ) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self._wire, self._intake = wire, intake
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl: ssl.SSLObject | None = context.wrap_bio(
            self._incoming, self._outgoing, server_side=True
        )
        self.shaken: asyncio.Future[None] = loop.create_future()
        self._raw: asyncio.Transport | None = None
        #: What was written and is not enciphered yet, and how many bytes that is.
        self._backlog: deque[memoryview] = deque()
        self._waiting = 0
        self._raw_is_full = False
        self._full = False  # and the protocol has been told
        self._paused = False  # the protocol wants no more
        #: Have bytes come behind what was handed on, and not a whole record yet?
        self.half_a_record = False
        self._ended = False  # the peer has said that no more will come, and the protocol been told
        self._said_end = False  # we have, or will behind the backlog, and
        self._end_is_sent = False
        self._closing = False  # nothing is handed on any more
        self._error: BaseException | None = None

    # --- the socket speaks -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast(asyncio.Transport, transport)
        self._raw.set_write_buffer_limits(0, 0)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._wire

    def buffer_updated(self, nbytes: int) -> None:
        for at in range(0, nbytes, _FEED):
            if self._ended:
                return  # behind close_notify nothing counts; it was kept, without a bound
            self._incoming.write(self._wire[at : min(at + _FEED, nbytes)])
            if not self.shaken.done():
                self._shake()
            else:
                self._decipher()

    def eof_received(self) -> bool:
        if not self.shaken.done():
            self._fail(ConnectionResetError("the client left in its TLS handshake"))
            return False
        self._end()
        return True  # `close` is what ends it

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.shaken.done():
            self._fail(exc or ConnectionResetError("the client left in its TLS handshake"))
        elif self._shook():
            self._protocol.connection_lost(exc or cast("Exception | None", self._error))
        # Large, and in a cycle with who is told: they would wait for the collector.
        self._protocol, self._ssl = _NOBODY, None
        self._incoming = self._outgoing = ssl.MemoryBIO()
        self._backlog.clear()
        self._waiting, self._ended, self._said_end = 0, True, True

    def pause_writing(self) -> None:
        self._raw_is_full = True
        self._tell()

    def resume_writing(self) -> None:
        self._raw_is_full = False
        self._encipher()
        self._tell()

    # --- handshake -------------------------------------------------------------------------------

    def _shook(self) -> bool:
        """Is the handshake over, and well?"""
        return self.shaken.done() and not self.shaken.cancelled() and not self.shaken.exception()

    def _shake(self) -> None:
        if self._ssl is None:
            return
        try:
            self._ssl.do_handshake()
        except _AGAIN:
            self._send()
            return
        except ssl.SSLError as error:
            self._send()  # the alert that says why
            self._fail(error)
            return
        self.shaken.set_result(None)
        self._protocol.connection_made(self)
        self._send()
        self._tell()
        self._decipher()  # the client's first request may have come along

    def _fail(self, error: BaseException) -> None:
        self.shaken.set_exception(error)
        self.shaken.exception()  # whoever waited may have gone
        self.abort()

    # --- from the socket to the protocol ---------------------------------------------------------

    def _decipher(self) -> None:
        """Hand on what is in the records that are whole."""
        if self._ssl is None:
            return
        intake, read, pending = self._intake, self._ssl.read, self._ssl.pending
        incoming, room, count, more = self._incoming, len(self._intake), 0, 1
        self.half_a_record = False
        try:
            # Asked before each read: to be told that there is nothing costs an exception.
            while more and (incoming.pending or pending()):
                more = cast("int", read(room - count, intake[count:] if count else intake))
                count += more
                if count == room:
                    self._hand_over(count)
                    count = 0
        except _AGAIN:
            self.half_a_record = True
        except ssl.SSLZeroReturnError:  # the peer's end behind ours
            more = 0
        except ssl.SSLError as error:
            self._hand_over(count)
            self._break(error)
            return
        self._hand_over(count)
        if not more:
            self._end()
        if self._outgoing.pending:
            self._send()  # OpenSSL's own: keys that were renewed
        if self._backlog and not self._raw_is_full:
            self._encipher()
            self._tell()

    def _hand_over(self, count: int) -> None:
        if count and not (self._ended or self._closing):
            self._protocol.buffer_updated(count)

    def _end(self) -> None:
        """The peer has said that no more will come: by TLS, or by its socket."""
        if not self._ended:
            self._ended = True
            if not self._closing and not self._protocol.eof_received():
                self.close()
        if self._end_is_sent and self._raw is not None:
            self._raw.close()

    def _break(self, error: ssl.SSLError) -> None:
        """What came is not TLS, or not what the peer has sent."""
        self._send()
        self._error = error
        self.abort()

    # --- from the protocol to the socket ---------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._said_end or not data:
            return
        self._backlog.append(memoryview(data))
        self._waiting += len(data)
        if not self._raw_is_full:
            self._encipher()
        self._tell()

    def _encipher(self) -> None:
        """As much of what waits as the socket takes."""
        backlog, raw = self._backlog, self._raw
        if not backlog or raw is None or self._ssl is None:
            return
        write = self._ssl.write
        try:
            while backlog and not self._raw_is_full and not raw.is_closing():
                size = 0
                while backlog and size < _PIECE:
                    data = backlog[0]
                    count = write(data[: _PIECE - size])
                    size += count
                    self._waiting -= count
                    if count < len(data):
                        backlog[0] = data[count:]
                    else:
                        backlog.popleft()
                self._send()
        except _AGAIN:
            self._send()  # the peer has to say something first
        except ssl.SSLError as error:
            self._break(error)
            return
        if not backlog and self._said_end:
            self._loop.call_soon(self._say_end)

    def _send(self) -> None:
        data, raw = self._outgoing.read(), self._raw
        if data and raw is not None and not raw.is_closing():
            raw.write(data)

    def _tell(self) -> None:
        full = self._raw_is_full or bool(self._backlog)
        if full is not self._full and self._shook():
            self._full = full
            if full:
                self._protocol.pause_writing()
            else:
                self._protocol.resume_writing()

    # --- the end ---------------------------------------------------------------------------------

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Say that no more will come, behind all that was written; reading goes on."""
        if not self._said_end:
            self._said_end = True
            if not self._backlog:
                # Not at once.  We may be amid the socket's writing: a transport that is closed
                # there asyncio closes twice.  Or amid deciphering: OpenSSL takes what it has not
                # given us yet for an error, and an answer was lost by a reset.
                self._loop.call_soon(self._say_end)

    def _say_end(self) -> None:
        raw = self._raw
        if self._ssl is None or self._end_is_sent or raw is None or raw.is_closing():
            return
        # What OpenSSL raises is that it has not got the peer's own; ours is on its way then.
        with contextlib.suppress(OSError):
            self._ssl.unwrap()
        self._send()
        self._end_is_sent = True
        if self._ended:
            raw.close()
        else:
            with contextlib.suppress(OSError):  # it was reset, which the transport hears of soon
                raw.write_eof()

    def close(self) -> None:
        """Send what was written, and that no more will come; the socket is closed when the peer
        has said so too, or at a call behind that."""
        self._closing = True
        if self._end_is_sent and self._raw is not None:
            self._raw.close()
            return
        self.write_eof()
        if self._paused:
            self.resume_reading()  # else the peer's end is never seen

    def abort(self) -> None:
        if self._raw is not None:
            self._raw.abort()

    def is_closing(self) -> bool:
        return self._closing or self._raw is None or self._raw.is_closing()

    # --- the rest of a transport -----------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "ssl_object":
            return self._ssl
        if name == "half a record":
            return self.half_a_record
        return default if self._raw is None else self._raw.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast(asyncio.BufferedProtocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing to do: whatever the kernel does not take at once counts."""

    def get_write_buffer_size(self) -> int:
        return self._waiting + (0 if self._raw is None else self._raw.get_write_buffer_size())

    def pause_reading(self) -> None:
        self._paused = True
        if self._raw is not None:
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        if self._raw is not None and not self._raw.is_closing():
            self._raw.resume_reading()
