"""What a worker asks of whatever serves its connections.

The worker accepts, counts its lives and decides when to drain; a `Server`
speaks the protocol.  Tornado's own HTTP server is one (`adapters.tornado`),
another engine may take its place without the worker noticing.

The life of one connection, in Go's words (ConnState):

    NEW ──► ACTIVE ⇄ IDLE        a request has begun to arrive / was answered
              └────► UPGRADED    a WebSocket, or bytes that only the application understands
    any ──► CLOSED
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import socket


class Life(enum.Enum):
    NEW = "new"  # accepted, has not sent a byte
    ACTIVE = "active"  # a request arrives or is being answered
    IDLE = "idle"  # answered, waits for the next request
    UPGRADED = "upgraded"  # taken over by the application
    CLOSED = "closed"


#: States in which the next byte is the first of a request.
WAITING = frozenset({Life.NEW, Life.IDLE})


class Counters(Protocol):
    """The words of the shared page that a server keeps truthful (`_sys.page.Row`)."""

    open: int
    requests: int
    in_flight: int


class Server(Protocol):
    def accept(self, connection: socket.socket, address: Any) -> None:
        """Serve `connection` from now on.  Never raises; owns the socket."""

    def begin_drain(self, reason: str, window: float) -> None:
        """Let each connection end by itself, in the way that `reason` asks for.

        reload: each connection's next answer says ``Connection: close``, the
                answers in flight included; idle connections stay until then;
                WebSockets get 1012, spread evenly over `window` seconds.
        stop:   the same, but idle connections are closed and WebSockets get
                1001 at once.
        aside:  as for a reload, but WebSockets stay.

        May be called again: "reload" after "aside" lets WebSockets go too, "stop"
        after both hurries what is left.
        """

    def connections(self) -> dict[Life, int]:
        """How many connections are in each state, CLOSED left out."""

    def close_rest(self) -> None:
        """Close every connection that is left, now."""
