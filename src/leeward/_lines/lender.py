"""Carries out what the pool decides: one process, one loop, one server."""

from __future__ import annotations

import asyncio
import contextvars
import math
import random
import socket
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from leeward._core.pool import Check, Close, Command, Lend, Limits, Open, Pool, Refuse, State, Why
from leeward._core.replies import End, Replies, Reply
from leeward._lines import complaints, sockets
from leeward._lines.checks import Checks, Question
from leeward._lines.connection import Connection, Outcome, Unexpected
from leeward.errors import LineDown, LineError


@dataclass(frozen=True, slots=True)
class Rules:
    """end, greeting:  of a reply, and of what the server says first (None: nothing).
    max_reply:      bytes of one reply, its end included.
    connect_timeout:  seconds until there is a connection, greeting included.
    question:       for its checks; None: there are none.
    """

    end: End
    greeting: End | None
    max_reply: int
    connect_timeout: float
    question: Question | None
    limits: Limits


@dataclass(slots=True)
class Counts:
    calls: int = 0
    replies: int = 0
    timeouts: int = 0
    cancelled: int = 0
    busy: int = 0
    down: int = 0
    lost: int = 0
    bad_replies: int = 0
    opened: int = 0
    open_failures: int = 0
    stale: int = 0
    checks: int = 0
    failed_checks: int = 0


class Call:
    """One request on its way.  Times are the loop's."""

    __slots__ = (
        "asked", "connection", "deadline", "due", "future", "number", "patience", "request", "sent",
        "timer",
    )  # fmt: skip

    def __init__(
        self, number: int, request: bytes, now: float, timeout: float, patience: float
    ) -> None:
        self.number = number
        self.request = request
        self.asked = now
        self.deadline = now + timeout
        #: Until when it waits for a connection.
        self.patience = now + min(patience, timeout)
        self.sent = 0.0
        self.connection: Connection | None = None
        self.future: asyncio.Future[Reply]
        # Not by `when()`, here and elsewhere: uvloop's handles of what is due within 0.5 ms
        # have none.
        self.timer: asyncio.Handle | None = None
        self.due = 0.0

    def end(self, outcome: Outcome) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self.future.done():
            return  # its caller was cancelled
        if isinstance(outcome, Exception):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


class Lender:
    """The connections of one process, on one loop."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, wire: sockets.Wire, rules: Rules, counts: Counts
    ) -> None:
        self.loop = loop
        self.counts = counts
        self.pool = Pool(rules.limits)
        self._wire = wire
        self._rules = rules
        self._sockets: set[socket.socket] = set()
        self._connections: dict[int, Connection] = {}
        self._openings: dict[int, asyncio.Task[None]] = {}
        self._greetings: dict[int, asyncio.Future[Outcome]] = {}
        self._checks = Checks(loop, rules.question, rules.max_reply, self._unhealthy)
        self._waiting: dict[int, Call] = {}
        #: By the connection that it is lent.
        self._lent: dict[int, Call] = {}
        self._next = 0
        self._timer: asyncio.Handle | None = None
        self._due = 0.0
        self._last_error: BaseException | None = None
        self._empty: asyncio.Future[None] | None = None

    # --- for the client -----------------------------------------------------------------

    async def call(self, request: bytes, timeout: float, patience: float) -> Reply:
        self.counts.calls += 1
        self._next += 1
        call = Call(self._next, request, self.loop.time(), timeout, patience)
        call.future = self.loop.create_future()
        self._waiting[call.number] = call
        try:
            self._carry_out(self.pool.ask(call.number, call.asked))
            if not call.future.done() and call.timer is None:
                self._set_timer(call, call.patience)
                self._checks.hurry(call.patience)
            return await call.future
        finally:
            self._leave(call)

    async def close(self, grace: float) -> None:
        """Calls that were sent have `grace` seconds to be answered."""
        self._carry_out(self.pool.close())
        if self._lent and grace > 0:
            self._empty = self.loop.create_future()
            await asyncio.wait([self._empty], timeout=grace)
        for connection in list(self._connections.values()):
            # One that waits for its greeting ends with its task: the pool has forgotten it.
            if connection.number not in self._openings:
                self._drop(connection, complaints.closed(self._wire.address))
        if self._timer is not None:
            self._timer.cancel()
        # So that no task outlives the loop: they have been cancelled.
        await asyncio.gather(*self._openings.values(), return_exceptions=True)

    def abandon(self) -> None:
        """In a forked child: close its copies, touch nothing that its parent has too."""
        while self._sockets:
            sockets.abandon(self._sockets.pop())

    def discard(self) -> None:
        """Its loop does not run any more."""
        if not self.loop.is_closed():
            for connection in self._connections.values():
                connection.close()
        while self._sockets:
            self._sockets.pop().close()

    # --- for connections ----------------------------------------------------------------

    def came(self, connection: Connection, outcome: Outcome) -> None:
        greeting = self._greetings.pop(connection.number, None)
        if greeting is not None:
            if not greeting.done():
                greeting.set_result(outcome)
            return
        if self._checks.is_asked(connection.number):
            self._checked(connection, outcome)
            return
        call = self._lent.get(connection.number)
        if isinstance(outcome, Exception):
            if call is None:
                self.counts.stale += 1
                self._drop(connection, outcome, failed=True)
                return
            error = complaints.broken(self._wire.address, outcome, self._rules.max_reply)
            self._count(outcome)
            self._drop(connection, error, failed=isinstance(outcome, OSError | EOFError))
            return
        assert call is not None, "what was not asked for is Unexpected"
        if outcome.excess:
            self.counts.bad_replies += 1
            self._drop(connection, complaints.excess(self._wire.address, outcome))
            return
        self.counts.replies += 1
        del self._lent[connection.number]
        call.end(outcome)
        self._carry_out(self.pool.answered(connection.number, self.loop.time(), outcome.clear))

    # --- commands -----------------------------------------------------------------------

    def _carry_out(self, commands: Iterable[Command]) -> None:
        left = deque(commands)
        while left:
            command = left.popleft()
            if isinstance(command, Lend):
                left.extend(self._lend(command))
            elif isinstance(command, Open):
                # Not in the context of the call that happens to be first: whatever that
                # holds would be kept as long as the connection.
                task = self.loop.create_task(
                    self._open(command.connection), context=contextvars.Context()
                )
                self._openings[command.connection] = task
            elif isinstance(command, Check):
                left.extend(self._check(command))
            elif isinstance(command, Close):
                self._shut(command.connection)
            else:
                self._refuse(command)
        if self._empty is not None and not self._lent and not self._empty.done():
            self._empty.set_result(None)
        self._arm()

    def _lend(self, command: Lend) -> list[Command]:
        connection, call = self._connections[command.connection], self._waiting[command.waiter]
        now = self.loop.time()
        if call.future.done() or now >= call.deadline:
            # Neither the caller's task nor his timer has had its turn yet.
            (self._leave if call.future.done() else self._late)(call)
            return self.pool.unused(command.connection, now)
        if not connection.is_silent():
            self.counts.stale += 1
            self._shut(command.connection)
            self._last_error = complaints.early("call")
            return self.pool.stale(command.connection, command.waiter, now, random.random())
        del self._waiting[command.waiter]
        self._lent[command.connection] = call
        call.connection = connection
        call.sent = now
        self._set_timer(call, call.deadline)
        connection.send(call.request)
        return []

    def _check(self, command: Check) -> list[Command]:
        number, proven = command
        connection = self._connections[number]
        if not connection.is_silent():
            self.counts.stale += 1
            self._shut(number)
            self._last_error = complaints.early("check")
            # One that was idle is stale, as when it is lent.  Of a new one it is a failure:
            # another would be opened at once, and another.
            now = self.loop.time()
            return self.pool.dropped(number, now, random.random(), failed=not proven)
        self.counts.checks += 1
        patience = min((call.patience for call in self._waiting.values()), default=math.inf)
        self._checks.ask(connection, proven, patience)
        return []

    def _checked(self, connection: Connection, outcome: Outcome) -> None:
        wrong = self._checks.verdict(connection.number, outcome)
        if wrong is not None:
            self._unhealthy(connection, wrong)
            return
        connection.replies = Replies(self._rules.end, self._rules.max_reply)
        self._carry_out(self.pool.checked(connection.number, self.loop.time()))

    def _unhealthy(self, connection: Connection, error: complaints.Unhealthy) -> None:
        self.counts.failed_checks += 1
        self._drop(connection, error, failed=True)

    def _refuse(self, command: Refuse) -> None:
        call = self._waiting.pop(command.waiter)
        address, pool = self._wire.address, self.pool
        error: LineError
        if command.why is Why.FULL:
            self.counts.busy += 1
            error = complaints.full(address, pool.waiting, self._rules.limits.connections)
        elif command.why is Why.DOWN:
            self.counts.down += 1
            pause = pool.not_before - self.loop.time()
            error = complaints.down(address, self._last_error, max(pause, 0.0))
        else:
            error = complaints.closed(address)
        call.end(error)

    def _shut(self, number: int) -> None:
        self._checks.forget(number)
        if (task := self._openings.get(number)) is not None:
            task.cancel()
        elif (connection := self._connections.pop(number, None)) is not None:
            connection.close()
            self._sockets.discard(connection.sock)

    # --- what happens -------------------------------------------------------------------

    async def _open(self, number: int) -> None:
        """Tells the pool how it went, unless it was the pool that wanted it to end."""
        rules, connection = self._rules, None
        try:
            async with asyncio.timeout(rules.connect_timeout):
                sock, tls = await sockets.connect(
                    self.loop, self._wire, rules.connect_timeout, self._sockets
                )
                first = Replies(rules.greeting or rules.end, rules.max_reply)
                connection = Connection(number, self.loop, sock, tls, first, self)
                self._connections[number] = connection
                await self._greet(connection)
        except BaseException as error:
            del self._openings[number]
            self._greetings.pop(number, None)
            self._shut(number)
            if not self.pool.closed:
                self.counts.open_failures += 1
                self._last_error = error
                self._carry_out(self.pool.dropped(number, self.loop.time(), random.random()))
            if not isinstance(error, Exception):
                raise
            return
        del self._openings[number]
        self.counts.opened += 1
        self._carry_out(self.pool.opened(number, self.loop.time()))

    async def _greet(self, connection: Connection) -> None:
        rules = self._rules
        if rules.greeting is None:
            connection.start()
            return
        greeting = self._greetings[connection.number] = self.loop.create_future()
        connection.asked = True
        connection.start()
        outcome = await greeting
        if isinstance(outcome, Exception):
            raise outcome
        if outcome.excess:
            raise Unexpected(outcome.excess)
        connection.replies = Replies(rules.end, rules.max_reply)

    def _drop(self, connection: Connection, error: Exception, failed: bool = False) -> None:
        """Whoever was lent it has lost it, and nobody is lent it again."""
        number = connection.number
        self._shut(number)
        if failed:
            self._last_error = error
        call = self._lent.pop(number, None)
        if call is not None:
            call.end(error)
        now = self.loop.time()
        self._carry_out(self.pool.dropped(number, now, random.random(), failed))

    def _leave(self, call: Call) -> None:
        """Its caller has what it waited for, or was cancelled."""
        if call.timer is not None:
            call.timer.cancel()
        if self._waiting.pop(call.number, None) is not None:
            self.counts.cancelled += 1
            self.pool.forget(call.number)
            return
        connection = call.connection
        if connection is not None and self._lent.get(connection.number) is call:
            self.counts.cancelled += 1
            # Its reply comes later, and must not come to the next.
            self._drop(connection, LineDown("cancelled"))

    def _set_timer(self, call: Call, when: float) -> None:
        if call.timer is not None:
            if call.due == when:
                return
            call.timer.cancel()
        call.due = when
        call.timer = self.loop.call_at(when, self._late, call)

    def _late(self, call: Call) -> None:
        now = self.loop.time()
        if self._waiting.pop(call.number, None) is not None:
            self.pool.forget(call.number)
            what = self._checks.told() or "for a connection that no other call uses"
            if not self.pool.count(State.LENT) and not self.pool.count(State.CHECKING):
                what = "to be connected"
            if call.patience < call.deadline:
                self.counts.busy += 1
            else:
                self.counts.timeouts += 1
            call.end(complaints.waited(self._wire.address, call, now, what))
        elif call.connection is not None and not call.future.done():
            self.counts.timeouts += 1
            begun = bytes(call.connection.replies.begun)
            self._drop(call.connection, complaints.late(self._wire.address, call, now, begun))

    def _count(self, outcome: Exception) -> None:
        if isinstance(outcome, OSError | EOFError):
            self.counts.lost += 1
        else:
            self.counts.bad_replies += 1

    def _arm(self) -> None:
        due = self.pool.due()
        if due is not None and (self._timer is None or due < self._due):
            if self._timer is not None:
                self._timer.cancel()
            self._due = due
            self._timer = self.loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._carry_out(self.pool.tick(self.loop.time()))
