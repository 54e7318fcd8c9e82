"""Whether a connection answers: something harmless is asked before anything of a caller's.

A server that accepts and hangs, and a firewall that has forgotten a connection, are seen by
nothing that TCP does by itself: only an answer tells.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass

from leeward._core.replies import End, Replies
from leeward._lines import complaints
from leeward._lines.complaints import Unhealthy
from leeward._lines.connection import Connection, Outcome

Right = bytes | re.Pattern[bytes] | Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Question:
    """request:  with its end.
    end:      of its reply.
    is_right:  of the reply's body; may raise.
    timeout:  seconds for the reply.
    """

    request: bytes
    end: End
    is_right: Callable[[bytes], object]
    timeout: float


def judge(right: Right | None) -> Callable[[bytes], object]:
    """The function for a rule that was given in one of its ways."""
    if right is None:
        return lambda body: True
    if isinstance(right, bytes):
        return right.__eq__
    if isinstance(right, re.Pattern):
        if not isinstance(right.pattern, bytes):
            raise ValueError(f"a reply is matched by a pattern of bytes, not {right.pattern!r}")
        return right.fullmatch
    if callable(right):
        return right
    raise ValueError(f"the right reply is bytes, a pattern or a function, not {right!r}")


@dataclass(slots=True)
class _Check:
    """proven: the connection has answered before."""

    connection: Connection
    proven: bool
    asked: float
    due: float
    timer: asyncio.Handle


class Checks:
    """Those that are in flight, one for a connection at most.

    failed:  called when the time of one is over.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        question: Question | None,
        max_reply: int,
        failed: Callable[[Connection, Unhealthy], None],
    ) -> None:
        self._loop = loop
        self._question = question
        self._max_reply = max_reply
        self._failed = failed
        self._asked: dict[int, _Check] = {}

    def ask(self, connection: Connection, proven: bool, patience: float) -> None:
        """patience: until when whoever gives up first waits."""
        assert self._question is not None
        now, number = self._loop.time(), connection.number
        due = now + self._question.timeout
        timer = self._loop.call_at(due, self._late, number)
        self._asked[number] = check = _Check(connection, proven, now, due, timer)
        self._hurry(check, patience)
        connection.replies = Replies(self._question.end, self._max_reply)
        connection.send(self._question.request)

    def hurry(self, patience: float) -> None:
        """Somebody else waits as well, until `patience`."""
        for check in self._asked.values():
            self._hurry(check, patience)

    def forget(self, number: int) -> None:
        check = self._asked.pop(number, None)
        if check is not None:
            check.timer.cancel()

    def is_asked(self, number: int) -> bool:
        return number in self._asked

    def verdict(self, number: int, outcome: Outcome) -> Unhealthy | None:
        """Of what has come; the check is over."""
        assert self._question is not None
        self.forget(number)
        return complaints.unhealthy(self._question.request, outcome, self._question.is_right)

    def told(self) -> str:
        """What is waited for, if it is a check."""
        for number in self._asked:
            return f"for a connection that answers: {self._silence(number)}"
        return ""

    def _silence(self, number: int) -> str:
        assert self._question is not None
        check = self._asked[number]
        since, begun = self._loop.time() - check.asked, bytes(check.connection.replies.begun)
        return complaints.silence(self._question.request, since, begun)

    def _hurry(self, check: _Check, patience: float) -> None:
        # Half of his time is left for another connection.  A new one has nobody to make
        # room for: it is as slow as the next would be.
        by = self._loop.time() + (patience - self._loop.time()) / 2
        if check.proven and by < check.due:
            check.timer.cancel()
            check.due = by
            check.timer = self._loop.call_at(by, self._late, check.connection.number)

    def _late(self, number: int) -> None:
        self._failed(self._asked[number].connection, Unhealthy(self._silence(number)))
