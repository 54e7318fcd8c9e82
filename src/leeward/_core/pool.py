"""Who is lent which connection, when another one is opened, and who is refused.

    OPENING ──opened──► IDLE ⇄ LENT          any of them ──dropped, closed──► gone
        └─► CHECKING ─checked─► ┘            with checks; from IDLE too, after `Limits.check`

One call is in flight on a connection, so a connection is lent to one waiter at a time and
comes back only by `answered`, or `unused`.  There are no timers for trying again: while the
other side is down, calls are refused at once, and the first one after the pause tries.  Nor
are there any for checks: a connection is checked because somebody waits, and he has whichever
may be lent first, that one or another.  A state has no deadline here: OPENING, CHECKING and LENT
end by the deadlines of whoever carries this out, IDLE by `Limits.idle`.

Connections and waiters are numbers; times are seconds on the caller's clock.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from typing import NamedTuple

from leeward._core.record import Record


class Limits(Record):
    """connections:  so many at most.
    waiters:      calls that may wait for a connection, beyond those one is opened for.
    idle:         seconds after which an idle connection is closed; 0.0: never.
    pause, longest:  seconds before the first and before any new try to open one.
    check:        seconds after which an idle connection is checked before it is lent, as
                  a new one is; None: neither.
    """

    connections: int = 4
    waiters: int = 100
    idle: float = 60.0
    pause: float = 0.1
    longest: float = 5.0
    check: float | None = None


class Why(enum.Enum):
    FULL = "full"  # as many wait as may
    DOWN = "down"  # no connection lives, and none could be opened
    CLOSED = "closed"


class State(enum.Enum):
    OPENING = "opening"
    CHECKING = "checking"
    IDLE = "idle"
    LENT = "lent"


class Open(NamedTuple):
    connection: int


class Check(NamedTuple):
    """Ask it something harmless; `proven`: it has answered before."""

    connection: int
    proven: bool


class Lend(NamedTuple):
    waiter: int
    connection: int


class Close(NamedTuple):
    connection: int


class Refuse(NamedTuple):
    waiter: int
    why: Why


Command = Open | Check | Lend | Close | Refuse


class Pool:
    """Each method is an event and returns what is to be done, in this order."""

    __slots__ = (
        "_checking",
        "_failures",
        "_idle",
        "_limits",
        "_lives",
        "_next",
        "_not_before",
        "_opening",
        "_proven",
        "_settled",
        "_waiting",
        "closed",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lives: dict[int, State] = {}
        #: The one used last is lent first, so that those which are not needed grow old.
        self._idle: OrderedDict[int, float] = OrderedDict()
        self._waiting: OrderedDict[int, None] = OrderedDict()
        #: Those that have answered once, a call or a check; and those that have a call.
        self._proven: set[int] = set()
        self._settled: set[int] = set()
        self._opening = 0
        self._checking = 0
        self._next = 0
        self._failures = 0
        self._not_before = float("-inf")
        self.closed = False

    # --- events -------------------------------------------------------------------------

    def ask(self, waiter: int, now: float) -> list[Command]:
        """Somebody wants a connection."""
        if self.closed:
            return [Refuse(waiter, Why.CLOSED)]
        if self._may_lend(now):
            return [self._lend(waiter)]
        if not self._lives and now < self._not_before:
            return [Refuse(waiter, Why.DOWN)]
        self._waiting[waiter] = None
        commands = self._serve(now)
        if len(self._waiting) - self._coming > self._limits.waiters:
            del self._waiting[waiter]
            return [*commands, Refuse(waiter, Why.FULL)]
        return commands

    def forget(self, waiter: int) -> None:
        """Somebody waits no longer."""
        self._waiting.pop(waiter, None)

    def opened(self, connection: int, now: float) -> list[Command]:
        """It may be lent, or checked."""
        self._expect(connection, State.OPENING)
        self._opening -= 1
        if self._limits.check is None:
            return self._put_back(connection, now)
        return [self._check(connection)]

    def checked(self, connection: int, now: float) -> list[Command]:
        """It has answered as it should."""
        self._expect(connection, State.CHECKING)
        self._checking -= 1
        self._prove(connection)
        self._lives[connection], self._idle[connection] = State.IDLE, now
        # Whatever `Limits.check` is: nobody may wait for check after check.
        lent = [self._lend(self._waiting.popitem(last=False)[0])] if self._waiting else []
        commands = [*lent, *self._serve(now)]
        self._settle(connection)
        return commands

    def answered(self, connection: int, now: float, clear: bool = True) -> list[Command]:
        """The call on it is over.

        clear:  all of the reply has come, and nothing else may; otherwise the connection
                is not lent again.
        """
        self._expect(connection, State.LENT)
        self._prove(connection)
        self._settled.add(connection)
        if clear:
            return self._put_back(connection, now)
        self._bury(connection)
        return [Close(connection), *self._serve(now)]

    def unused(self, connection: int, now: float) -> list[Command]:
        """It was lent to somebody who has given up; nothing was sent."""
        self._expect(connection, State.LENT)
        return self._put_back(connection, now)

    def stale(self, connection: int, waiter: int, now: float, draw: float) -> list[Command]:
        """It was lent, and found dead before anything was sent: its waiter is the next.

        It counts, as in `dropped`, if it never answered a call and was lent as soon as it was
        open.  That it has answered a check is not enough: a server may say more behind each.
        """
        self._expect(connection, State.LENT)
        if connection not in self._settled:
            self._fail(now, draw)
        self._bury(connection)
        self._waiting[waiter] = None
        self._waiting.move_to_end(waiter, last=False)
        return self._serve(now)

    def dropped(
        self, connection: int, now: float, draw: float, failed: bool = False
    ) -> list[Command]:
        """It is gone, in any state.

        draw:    0 to 1, by chance, so that many processes do not try at once.
        failed:  the other side's doing: it counts if the connection never answered.
        """
        state = self._lives[connection]
        opening = state is State.OPENING
        self._opening -= opening
        self._checking -= state is State.CHECKING
        if opening or (failed and connection not in self._proven):
            self._fail(now, draw)
        self._bury(connection)
        commands: list[Command] = []
        if failed and state is State.CHECKING:
            # What has befallen it has befallen those that were idle for longer: asking each
            # in turn would take all the time of whoever waits.
            for other in [it for it in self._idle if self._is_doubtful(it, now)]:
                self._bury(other)
                commands.append(Close(other))
        return commands + self._serve(now)

    def tick(self, now: float) -> list[Command]:
        """Time has passed: see `due`."""
        commands: list[Command] = []
        while self._idle and self._limits.idle:
            oldest, since = next(iter(self._idle.items()))
            if now < since + self._limits.idle:
                break
            self._bury(oldest)
            commands.append(Close(oldest))
        return commands + self._serve(now)

    def close(self) -> list[Command]:
        """No more calls: who waits is refused.  What is lent lives on until it is dropped."""
        self.closed = True
        refused = [Refuse(waiter, Why.CLOSED) for waiter in self._waiting]
        self._waiting.clear()
        unused = [it for it, state in self._lives.items() if state is not State.LENT]
        for connection in unused:
            self._bury(connection)
        self._opening = self._checking = 0
        return [*refused, *map(Close, unused)]

    # --- what is so ---------------------------------------------------------------------

    def due(self) -> float | None:
        """When `tick` will have something to do; None: not before another event."""
        times = []
        room = len(self._lives) < self._limits.connections
        if self._waiting and room and not self._coming:
            times.append(self._not_before)
        if self._idle and self._limits.idle:
            times.append(next(iter(self._idle.values())) + self._limits.idle)
        return min(times, default=None)

    def count(self, state: State) -> int:
        if state is State.IDLE:
            return len(self._idle)
        if state is State.LENT:
            return len(self._lives) - len(self._idle) - self._coming
        return self._opening if state is State.OPENING else self._checking

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def not_before(self) -> float:
        """When a connection may be opened again."""
        return self._not_before

    # --- decisions ----------------------------------------------------------------------

    @property
    def _coming(self) -> int:
        """So many may be lent soon."""
        return self._opening + self._checking

    def _serve(self, now: float) -> list[Command]:
        commands: list[Command] = []
        while self._waiting and self._may_lend(now):
            commands.append(self._lend(self._waiting.popitem(last=False)[0]))
        while len(self._waiting) > self._coming and self._idle:
            commands.append(self._check(self._idle.popitem()[0]))
        while len(self._waiting) > self._coming and self._may_open(now):
            self._next += 1
            self._opening += 1
            self._lives[self._next] = State.OPENING
            commands.append(Open(self._next))
        if not self._lives:
            commands += [Refuse(waiter, Why.DOWN) for waiter in self._waiting]
            self._waiting.clear()
        return commands

    def _may_open(self, now: float) -> bool:
        if len(self._lives) >= self._limits.connections or now < self._not_before:
            return False
        # Whether it is up again is tried by one, not by all.
        return not (self._failures and self._coming)

    def _is_doubtful(self, connection: int, now: float) -> bool:
        check = self._limits.check
        return check is not None and now >= self._idle[connection] + check

    def _may_lend(self, now: float) -> bool:
        """One is idle, and not in doubt.  If the one used last is, all are."""
        return bool(self._idle) and not self._is_doubtful(next(reversed(self._idle)), now)

    def _check(self, connection: int) -> Check:
        self._lives[connection] = State.CHECKING
        self._checking += 1
        return Check(connection, connection in self._proven)

    def _prove(self, connection: int) -> None:
        self._proven.add(connection)
        # An accept proves little: a balancer whose servers are all down accepts as well.
        self._failures, self._not_before = 0, float("-inf")

    def _fail(self, now: float, draw: float) -> None:
        if now < self._not_before:
            return  # it was opened together with the one that has begun the pause: one try
        self._failures += 1
        pause = self._limits.pause * 2.0 ** min(self._failures - 1, 30)
        self._not_before = now + min(pause, self._limits.longest) * (0.5 + draw / 2)

    def _lend(self, waiter: int) -> Lend:
        connection, _ = self._idle.popitem()
        self._lives[connection] = State.LENT
        return Lend(waiter, connection)

    def _put_back(self, connection: int, now: float) -> list[Command]:
        if self.closed:
            self._bury(connection)
            return [Close(connection)]
        self._lives[connection] = State.IDLE
        self._idle[connection] = now
        commands = self._serve(now)
        self._settle(connection)
        return commands

    def _settle(self, connection: int) -> None:
        """If nobody took it at once, what ends it from now on is its age, as of one that was used:
        a spare one that the server closes for idleness is no sign of a server that is down.
        """
        if self._lives.get(connection) is State.IDLE:
            self._settled.add(connection)

    def _bury(self, connection: int) -> None:
        del self._lives[connection]
        self._idle.pop(connection, None)
        self._proven.discard(connection)
        self._settled.discard(connection)

    def _expect(self, connection: int, state: State) -> None:
        found = self._lives.get(connection)
        if found is not state:
            raise ValueError(f"connection {connection} is {found}, not {state}")
