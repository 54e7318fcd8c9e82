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
    from leeward.engine.addresses import Addresses


class Counters(Protocol):
    """The words of the shared page that a server keeps truthful (`_sys.page.Row`)."""

    open: int
    requests: int
    in_flight: int
    new: int
    upgraded: int
    closing: int
    brief: int
    evicted: int
    shed: int
    ping_no_answer: int
    ping_reset: int
    ping_deaf: int
    stubborn: int
    in_threads: int


class Server(Protocol):
    #: How many connections each client has.
    addresses: Addresses

    @property
    def plain(self) -> bool:
        """Do clients speak http here, and not https?"""

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
                WebSockets get 1012 and streams of events their last chunk, spread
                evenly over `window` seconds.
        stop:   the same, but idle connections are closed, and WebSockets (1001) and
                streams at once.
        aside:  as for a reload, but WebSockets and streams stay.

        May be called again: "reload" after "aside" lets WebSockets go too, "stop"
        after both hurries what is left.
        """

    def orphans(self) -> list[dict[str, Any]]:
        """Handlers that work for nobody: their clients have left (`engine.orphans`)."""

    def tune(self, config: Config) -> None:
        """Take over what `config` says of `leeward._core.config.TUNABLE`, and nothing else.

        Connections that wait for a request wait anew; what is under way goes on as it began.
        """

    def connections(self) -> dict[Life, int]:
        """How many connections are in each state, CLOSED left out."""

    def told(self, mine: Identity, query: Query) -> Iterator[tuple[Any, Conn]]:
        """Each live connection that `query` matches, by its number: the member and its account.

        If it asks for that state, each handler whose client has left instead (`engine.orphans`).
        One at a time, because describing one takes 20 µs.
        """

    def end(self, member: Any) -> bool:
        """End one of them; True if it is a WebSocket, and has a moment for its farewell."""

    def unfinished(self) -> int:
        """Handlers without a client, or behind their answer, that are to run to their end."""

    def doubtful(self) -> int:
        """Of the connections, those whose client has said FIN and waits for its answer, or has
        left: nothing was sent since that would tell."""

    def take_stock(self) -> None:
        """Note who sends something, and who only waits: `close_rest` is near."""

    def close_rest(self, over: float = 0.0) -> None:
        """Leave every connection that is left, now, and end its handler, and those without one.

        over:  in a reload, leave those with a request so many seconds from now, spread
               evenly, but for a few.
        """

    def open(self) -> int:
        """How many connections there are."""

    def descriptors(self) -> set[int]:
        """Of their sockets."""

    def shed(self) -> None:
        """A connection was refused because there are too many."""

    def close_idle(self, most: int) -> int:
        """Close up to so many between two requests.  How many it were."""

    def evict(self, files: int) -> int:
        """Close some in which nothing happens; how many.  files: `engine.eviction`."""
