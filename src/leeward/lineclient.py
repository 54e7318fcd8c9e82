"""`leeward.LineClient`: calls over protocols whose replies do not say whose they are.

One line goes out, one reply comes in, and nothing in it tells which request it answers:
Dubbo's telnet, memcached's text, modems and measuring devices are of this kind.  Whoever
shares such a connection (two tasks, two processes after a fork) or uses it on after a
deadline gets somebody else's reply, and no exception.
"""

from __future__ import annotations

import asyncio
import codecs
import math
import os
import re
import ssl
from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Self

from leeward._core.pool import Limits, State
from leeward._core.replies import End, Ended, ending, pattern
from leeward._lines import complaints, forks, sockets
from leeward._lines.checks import Question, Right, judge
from leeward._lines.lender import Counts, Lender, Rules
from leeward.errors import (
    BadReply,
    BadRequest,
    LineBusy,
    LineClosed,
    LineDown,
    LineError,
    LineLost,
    LineTimeout,
)

__all__ = [
    "BadReply",
    "BadRequest",
    "End",
    "Ended",
    "LineBusy",
    "LineClient",
    "LineClosed",
    "LineDown",
    "LineError",
    "LineLost",
    "LineStats",
    "LineTimeout",
    "pattern",
]


@dataclass(frozen=True, slots=True)
class LineStats:
    """Of one process, since it made its first call.

    calls … bad_replies:  calls, and how those ended that are over.
    opened, open_failures:  connections.
    stale:       connections found dead, or with something to say, while they were idle.
    checks, failed_checks:  those that were sent, and those whose connection was closed.
    idle … checking:  connections now.  waiting: calls now.
    """

    pid: int
    calls: int
    replies: int
    timeouts: int
    cancelled: int
    busy: int
    down: int
    lost: int
    bad_replies: int
    opened: int
    open_failures: int
    stale: int
    checks: int
    failed_checks: int
    idle: int = 0
    lent: int = 0
    opening: int = 0
    checking: int = 0
    waiting: int = 0


class LineClient:
    """A small pool of connections to one server, for one call at a time on each.

        dubbo = leeward.LineClient("127.0.0.1:20880", end=b"\\r\\ndubbo>")
        reply = await dubbo.call("ls", timeout=3.0)

    It opens nothing before the first call, so it may be made anywhere: at import, before
    a fork.  Each process that uses it has connections of its own, and a forked child
    closes its copies of its parent's at once.

    address:    "HOST:PORT", "[IPv6]:PORT", "unix:/path" or (host, port).
    end:        where a reply ends: the bytes of its end, a compiled pattern of bytes, or
                a function (`End`).  What is recognised as end by the first two is not
                part of the reply.
    request_end:  put behind each request.  A request that holds it, or would with what is put
                behind it, is refused, as it would be two; of control characters (`\\r\\n`)
                each alone is refused as well.
    greeting:   where that ends which the server says before it is asked; None: it is silent.
    encoding, errors:  of requests and replies, as in `str.encode()`.
    timeout:    seconds for a call, from beginning to end.
    wait_timeout:  seconds of them for which it may wait for a connection, one that is being
                opened included; None: all.
    connect_timeout:  seconds until a connection is there: name, TCP, TLS and greeting.
    connections, waiters:  so many at most; calls beyond both are refused at once.
    idle_timeout:  seconds until an idle connection is closed; 0: never.
    max_reply:  bytes of one reply, its end included.
    first_pause, longest_pause:  seconds between tries to connect while the server is down:
                twice as long each time, less up to a half of it by chance.  Calls are
                refused meanwhile.
    peer_timeout:  seconds after which a server is gone whose machine acknowledges nothing;
                0: as the kernel does it (TCP keep-alive and user timeout).
    check:      a harmless request, in bytes and without its end, for servers that accept and
                do not answer; b"": an empty line; None: there are no checks.  A new
                connection is asked it, and one that was idle for `check_after`, when there
                is a call for it and before that is sent.  One that fails is closed, with
                those that were idle for longer, and another is opened.
    check_end:  where the reply to it ends, like `end`; None: as all replies do.
    check_reply:  what the reply must be: bytes, a compiled pattern of bytes for all of it, or
                a function of it that returns whether it is right; None: any is.
    check_after:  seconds; 0: each time.  Above `idle_timeout` only new ones are asked.
    check_timeout:  seconds for the reply.  On a connection that has answered before it is
                less where a call that waits has less: half of what is left to it.
    ssl, server_hostname:  for TLS; the name defaults to the address's host.

    Nothing is checked while nobody calls: no timer wakes an idle process for it.
    Not for several threads.  Raises ValueError for what cannot be.
    """

    def __init__(
        self,
        address: str | tuple[str, int],
        *,
        end: bytes | re.Pattern[bytes] | End,
        request_end: bytes = b"\r\n",
        greeting: bytes | re.Pattern[bytes] | End | None = None,
        encoding: str = "utf-8",
        errors: str = "strict",
        timeout: float = 10.0,
        wait_timeout: float | None = None,
        connect_timeout: float = 5.0,
        connections: int = 4,
        waiters: int = 100,
        idle_timeout: float = 60.0,
        max_reply: int = 1024 * 1024,
        first_pause: float = 0.1,
        longest_pause: float = 5.0,
        peer_timeout: float = 60.0,
        check: bytes | None = None,
        check_end: bytes | re.Pattern[bytes] | End | None = None,
        check_reply: bytes | re.Pattern[bytes] | Callable[[bytes], object] | None = None,
        check_after: float = 30.0,
        check_timeout: float = 2.0,
        ssl: ssl.SSLContext | None = None,
        server_hostname: str = "",
    ) -> None:
        _seconds(timeout=timeout, connect_timeout=connect_timeout)
        _seconds(first_pause=first_pause, longest_pause=longest_pause)
        _seconds(wait_timeout=timeout if wait_timeout is None else wait_timeout)
        _seconds(least=0.0, idle_timeout=idle_timeout, peer_timeout=peer_timeout)
        _seconds(least=0.0, check_after=check_after)
        _seconds(check_timeout=check_timeout)
        _number(1, connections=connections, max_reply=max_reply)
        _number(0, waiters=waiters)
        codecs.lookup(encoding)
        codecs.lookup_error(errors)
        where = sockets.parse(address)
        self._wire = sockets.Wire(where, peer_timeout, ssl, server_hostname or where.host)
        first = ending(greeting) if greeting is not None else None
        self._encoding, self._errors = encoding, errors
        self._request_end = request_end
        self._second = _second_request(request_end)
        question = self._question(check, check_end, check_reply, end, check_timeout)
        after = None if question is None else check_after
        limits = Limits(connections, waiters, idle_timeout, first_pause, longest_pause, after)
        self._rules = Rules(ending(end), first, max_reply, connect_timeout, question, limits)
        self._timeout = timeout
        self._patience = math.inf if wait_timeout is None else wait_timeout
        self._closed = False
        self._pid = 0
        self._counts = Counts()
        self._lender: Lender | None = None
        #: What the parent had.  Kept: the end of its tasks and futures would be told as if
        #: it were ours.
        self._buried: list[Lender] = []
        forks.watch(self)

    def __repr__(self) -> str:
        return f"<LineClient {self._wire.address}>"

    async def call(self, request: str, timeout: float | None = None) -> str:
        """The reply to `request`.

        timeout:  seconds, instead of the client's.

        A call that is cancelled or whose deadline passes takes its connection along, so
        that its reply cannot come to anybody else.  Raises `LineError`s (see
        `leeward.errors`); nothing is tried twice, as the server may have done it once.
        """
        try:
            line = request.encode(self._encoding, self._errors)
        except UnicodeError as error:
            raise complaints.unsendable(self._wire.address, str(error)) from None
        body = await self.call_bytes(line, timeout)
        try:
            return body.decode(self._encoding, self._errors)
        except UnicodeError as error:
            raise complaints.undecodable(self._wire.address, self._encoding, body, error) from None

    async def call_bytes(self, request: bytes, timeout: float | None = None) -> bytes:
        """The same, without an encoding."""
        if why := self._why_two(request):
            raise complaints.unsendable(self._wire.address, why)
        if timeout is None:
            timeout = self._timeout
        else:
            _seconds(timeout=timeout)
        lender = self._here()
        reply = await lender.call(request + self._request_end, timeout, self._patience)
        return reply.body

    def stats(self) -> LineStats:
        """What this process has done, and does now."""
        self._know_process()
        counted = asdict(self._counts)
        if self._lender is None:
            return LineStats(os.getpid(), **counted)
        pool = self._lender.pool
        states = {state.value: pool.count(state) for state in State}
        return LineStats(os.getpid(), **counted, **states, waiting=pool.waiting)

    async def aclose(self, grace: float = 1.0) -> None:
        """Close this process's connections, for good.

        grace:  seconds for calls that were sent; the others are refused at once.
        """
        self._closed = True
        self._know_process()
        lender, self._lender = self._lender, None
        if lender is None:
            return
        if lender.loop is asyncio.get_running_loop():
            await lender.close(grace)
        else:
            lender.discard()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def forget_parent(self) -> None:
        """For the child of a fork, which calls it by itself."""
        self._pid = os.getpid()
        self._counts = Counts()
        if self._lender is not None:
            self._lender.abandon()
            self._buried.append(self._lender)
            self._lender = None

    def _question(
        self,
        check: bytes | None,
        check_end: bytes | re.Pattern[bytes] | End | None,
        check_reply: Right | None,
        end: bytes | re.Pattern[bytes] | End,
        timeout: float,
    ) -> Question | None:
        if check is None:
            if check_end is not None or check_reply is not None:
                raise ValueError("check_end= and check_reply= are for a check=, and there is none")
            return None
        if not isinstance(check, bytes):
            raise ValueError(f"check={check!r}: expected bytes")
        if why := self._why_two(check):
            raise ValueError(f"check={check!r}: {why}")
        request = check + self._request_end
        if not request:
            raise ValueError("check=b'': nothing would be sent, as request_end= is empty")
        found = ending(end if check_end is None else check_end)
        return Question(request, found, judge(check_reply), timeout)

    def _why_two(self, request: bytes) -> str:
        """Why it would be more than one request, or ""."""
        if self._second is not None and (found := self._second.search(request)):
            at, end = found.start(), found[0]
        else:
            # With the beginning of its end, its tail may be an end as well: b"x;" and b";;".
            end = self._request_end
            at = (request + end).find(end)
            if not end or at == len(request):
                return ""
        return f"byte {at} ends the request ({end!r}), and another would follow"

    def _know_process(self) -> None:
        pid = os.getpid()
        if pid != self._pid:
            if self._pid:
                self.forget_parent()
            self._pid = pid

    def _here(self) -> Lender:
        """The connections of this process, on this loop."""
        self._know_process()
        if self._closed:
            raise complaints.closed(self._wire.address)
        loop = asyncio.get_running_loop()
        lender = self._lender
        if lender is not None and lender.loop is not loop:
            if lender.loop.is_running():
                raise LineError(
                    f"{self._wire.address}: called from two event loops that both run",
                    "Make a LineClient for each thread.",
                )
            lender.discard()
            lender = None
        if lender is None:
            lender = self._lender = Lender(loop, self._wire, self._rules, self._counts)
        return lender


def _second_request(request_end: bytes) -> re.Pattern[bytes] | None:
    """What in a request would end it beside all of `request_end`, or None."""
    if not request_end or not all(byte <= 0x20 or byte == 0x7F for byte in request_end):
        return None
    # Servers that want CR LF take LF alone as well, as a rule.
    return re.compile(b"[" + re.escape(request_end) + b"]")


def _seconds(least: float | None = None, **given: float) -> None:
    for name, value in given.items():
        right = isinstance(value, int | float) and math.isfinite(value)
        if not right or (value <= 0 if least is None else value < least):
            raise ValueError(f"{name}={value!r}: expected seconds")


def _number(least: int, **given: int) -> None:
    for name, value in given.items():
        if not isinstance(value, int) or value < least:
            raise ValueError(f"{name}={value!r}: expected a number from {least} up")
