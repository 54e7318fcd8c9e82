"""TLS over a socket of ours, with an eye on what comes.

Not `ssl.SSLSocket`: OpenSSL takes half of a record out of the kernel and says of it what it
says of a session's ticket, that it wants to read more.  Whoever is to be sure that nothing
of a reply has come must know the one from the other.  So OpenSSL is given whole records
only, and the half of one waits here, to be seen.
"""

from __future__ import annotations

import contextlib
import socket
import ssl

#: Octets before each record: type, version (two), length (two).
_HEAD = 5
#: Octets that a record may have behind them (RFC 5246, 6.2.3; in TLS 1.3 they are fewer).
_LONGEST = (1 << 14) + 2048
#: Types of records: from change_cipher_spec to heartbeat.
_TYPES = range(20, 25)
#: Octets that are taken from the kernel, or encrypted, at once.
CHUNK = 65536


class Tls:
    """`recv` and `send` are as a non-blocking socket's, which stays its owner's to close.

    ended:  the peer has said that nothing follows, or has closed it.
    """

    __slots__ = ("_encrypted", "_in", "_object", "_out", "_partial", "_sock", "_unsent", "ended")

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, name: str | None) -> None:
        self._sock = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._in, self._out, server_hostname=name)
        #: Of a record that has not come to its end.
        self._partial = bytearray()
        #: Of the caller, in `_unsent`.
        self._encrypted = 0
        self._unsent = bytearray()
        self.ended = False

    def is_between_records(self) -> bool:
        """Has nothing come of a next one, and may one come?"""
        return not self._partial and not self._in.pending and not self.ended

    @property
    def pending(self) -> bool:
        """Are whole records here that OpenSSL has not looked at?  Behind the handshake's last
        comes what a server sends with it: a greeting, or a session's ticket (Go's crypto/tls).
        """
        return self._in.pending > 0

    def shake_hands(self) -> None:
        """Raises SSLWantReadError until there has been enough to `take`, and BlockingIOError
        while the kernel does not take what is to be sent.
        """
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            raise
        except ssl.SSLError:
            with contextlib.suppress(OSError):  # what is wrong, for the peer if he is there
                self._flush()
            raise
        self._flush()

    def take(self, size: int = CHUNK) -> None:
        """`size` octets of the wire at most; whole records are OpenSSL's then."""
        data = self._sock.recv(size)
        if not data:
            self.ended = True
            self._in.write_eof()  # what is there of a record will never be one
            return
        self._partial += data
        end, left = 0, len(self._partial)
        while left >= _HEAD:
            kind, major, _, high, low = self._partial[end : end + _HEAD]
            length = high << 8 | low
            if kind not in _TYPES or major != 3 or length > _LONGEST:
                end, left = end + left, 0  # no TLS: it is OpenSSL's to say so
            elif left < _HEAD + length:
                break
            else:
                end, left = end + _HEAD + length, left - _HEAD - length
        self._in.write(self._partial[:end])
        del self._partial[:end]

    def recv(self, size: int) -> bytes:
        """All of what has come for the application; b"" behind the last of it.

        Raises BlockingIOError if nothing has come, and SSLWantReadError if it was something
        else, or half of a record.
        """
        if not self._in.pending:  # some may have come with the last of the handshake
            self.take(size)
        data = b""
        try:
            while piece := self._object.read(size):
                data += piece
            self.ended = True
        except ssl.SSLWantReadError:
            if not data and not self.ended:
                raise
        except ssl.SSLEOFError:
            assert self.ended
        finally:
            # What the protocol has to say by itself.  If it cannot now: with the next request.
            with contextlib.suppress(OSError):
                self._flush()
        return data

    def send(self, data: bytes | memoryview) -> int:
        """So many octets of `data` the kernel has.  After BlockingIOError: the same again."""
        self._encrypted = self._encrypted or self._object.write(data[:CHUNK])
        self._flush()
        sent, self._encrypted = self._encrypted, 0
        return sent

    def _flush(self) -> None:
        """Raises BlockingIOError if the kernel does not take all."""
        self._unsent += self._out.read()
        while self._unsent:
            del self._unsent[: self._sock.send(self._unsent)]
