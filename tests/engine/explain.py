"""Why two verdicts differ: each difference by one rule of STRICTER or LEGAL, or by none.

The rules are judged here once more, from the octets and by other means than the
engine's: what the engine says of itself (`Verdict.rule`) is only where to look.
"""

from __future__ import annotations

import re
import string
from base64 import b64decode
from collections.abc import Callable
from ipaddress import IPv6Address

from engine.sides import Request, Simulated, Verdict

from leeward.engine.rules import LEGAL, STRICTER

_TCHAR = set("!#$%&'*+-.^_`|~" + string.digits + string.ascii_letters)
_REG_NAME = set("-._~!$&'()*+;=%" + string.digits + string.ascii_letters)
#: More differences than an input can have.
_MOST = 20


class Unexplained(Exception):
    """A difference that no rule covers: a bug here or there."""


# --- STRICTER: is it true of this head? ----------------------------------------------------


def _lines(head: bytes) -> list[str]:
    return [it.rstrip("\r") for it in head.decode("latin-1").strip("\r\n").split("\n")]


def _values(head: bytes, name: str) -> list[str]:
    parts = [it.partition(":") for it in _lines(head)[1:]]
    return [value.strip(" \t") for key, _, value in parts if key.lower() == name]


def _host_broken(host: str) -> bool:
    if host.startswith("["):
        literal, closed, port = host[1:].partition("]")
        if not closed or (port and not port.startswith(":")):
            return True
        port = port[1:]
        if literal[:1] in ("v", "V"):
            digits, dot, name = literal[1:].partition(".")
            name = name.replace(":", "") if name != ":" else "c"
            hexadecimal = bool(digits) and not set(digits) - set(string.hexdigits)
            broken = not (hexadecimal and dot) or "%" in name or bool(set(name) - _REG_NAME)
            broken = broken or (literal.endswith(".") and literal.count(".") == 1)
        else:
            address, zone, scope = literal.partition("%25")
            broken = (
                "%" in address
                or (zone and not scope)
                or set(scope) - (_REG_NAME - set("!$&'()*+;=%"))
            )
            try:
                IPv6Address(address)
            except ValueError:
                broken = True
    else:
        name, _, port = host.partition(":")
        broken = set(name) - _REG_NAME or "%" in re.sub("%[0-9a-fA-F]{2}", "", name)
    return bool(broken or set(port) - set(string.digits) or len(port) > 5)


def _target_broken(head: bytes) -> bool:
    method, target, _ = _lines(head)[0].split(" ")
    if method == "CONNECT":
        return _host_broken(target) or not re.search("[^:]:[0-9]+$", target)
    if target.startswith("/"):
        return False
    if target == "*":
        return method != "OPTIONS"
    scheme, sep, rest = target.partition("://")
    authority = re.split("[/?]", rest)[0]
    name = authority if authority.startswith("[") else authority.partition(":")[0]
    return (
        not sep
        or not re.fullmatch("[a-zA-Z][-+.0-9a-zA-Z]*", scheme)
        or not name
        or _host_broken(authority)
    )


def _request_line_broken(head: bytes) -> bool:
    parts = _lines(head)[0].split(" ")
    return (
        len(parts) != 3
        or not parts[0]
        or bool(set(parts[0]) - _TCHAR)
        or not parts[1]
        or any(ord(it) <= 0x20 or ord(it) == 0x7F for it in parts[1])
    )


def _name_broken(line: str) -> bool:
    name, colon, _ = line.partition(":")
    return not colon or not name or bool(set(name) - _TCHAR)


def _control(text: str) -> bool:
    return any((ord(it) < 0x20 and it != "\t") or ord(it) == 0x7F for it in text)


_KEY = "sec-websocket-key"


def _handshake(head: bytes) -> bool:
    upgrades = ",".join(_values(head, "upgrade")).lower()
    return upgrades == "websocket" and bool(_values(head, _KEY))


def _sixteen(keys: list[str]) -> bool:
    try:
        return (
            len(keys) == 1 and len(keys[0]) == 24 and len(b64decode(keys[0], validate=True)) == 16
        )
    except ValueError:
        return False


_FRAMING = ("content-length", "transfer-encoding", "host")

#: Is the rule broken by this head?  One for each rule that refuses.
REFUSALS: dict[str, Callable[[bytes], bool]] = {
    "bare-cr": lambda head: re.search(rb"\r[^\n]", head) is not None,
    "request-line": _request_line_broken,
    "target-form": _target_broken,
    "field-name": lambda head: any(map(_name_broken, _lines(head)[1:])),
    "field-value": lambda head: any(_control(it.partition(":")[2]) for it in _lines(head)[1:]),
    "obs-fold": lambda head: any(it[:1] in (" ", "\t") for it in _lines(head)[1:] if it),
    "framing-octets": lambda head: any(
        not value.isascii() for name in _FRAMING for value in _values(head, name)
    ),
    "transfer-encoding": lambda head: (
        [it.lower() for it in _values(head, "transfer-encoding")] != ["chunked"]
        and bool(_values(head, "transfer-encoding"))
    ),
    "host-missing": lambda head: (
        not _values(head, "host") and not _lines(head)[0].endswith("HTTP/1.0")
    ),
    "host-duplicate": lambda head: "," in ",".join(_values(head, "host")),
    "host-invalid": lambda head: any(map(_host_broken, _values(head, "host"))),
    "websocket-key": lambda head: _handshake(head) and not _sixteen(_values(head, _KEY)),
    "websocket-1.0": lambda head: _handshake(head) and _lines(head)[0].endswith("HTTP/1.0"),
}


# --- STRICTER: must the connection close, must 100 not be sent? ---------------------------------


def _value(request: Request, name: str) -> str | None:
    values = [value for key, value in request.headers if key == name]
    return ",".join(values) if values else None


def _closing(request: Request) -> list[str]:
    names = []
    if request.version == "HTTP/1.0" and _value(request, "Transfer-Encoding") is not None:
        names.append("transfer-encoding-1.0")
    options = (_value(request, "Connection") or "").lower()
    if request.version == "HTTP/1.1" and "close" in re.split("[ \t]*,[ \t]*", options):
        names.append("connection-close")
    return names


def _expecting(ours: Request, theirs: Request) -> str | None:
    if ours._replace(expected=theirs.expected) != theirs:
        return None
    if theirs.expected and ours.version == "HTTP/1.0":
        return "expect-1.0"
    value = _value(ours, "Expect") or ""
    if ours.expected and value != "100-continue" and value.lower() == "100-continue":
        return "expect-case"
    return None


# --- LEGAL: what the body would be without ----------------------------------------------------

_QUOTED = rb'"(?:[^"\\\r\n\x00-\x08\x0a-\x1f\x7f]|\\[^\r\n\x00-\x08\x0a-\x1f\x7f])*"'
_WORD = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_EXTENSIONS = rb"(?:[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?)+" % (_WORD, _WORD, _QUOTED)
_TRAILERS = rb"(?:%b:[^\r\n\x00-\x08\x0a-\x1f\x7f]*\r\n)+" % _WORD


def _without(data: bytes) -> tuple[str, bytes, bool]:
    """The rule for the first legal thing in a chunked body, the body without it, is it whole.

    Raises Unexplained when there is none.
    """
    at = 0
    while match := re.compile(rb"([0-9a-fA-F]{1,62})(%b)?\r\n" % _EXTENSIONS).match(data, at):
        if match[2]:
            return "chunk-extension", data[: match.start(2)] + data[match.end(2) :], True
        at = match.end()
        size = int(match[1], 16)
        if not size:
            trailers = re.compile(rb"%b(?=\r\n)" % _TRAILERS).match(data, at)
            if trailers:
                return "trailer", data[:at] + data[trailers.end() :], True
            # A single LF is looked at when a second octet is there.
            if re.fullmatch(rb"(?:%b)?(?:[^\r\n]*\r?|\n)" % _TRAILERS, data[at:]):
                return "trailer", data, False
            break
        at += size
        if data[at : at + 2] != b"\r\n":
            break
        at += 2
    if re.compile(rb"[0-9a-fA-F]{1,62}[ \t]*;[^\r\n]*\r?").fullmatch(data, at):
        return "chunk-extension", data, False
    raise Unexplained("the body is not legal")


# --- all together -----------------------------------------------------------------------------


def explain(wire: bytes, ours: Verdict, tornado: Simulated) -> list[str]:
    """The rules that make ours differ from Tornado's, in order; raises Unexplained."""
    theirs = tornado([wire])
    names: list[str] = []
    allowed: dict[int, bool] = {}
    for _ in range(_MOST):
        # A difference that was explained stays so when the input is read again.
        fixed = tuple(
            it._replace(expected=allowed.get(at, it.expected))
            for at, it in enumerate(theirs.requests)
        )
        if (fixed, theirs.end) == ours[:2]:
            _enforced(wire, ours, tornado.heads)
            # What Tornado still carried out behind the answer with which it closed.
            return names + [theirs.rule] * bool(theirs.rule)
        at = next(
            (n for n, (a, b) in enumerate(zip(ours.requests, fixed, strict=False)) if a != b),
            min(len(ours.requests), len(fixed)),
        )
        if at < len(ours.requests) and at < len(fixed):
            name = _expecting(ours.requests[at], fixed[at])
            if name is None:
                raise Unexplained(f"request {at} is another")
            allowed[at] = ours.requests[at].expected
        elif at == len(ours.requests) and ours.end == "refused":
            name = ours.rule
            if not _refuses(name, wire, tornado.heads, at):
                raise Unexplained(f"request {at} is refused by {name or 'no rule'}")
            theirs = Verdict(theirs.requests[:at], "refused")
        elif at == len(ours.requests) and ours.end == "closed" and at:
            rules = _closing(ours.requests[-1])
            if not rules:
                raise Unexplained(f"closed after request {at - 1}")
            name = rules[0]
            theirs = Verdict(theirs.requests[:at], "closed")
        elif at == len(fixed) and theirs.end == "refused" and at < len(tornado.heads):
            start = tornado.heads[at][1]
            name, body, whole = _without(wire[start:])
            wire = wire[:start] + body
            theirs = tornado([wire]) if whole else theirs._replace(end="incomplete")
        else:
            raise Unexplained(f"at request {at}: {ours.end}, {theirs.end}")
        names.append(name)
    raise Unexplained("too many differences")


def _enforced(wire: bytes, ours: Verdict, heads: list[tuple[int, int]]) -> None:
    """Raise if a rule was broken, and the request taken all the same."""
    for at, request in enumerate(ours.requests):
        head = wire[slice(*heads[at])]
        for name, broken in REFUSALS.items():
            if broken(head):
                raise Unexplained(f"request {at} is taken in spite of {name}")
        last = at == len(ours.requests) - 1
        if _closing(request) and not (last and ours.end == "closed"):
            raise Unexplained(f"open after request {at}")
        asked = (_value(request, "Expect") or "").lower() == "100-continue"
        if request.expected != (asked and request.version != "HTTP/1.0"):
            raise Unexplained(f"request {at} got 100, or did not")


def _refuses(name: str, wire: bytes, heads: list[tuple[int, int]], at: int) -> bool:
    return name in REFUSALS and at < len(heads) and REFUSALS[name](wire[slice(*heads[at])])


KNOWN = frozenset(rule.name for rule in (*STRICTER, *LEGAL))
