"""The grammar that requests are held to: targets, hosts, header lines, framing.

Everything here is a question about text that raises `BadRequest` with the name of
its rule; nothing is kept.  Sources: RFC 9110, RFC 9112, RFC 3986.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import AddressValueError, IPv6Address

from leeward.engine.rules import BadRequest

TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_REQUEST_LINE = re.compile(rf"{TOKEN.pattern} [^\x00-\x20\x7F]+ HTTP/1\.[0-9]")
_CONTROL = re.compile(r"[\x00-\x08\x0A-\x1F\x7F]")
_BARE_CR = re.compile(r"\r(?!\n)")
_LINE_END = re.compile(r"\r?\n")
#: RFC 9112 §2.2: an empty line before a request is ignored.  A second one cannot be
#: here: it would have ended the head.
_EMPTY_LINE = re.compile(r"\A\r?\n")

_NAME = r"(?:[A-Za-z0-9\-._~!$&'()*+;=]|%[0-9A-Fa-f]{2})"
_LITERAL = (
    r"\[(?:([0-9A-Fa-f:.]{2,45})(?:%25[A-Za-z0-9\-._~]+)?"
    r"|[vV][0-9A-Fa-f]+\.[A-Za-z0-9\-._~!$&'()*+;=:]+)\]"
)
#: RFC 3986 §3.2.2, but for commas: they are how several Host lines look when joined.
#: Ports of thousands of digits fail in Tornado (`int` refuses them), without an answer.
_HOST = re.compile(rf"(?:{_LITERAL}|{_NAME}*)(?::[0-9]{{0,5}})?")
_ABSOLUTE = re.compile(
    rf"[A-Za-z][A-Za-z0-9+.\-]*://(?:{_LITERAL}|{_NAME}+)(?::[0-9]{{0,5}})?(?:[/?].*)?"
)
_AUTHORITY = re.compile(rf"(?:{_LITERAL}|{_NAME}+):[0-9]{{1,5}}")

#: 16 octets in base64, as strict as npm's ws.
_WEBSOCKET_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
_DIGITS = re.compile(r"[0-9]+")
_COMMA = re.compile(r",[ \t]*")
_FRAMING = frozenset({"content-length", "transfer-encoding", "host"})


#: Octets of the body (0 when there is none, -1 when it is chunked), and whether the
#: connection is kept, 100 is expected, and an upgrade asked for.  A plain tuple: a named
#: one costs 0.2 µs more.
Framing = tuple[int, bool, bool, bool]


#: Headers that `framing` asks for, and what it says in HTTP/1.1 where there is none of them.
ASKED = frozenset({"Connection", "Content-Length", "Expect", "Transfer-Encoding", "Upgrade"})
NOTHING: Framing = (0, True, False, False)


def _is_host(match: re.Match[str] | None) -> bool:
    """Whether a host was found, and its IPv6 address, if it has one, is one."""
    if match is None:
        return False
    try:
        return not match[1] or bool(IPv6Address(match[1]))
    except AddressValueError:
        return False


def check_target(method: str, target: str) -> None:
    """Raise unless `target` has a form that RFC 9112 §3.2 allows for `method`."""
    if method == "CONNECT":
        good = _is_host(_AUTHORITY.fullmatch(target))
    else:
        good = (
            target.startswith("/")
            or (target == "*" and method == "OPTIONS")
            or _is_host(_ABSOLUTE.fullmatch(target))
        )
    if not good:
        raise BadRequest("target-form", f"{method} cannot have the target {target[:80]!r}")


def check_host(host: str | None, version: str) -> None:
    """Raise unless Host is there (but for HTTP/1.0), once, and a host with an optional port."""
    if host is None:
        if version == "HTTP/1.0":
            return
        raise BadRequest("host-missing", "Missing Host header")
    if "," in host:
        raise BadRequest("host-duplicate", f"Multiple host headers not allowed: {host[:80]!r}")
    if not _is_host(_HOST.fullmatch(host)):
        raise BadRequest("host-invalid", f"Invalid Host header: {host[:80]!r}")


def check_text(text: str) -> None:
    """Raise the rule that a head's text breaks line by line; `text` has no end of head."""
    if _BARE_CR.search(text):
        raise BadRequest("bare-cr", "CR without LF")
    request, *lines = _LINE_END.split(_EMPTY_LINE.sub("", text))
    if not _REQUEST_LINE.fullmatch(request):
        raise BadRequest("request-line", f"Malformed HTTP request line {request[:80]!r}")
    for line in lines:
        if line[:1] in (" ", "\t"):
            raise BadRequest("obs-fold", "header line cannot start with whitespace")
        name, colon, value = line.partition(":")
        if not colon:
            raise BadRequest("field-name", "no colon in header line")
        if not TOKEN.fullmatch(name):
            raise BadRequest("field-name", f"Invalid header name {name[:80]!r}")
        if _CONTROL.search(value):
            raise BadRequest("field-value", f"Control character in header {name[:80]}")
        if name.lower() in _FRAMING and not value.isascii():
            if "," in value:  # in Tornado's words
                raise BadRequest("framing-octets", f"Multiple unequal Content-Lengths: {value!r}")
            raise BadRequest("framing-octets", f"Header {name} is not ASCII")


def framing(
    method: str, version: str, get: Callable[[str], str | None], most: int | None
) -> Framing:
    """How long the body is and what becomes of the connection, by `get(header name)`.

    `most` is the bound of Content-Length in octets, None for none.  Raises BadRequest.
    """
    length, coding, connection = get("Content-Length"), get("Transfer-Encoding"), get("Connection")
    expect = get("Expect")
    size = 0
    if length is not None:
        if coding is not None:
            raise BadRequest(
                "length-and-coding", "Message with both Transfer-Encoding and Content-Length"
            )
        size = content_length(length, most)
    elif coding is not None:
        if coding.lower() != "chunked":
            raise BadRequest("transfer-encoding", f"Unsupported Transfer-Encoding {coding[:80]}")
        size = -1
    upgrade = get("Upgrade")
    if upgrade is not None:
        check_websocket(upgrade, get("Sec-Websocket-Key"), version)
    option = None if connection is None else connection.lower()
    if version == "HTTP/1.1":
        keep_alive = option is None or "close" not in option or not _closes(option)
    else:
        # An HTTP/1.0 peer may not know where a chunked body ends: RFC 9112 §6.1.
        framed = length is not None or (coding is not None and version != "HTTP/1.0")
        bodiless = coding is None and method in ("GET", "HEAD")
        keep_alive = option == "keep-alive" and (framed or bodiless)
    return (
        size,
        keep_alive,
        expect is not None and version != "HTTP/1.0" and expect.lower() == "100-continue",
        upgrade is not None,
    )


def check_websocket(upgrade: str, key: str | None, version: str) -> None:
    """Raise if this begins a WebSocket that RFC 6455 §4.2.1 does not allow.

    Without a key it is no handshake: Tornado's WebSocketHandler refuses it itself.
    """
    if key is None or upgrade.lower() != "websocket":
        return
    if version == "HTTP/1.0":
        raise BadRequest("websocket-1.0", "WebSocket handshake in HTTP/1.0")
    if not _WEBSOCKET_KEY.fullmatch(key):
        raise BadRequest("websocket-key", f"Invalid Sec-WebSocket-Key: {key[:80]!r}")


def _closes(option: str) -> bool:
    return "close" in (it.strip(" \t") for it in option.split(","))


def content_length(value: str, most: int | None = None) -> int:
    """The number in a Content-Length, which may be repeated (`5, 5`); raises BadRequest."""
    first, *others = _COMMA.split(value)
    if any(it != first for it in others):
        raise BadRequest("content-length", f"Multiple unequal Content-Lengths: {value[:80]!r}")
    if not _DIGITS.fullmatch(first):
        raise BadRequest("content-length", f"Only integer Content-Length is allowed: {value[:80]}")
    # `int` itself refuses more than 4300 digits; no limit has more than 18.
    size = int(first) if len(first) <= 18 else 10**18
    check_length(size, most)
    return size


def check_length(length: int, most: int | None) -> None:
    """Raise unless a body of `length` octets is within `most`."""
    if most is not None and length > most:
        raise BadRequest("body-too-large", "Content-Length too long")
