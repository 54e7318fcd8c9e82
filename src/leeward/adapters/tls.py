"""The TLS context of a generation, made before the fork and renewed in place.

Made in the zygote, so that all workers share the keys of its session tickets: a
client that comes back to another worker resumes its session there (0.4 ms of the
server's CPU instead of 1.3 ms for an RSA 2048 handshake).  Spawned workers have
their own keys, and such a client makes a full handshake.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence


class Tls:
    """fds:  memfds of the certificate, its key and, where there are any, the CAs; closed here.

    context:  for every connection, for good.

    Raises OSError (ssl.SSLError is one) if OpenSSL does not take them.
    """

    def __init__(self, fds: Sequence[int]) -> None:
        self.context = _context(fds)

    def renew(self, fds: Sequence[int]) -> None:
        """Show another certificate from the next handshake on.  Raises as above.

        `load_cert_chain` on the context in use would keep the old certificate
        beside the new one if their keys are of different kinds (OpenSSL has a place
        for each: RSA, EC, …), and forgets no CA.  A fresh context in its place would
        have ticket keys of its own in each worker.  So each connection begins with
        the first context, whose ticket keys stay in force, and changes over when its
        client's hello is read, which is what server names (SNI) are made for.
        """
        renewed = _context(fds)

        def change_over(connection: ssl.SSLObject, name: str | None, first: ssl.SSLContext) -> None:
            connection.context = renewed

        self.context.sni_callback = change_over


def _context(fds: Sequence[int]) -> ssl.SSLContext:
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # TLS 1.2 or later
        certificate, key, *cas = (f"/proc/self/fd/{fd}" for fd in fds)
        context.load_cert_chain(certificate, key, password="")
        for path in cas:
            context.load_verify_locations(path)
            context.verify_mode = ssl.CERT_REQUIRED
        context.set_alpn_protocols(["http/1.1"])
        return context
    finally:
        for fd in fds:
            os.close(fd)
