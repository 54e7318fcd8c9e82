"""What a worker asks of whatever serves its connections.

The worker accepts and decides when to drain; a `Server` speaks the protocol.  The
engine is one (`leeward.engine.engine`), Tornado's own HTTP server is another
(`leeward.adapters.tornado`, for --engine tornado).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import socket

    from leeward._core.config import Config
    from leeward._core.connection import Life


class Counters(Protocol):
    """The words of the shared page that a server keeps truthful (`_sys.page.Row`)."""

    open: int
    requests: int
    in_flight: int


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

    def tune(self, config: Config) -> None:
        """Take over what `config` says of `leeward._core.config.TUNABLE`, and nothing else.

        Connections that wait for a request wait anew; what is under way goes on as it began.
        """

    def connections(self) -> dict[Life, int]:
        """How many connections are in each state, CLOSED left out."""

    def close_rest(self) -> None:
        """Close every connection that is left, now."""
