"""What comes with the last of a TLS handshake: a ticket is silence, and all else is not."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import certificates

from leeward._lines.connection import Connection
from leeward._lines.tls import Tls

pytestmark = certificates.needs_openssl


class Ends:
    """Both ends of a connection over TLS 1.3; the server's records go when it is told."""

    def __init__(self, folder: Path, ours: socket.socket, theirs: socket.socket) -> None:
        certificates.Authority(folder).make(folder / "cert.pem", folder / "key.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        client.minimum_version = ssl.TLSVersion.TLSv1_3
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = context.wrap_bio(self._in, self._out, server_side=True)
        self._theirs = theirs
        self.tls = Tls(ours, client, None)
        for _ in range(10):
            try:
                self.tls.shake_hands()
                break
            except ssl.SSLWantReadError:
                self._turn()
                self.tls.take()
        self._turn(send=False)  # it knows that we are done, and has tickets for us

    def _turn(self, send: bool = True) -> None:
        self._in.write(self._theirs.recv(65536))
        with suppress(ssl.SSLWantReadError):
            self.server.do_handshake()
        if send:
            self.send()

    def send(self, most: int = -1) -> None:
        self._theirs.sendall(self._out.read(most))


@contextmanager
def ends(folder: Path) -> Iterator[tuple[Ends, Connection]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        found = Ends(folder, ours, theirs)
        nobody: Any = None
        loop = asyncio.new_event_loop()
        try:
            yield found, Connection(1, loop, ours, found.tls, nobody, nobody)
        finally:
            loop.close()


def test_a_ticket_that_came_with_the_handshakes_last(tmp_path: Path) -> None:
    """Go's crypto/tls sends it with its Finished: each connection counted as one that spoke."""
    with ends(tmp_path) as (found, connection):
        found.send()
        found.tls.take()
        assert found.tls.pending
        assert connection.is_silent()
        assert not found.tls.pending


def test_words_behind_such_a_ticket_are_no_silence(tmp_path: Path) -> None:
    with ends(tmp_path) as (found, connection):
        found.server.write(b"hello")
        found.send()
        found.tls.take()
        assert not connection.is_silent()


def test_half_a_record_behind_such_a_ticket_is_none_either(tmp_path: Path) -> None:
    with ends(tmp_path) as (found, connection):
        found.send()
        found.server.write(b"hello")
        found.send(10)
        found.tls.take()
        assert not connection.is_silent()


def test_a_plain_end_is_told_as_one(tmp_path: Path) -> None:
    """Without a word of TLS: it was "cannot write() after write_eof()"."""
    with ends(tmp_path) as (found, connection):
        found._theirs.close()
        assert not connection.is_silent()
        assert found.tls.ended
        assert found.tls.recv(100) == b""
