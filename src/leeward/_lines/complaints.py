"""The errors in words: which server, what was waited for, how long, what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from leeward._core.replies import Reply, TooLarge, Wrong
from leeward._lines.sockets import Address
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

#: Bytes of what came that are shown.
SHOWN = 60


class Unhealthy(Exception):
    """What a check got in place of its reply."""


class Timed(Protocol):
    asked: float
    sent: float
    deadline: float
    patience: float


def full(address: Address, waiting: int, connections: int) -> LineBusy:
    return LineBusy(
        f"{address}: {waiting} calls wait already for one of {connections} connections",
        "Call less, or give LineClient more connections=, or waiters=.",
    )


def down(address: Address, error: BaseException | None, pause: float) -> LineDown:
    why = _reason(error) if error is not None else "not reachable"
    return LineDown(f"{address}: no connection: {why}", f"The next try is in {pause:.2f} s.")


def waited(address: Address, call: Timed, now: float, what: str) -> LineError:
    text = f"{address}: waited {now - call.asked:.2f} s {what}; nothing was sent"
    if call.patience < call.deadline:
        return LineBusy(text, "Give LineClient more connections=, or a longer wait_timeout=.")
    return LineTimeout(text, "Give the call a longer timeout=, or LineClient more connections=.")


def late(address: Address, call: Timed, now: float, begun: bytes) -> LineTimeout:
    waits = f"sent after {call.sent - call.asked:.2f} s, then waited {now - call.sent:.2f} s"
    remedy = "A longer timeout= bears it."
    if begun:
        remedy = "If that is all of the reply, LineClient's end= is not what this server sends."
    text = f"{address}: no reply: {waits}; {_begun(begun)}. The connection is closed."
    return LineTimeout(text, remedy)


def silence(request: bytes, since: float, begun: bytes) -> str:
    """Of a check."""
    return f"the check {request!r} got no reply in {since:.2f} s; {_begun(begun)}"


def unhealthy(
    request: bytes, outcome: Reply | Exception, is_right: Callable[[bytes], object]
) -> Unhealthy | None:
    """What is wrong with a check's outcome, or None."""
    why = ""
    if isinstance(outcome, TooLarge):
        why = f"{outcome.size} bytes and no end"
    elif isinstance(outcome, Wrong):
        why = f"what the function given as check_end= fails at: {outcome}"
    elif isinstance(outcome, Exception):
        why = f"no reply: {_reason(outcome)}"
    elif outcome.excess:
        why = f"more than one reply: {len(outcome.excess)} bytes behind: {outcome.excess[:SHOWN]!r}"
    else:
        shown = repr(outcome.body[:SHOWN])
        try:
            if not is_right(outcome.body):
                why = f"{shown}, which is not what check_reply= says"
            elif not outcome.clear:
                why = f"{shown}, whose end is a guess (check_end=)"
        except Exception as error:  # a function for replies is the application's
            why = f"{shown}, at which the function given as check_reply= fails: {error!r}"
    return Unhealthy(f"the check {request!r} got {why}") if why else None


def early(what: str) -> Unhealthy:
    return Unhealthy(f"the server closed it, or said something (greeting=?), before the {what}")


def broken(address: Address, outcome: Exception, limit: int) -> LineError:
    if isinstance(outcome, TooLarge):
        return BadReply(
            f"{address}: a reply of {outcome.size} bytes or more, where {limit} are allowed",
            "Give LineClient a larger max_reply=, if such replies are right.",
        )
    if isinstance(outcome, Wrong):
        return BadReply(f"{address}: the function given as end= failed: {outcome}")
    return LineLost(
        f"{address}: the connection broke before the reply had ended: {_reason(outcome)}",
        "Whether the call was carried out is not known.",
    )


def excess(address: Address, reply: Reply) -> BadReply:
    more = reply.excess[:SHOWN]
    return BadReply(
        f"{address}: more came than one reply: {len(reply.excess)} bytes behind it: {more!r}",
        "Whose each is cannot be told. Does the server speak first (greeting=)? Is end= right?",
    )


def undecodable(address: Address, encoding: str, body: bytes, error: UnicodeError) -> BadReply:
    at = getattr(error, "start", 0)
    shown = body[max(at - 20, 0) : at + 20]
    return BadReply(
        f"{address}: the reply is not {encoding}: byte {at} of {len(body)}, in {shown!r}",
        "Give LineClient the server's encoding= (gb18030 reads GB2312), or errors='replace'.",
    )


def unsendable(address: Address, why: str) -> BadRequest:
    return BadRequest(f"{address}: not sent: {why}")


def closed(address: Address) -> LineClosed:
    return LineClosed(f"{address}: this LineClient is closed")


def _begun(begun: bytes) -> str:
    return f"{len(begun)} bytes had come" + (f", the last: {begun[-SHOWN:]!r}" if begun else "")


def _reason(error: BaseException) -> str:
    if isinstance(error, Unhealthy):
        return str(error)
    if isinstance(error, EOFError):
        return "the server closed it"
    if isinstance(error, TimeoutError) and not str(error):
        return "timed out"
    return f"{type(error).__name__}: {error}"
