"""The lingering close: what a client still sends is read and thrown away (RFC 9112 §9.6).

A client that is answered in the middle of its request's body (401, 413) and goes on
sending meets a closed socket, and the kernel says so by a reset, which makes the
client's kernel forget the answer that it had not read yet.  So we say that we have
sent all (FIN), and close when the client has ended too, has been silent, or has had
its time: nginx's lingering_close, with nginx's 5 s and 30 s (Apache has 2 and 30).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leeward.engine.link import Link

#: Seconds without a byte, in a drain, and for all of it; in a drain for all.
_SILENCE, _SHORT = 5.0, 1.0
_LONGEST, _IN_DRAIN = 30.0, 2.0

#: Bytes that are thrown away: as many as a request may have, but no less than this.
_LEAST = 1024 * 1024


class Linger(asyncio.BufferedProtocol):
    """Takes the place of `link` on its transport, until it is closed for good."""

    def __init__(self, link: Link) -> None:
        server, transport = link.server, link.transport
        self._link = link
        self._loop = server.loop
        self._context = server.context
        self._left = max(server.max_body_size, _LEAST)
        self._silence = _SHORT if server.draining else _SILENCE
        self._heard = self._loop.time()
        self._ends = self._heard + (_IN_DRAIN if server.draining else _LONGEST)
        self._timer: asyncio.TimerHandle | None = None
        transport.set_protocol(self)
        with contextlib.suppress(OSError):  # it was reset, which the transport hears of soon
            transport.write_eof()
        self._wait()

    def hurry(self) -> None:
        """A drain has begun."""
        if self._timer is None:
            return
        self._silence = _SHORT
        self._ends = min(self._ends, self._loop.time() + _IN_DRAIN)
        self._timer.cancel()
        self._wait()

    # --- the transport speaks --------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._link.server.intake

    def buffer_updated(self, nbytes: int) -> None:
        self._left -= nbytes
        if self._left < 0:
            self._over()
        else:
            self._heard = self._loop.time()

    def eof_received(self) -> None:
        """The transport closes by itself."""
        self._stop()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        self._link.connection_lost(exc)

    def pause_writing(self) -> None:
        self._link.pause_writing()

    def resume_writing(self) -> None:
        self._link.resume_writing()

    # --- time ------------------------------------------------------------------------------------

    def _wait(self) -> None:
        # Looked at when it would be due without another byte: none of them costs a timer.
        due = min(self._heard + self._silence, self._ends)
        self._timer = self._loop.call_at(due, self._look, context=self._context)

    def _look(self) -> None:
        now = self._loop.time()
        if now < min(self._heard + self._silence, self._ends):
            self._wait()
        else:
            self._over()

    def _over(self) -> None:
        if self._timer is not None:
            self._stop()
            self._link.lingered()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
