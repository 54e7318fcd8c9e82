"""The life of a connection: a table, and nothing else.

          BYTE              ANSWERED            BYTE
  NEW ─────────► ACTIVE ────────────────► IDLE ──────► ACTIVE …
   │               │ TAKEN_OVER             │
   │               └───────────► UPGRADED   │
   └──────────┬────┴─────┬──────────┴───────┘
              │ CLOSE    │ GONE
              ▼          ▼
           CLOSING ──► CLOSED

The words are Go's (net/http ConnState); UPGRADED is what Go calls hijacked and stops
watching: a WebSocket, or bytes that only the application understands.

A pair of state and event that is not in `LIFE` raises `IllegalEvent`, and from every
state GONE leads to CLOSED: no connection outlives its socket.
"""

from __future__ import annotations

import enum


class Life(enum.Enum):
    NEW = "new"  # accepted, has not sent a byte
    ACTIVE = "active"  # a request arrives or is being answered
    IDLE = "idle"  # answered, waits for the next request
    UPGRADED = "upgraded"  # taken over by the application
    CLOSING = "closing"  # we have ended it; the last bytes are on their way
    CLOSED = "closed"


class Event(enum.Enum):
    BYTE = "byte"  # the first one of a request
    ANSWERED = "answered"  # request and answer are complete
    TAKEN_OVER = "taken over"  # HTTP is over, the application has the stream
    CLOSE = "close"  # we end it
    GONE = "gone"  # the socket is closed


class IllegalEvent(Exception):
    """An event that the table does not know in this state."""


L, E = Life, Event

LIFE: dict[Life, dict[Event, Life]] = {
    L.NEW: {E.BYTE: L.ACTIVE, E.CLOSE: L.CLOSING, E.GONE: L.CLOSED},
    L.ACTIVE: {
        E.ANSWERED: L.IDLE,
        E.TAKEN_OVER: L.UPGRADED,
        E.CLOSE: L.CLOSING,
        E.GONE: L.CLOSED,
    },
    L.IDLE: {E.BYTE: L.ACTIVE, E.CLOSE: L.CLOSING, E.GONE: L.CLOSED},
    L.UPGRADED: {E.CLOSE: L.CLOSING, E.GONE: L.CLOSED},
    L.CLOSING: {E.GONE: L.CLOSED},
    L.CLOSED: {},
}

#: States in which the next byte is the first of a request.
WAITING = frozenset({Life.NEW, Life.IDLE})


def step(life: Life, event: Event) -> Life:
    """The state after `event`.  Raises `IllegalEvent` for a pair not in the table."""
    try:
        return LIFE[life][event]
    except KeyError:
        raise IllegalEvent(f"{event.name} in {life.name}") from None
