"""What a worker asks of whatever serves its connections.

The worker accepts and decides when to drain; a `Server` speaks the protocol.  The
engine is one (`leeward.engine.engine`), Tornado's own HTTP server is another
(`leeward.adapters.tornado`, for --engine tornado).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from leeward._core.config import Config
    from leeward._core.connection import Life
    from leeward._core.conns import Conn, Identity, Query


class Counters(Protocol):
    """The words of the shared page that a server keeps truthful (`_sys.page.Row`)."""

    open: int
    requests: int
    in_flight: int
    new: int
    upgraded: int
    closing: int


class Server(Protocol):
    def accept(self, connection: socket.socket, address: Any) -> None:
        """Serve `connection` from now on.  Never raises; owns the socket."""

    def probe(self, connection: socket.socket) -> None:
        """Serve `connection`, which no client has made: plain http, counted nowhere."""

    def ready(self) -> None:
        """Accepting begins."""

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

    def tune(self, config: Config) -> None:
        """Settings have changed that may change while we run."""

    def told(self, mine: Identity, query: Query) -> Iterator[tuple[Any, Conn]]:
        """Each live connection that `query` matches, by its number: the member and its account.

        One at a time, because describing one takes 20 µs.
        """

    def end(self, member: Any) -> bool:
        """End one of them; True if it is a WebSocket, and has a moment for its farewell."""
