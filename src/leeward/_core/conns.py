"""A connection as it is told, and which ones somebody means.

A worker fills `Conn` in on demand (`leeward.engine.telling`); `leeward conns`,
`leeward kill` and `leeward.connections()` show it.  A `Query` travels as JSON.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable

from leeward._core.connection import Life
from leeward._core.record import Record, asdict

#: A URL is told up to so many characters, a name likewise.
LONGEST = 512

#: The state of a handler that works on although its client has left: it has no number.
ORPHAN = "orphan"

#: States that a live connection can be in, by the words of the command line, and that one.
STATES = (*(life.value for life in Life if life is not Life.CLOSED), ORPHAN)


class Identity(Record):
    """Whose connection it is.

    ordinal:  1 for the first worker that the slot has had in the life of the instance, 2 for the
              next.
    """

    slot: int
    generation: int
    pid: int
    ordinal: int

    def name(self, number: int) -> str:
        """The id of its connection `number`."""
        return id_of(self.ordinal, number)


def id_of(ordinal: int, number: int) -> str:
    """ "17" of the first worker of a slot, "3.17" of the third.

    A connection's number is its worker's own, so the worker belongs to the name: its predecessor
    in the slot may drain beside it, and what was read of a dead one is typed later.  Numbers that
    go on from one worker to the next would need a bound, and there is none: both accept for a
    while, and a worker may live for ten connections or for ten million.  Not the pid, which comes
    again, and is longer to type.
    """
    return f"{ordinal}.{number}" if ordinal > 1 else str(number)


def numbers_of(id: str) -> tuple[int, int]:
    """The worker's ordinal and the connection's number; 0 for an orphan, which has none."""
    ordinal, _, number = id.rpartition(".")
    return int(ordinal or 1), int(number or 0)


class Conn(Record, kw_only=True):
    """One live connection.  Times are in seconds and count from now; "" or None: there is none."""

    slot: int
    #: Never used twice in this slot while the instance lives: SLOT:ID names a connection ("17",
    #: or "3.17", see `id_of`).  "": an orphan.
    id: str
    pid: int
    generation: int
    #: "203.0.113.7:51234", "[2001:db8::1]:443", or "unix:pid=4711".
    peer: str
    #: The client's address as a trusted proxy told it, where it is another one.
    client: str = ""
    #: The address of ours that it came to.
    local: str = ""
    #: "TLSv1.3 TLS_AES_256_GCM_SHA384".
    tls: str = ""
    state: str
    #: What it speaks: "http", "websocket", or "stream" for what an application made of it.
    kind: str = "http"
    age: float
    #: It has been in this state for so long, and no byte has gone either way for so long.
    since: float
    idle: float
    received: int = 0
    sent: int = 0
    requests: int = 0
    #: The request that is served, or by which a WebSocket was opened.
    method: str = ""
    url: str = ""
    handler: str = ""
    #: Where in the application its handler waits: "chat.py:41 Room.get".
    waits_at: str = ""
    #: Seconds until it is ended, and what has to happen before.
    deadline: float | None = None
    ends: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Conn:
        """Raises ValueError, TypeError or KeyError for what is none."""
        try:
            raw = json.loads(text)
        except RecursionError:
            raise ValueError("too deep") from None
        found = cls(**{name: raw[name] for name in cls.FIELDS})
        for name, kind in cls.FIELDS.items():
            if not _KINDS[kind](raw[name]):
                raise ValueError(f"{name} is {raw[name]!r:.40}")
        numbers_of(found.id)
        return found


def _is_number(value: object) -> bool:
    # As a worker may be scribbled over, it may say 1e999, true or "/etc".
    return type(value) in (int, float) and abs(value) < 1 << 64  # type: ignore[arg-type]


#: What a field of a `Conn` may hold, by its annotation.
_KINDS: dict[str, Callable[[object], bool]] = {
    "str": lambda value: type(value) is str,
    "int": lambda value: type(value) is int and _is_number(value),
    "float": _is_number,
    "float | None": lambda value: value is None or _is_number(value),
}


class Query(Record):
    """Which connections; each field narrows it.  Made by the command line.

    id:         "" for any.
    state:      "" for any.
    peer:       an address, a network ("10.0.0.0/8") or "unix"; that of the socket or the one
                that a trusted proxy told.
    endpoint:   the socket's own "HOST:PORT", exactly.
    idle_over:  no byte for longer than so many seconds; negative: however long.
    """

    id: str = ""
    state: str = ""
    peer: str = ""
    endpoint: str = ""
    idle_over: float = -1.0

    def __post_init__(self) -> None:
        _peers(self.peer)  # ValueError

    @property
    def words(self) -> str:
        """ "--state idle --idle-over 60s", as it was typed."""
        given = [("--state", self.state), ("--peer", self.peer), ("", self.endpoint)]
        given += [("", f"connection {self.id}" if self.id else "")]
        given += [("--idle-over", f"{self.idle_over:g}s" if self.idle_over >= 0 else "")]
        return " ".join(f"{option} {value}".strip() for option, value in given if value)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Query:
        """Raises ValueError or TypeError for what is none."""
        return cls(**json.loads(text))

    def is_peer(self, address: str) -> bool:
        """Is it `peer`, or in that network?  True if any will do."""
        return _peers(self.peer)(address)

    def may_match(self, id: str, state: str) -> bool:
        """By what is known without looking closer."""
        return self.id in ("", id) and self.state in ("", state)

    def matches(self, conn: Conn) -> bool:
        if not self.may_match(conn.id, conn.state) or conn.idle <= self.idle_over:
            return False
        if self.endpoint and self.endpoint != conn.peer:
            return False
        return self.is_peer(conn.peer) or bool(conn.client and self.is_peer(conn.client))


@functools.lru_cache(maxsize=16)
def _peers(wanted: str) -> Callable[[str], bool]:
    """Is a peer's address the one, or in the network, that is wanted?  Raises ValueError."""
    if not wanted:
        return lambda peer: True
    if wanted == "unix":
        return lambda peer: peer.startswith("unix")
    from ipaddress import ip_address, ip_network  # 2 ms and only here

    network = ip_network(wanted, strict=False)

    def is_in(peer: str) -> bool:
        try:
            found = ip_address(host(peer))
        except ValueError:
            return False
        # A socket that listens on [::] has IPv4 clients too.
        mapped = getattr(found, "ipv4_mapped", None)
        return found in network or (mapped is not None and mapped in network)

    return is_in


def host(peer: str) -> str:
    """The address in "HOST:PORT", "[V6]:PORT" or alone, without a zone ("%eth0")."""
    if peer.startswith("["):
        peer = peer[1:].partition("]")[0]
    elif peer.count(":") == 1:
        peer = peer.partition(":")[0]
    return peer.partition("%")[0]


def shown(text: str, most: int = LONGEST) -> str:
    """`text` from a client, in printable ASCII: each other character as %XX, as URLs write it."""
    cut = text[:most]
    if not cut.isascii() or not cut.isprintable():
        cut = "".join(c if " " <= c <= "~" else _escaped(c) for c in cut)
    return cut if len(text) <= most else cut + "..."


def _escaped(c: str) -> str:
    data = bytes((ord(c),)) if ord(c) < 256 else c.encode("utf-8", "surrogatepass")
    return "".join(f"%{byte:02X}" for byte in data)


_ORDERS: dict[str, Callable[[Conn], float]] = {
    "age": lambda conn: -conn.age,
    "bytes": lambda conn: -(conn.received + conn.sent),
    "idle": lambda conn: -conn.idle,
}
ORDERS = tuple(_ORDERS)


def ordered(conns: Iterable[Conn], by: str = "") -> list[Conn]:
    """The oldest, the busiest or the most idle first; else by slot, its workers and number."""
    found = sorted(conns, key=lambda conn: (conn.slot, numbers_of(conn.id), conn.pid))
    return sorted(found, key=_ORDERS[by]) if by else found
