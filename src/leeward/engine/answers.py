"""The head of an answer: from its status and its headers to octets."""

from __future__ import annotations

import re

from tornado.escape import native_str, utf8

_LINE_BREAK = re.compile(r"[\r\n]")

#: Status lines that were sent, by code and reason; handlers may make up reasons.
_STATUS: dict[tuple[int, str], bytes] = {}
_REASONS = 256

#: What Tornado begins each answer with, in this order.
_FIRST = ["Server", "Content-Type", "Date"]
#: Heads up to there.  Date is one of them: most are of no use a second later.
_openings: dict[tuple[int, str, str, str, str], bytes] = {}
_OPENINGS = 64
#: Longer ones are not kept; in octets.
_LONGEST = 512


def head_of(code: int, reason: str, fields: dict[str, list[str]]) -> bytes:
    """Raises ValueError for a line break within a line."""
    status = _STATUS.get((code, reason))
    if status is None:
        if _LINE_BREAK.search(reason):
            raise ValueError(f"Illegal characters (CR or LF) in header: {reason!r}")
        status = utf8(f"HTTP/1.1 {code} {reason}\r\n")
        if len(_STATUS) < _REASONS:
            _STATUS[code, reason] = status
    try:
        lines = [name + ": " + value for name, values in fields.items() for value in values]
    except TypeError:  # bytes, which Tornado lets pass
        lines = [
            f"{native_str(name)}: {native_str(value)}"
            for name, values in fields.items()
            for value in values
        ]
    if not lines:
        return status + b"\r\n"
    text = "\r\n".join(lines)
    breaks = len(lines) - 1
    if text.count("\n") != breaks or text.count("\r") != breaks:
        wrong = next((it for it in lines if _LINE_BREAK.search(it)), "")
        raise ValueError(f"Illegal characters (CR or LF) in header: {wrong!r}")
    return status + text.encode("latin1") + b"\r\n\r\n"


def opening_of(code: int, reason: str, fields: dict[str, list[str]]) -> bytes | None:
    """The lines of `fields`, if they are those that each answer begins with, and no others.

    Most answers have no others but those that are made with them (Etag, Content-Length):
    then this saves 0.7 of the 1.1 µs that `head_of` takes.
    """
    if [*fields] != _FIRST:
        return None
    try:
        (server,), (kind,), (date,) = fields.values()
        return _openings.get((code, reason, server, kind, date)) or _open(
            code, reason, server, kind, date
        )
    except ValueError:
        return None  # a header twice, or a line break, which `head_of` tells of


def _open(code: int, reason: str, *values: str) -> bytes:
    server, kind, date = values
    made = head_of(code, reason, {name: [it] for name, it in zip(_FIRST, values, strict=True)})
    opening = made[:-2]
    if len(_openings) >= _OPENINGS:
        _openings.clear()
    if len(opening) <= _LONGEST:
        _openings[code, reason, server, kind, date] = opening
    return opening
