"""How a line of the access log looks: pretty, combined or json.

All that a client chose is in it, so nothing of it can end the line, steer a terminal or
leave its field.  A line costs 1 to 2 µs: what does not change within a second is made once
a second, and text is escaped only where something in it needs that.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Protocol

from leeward._sys import lines
from leeward._sys.lines import Look
from leeward._worker.logs import ACCESS

if TYPE_CHECKING:
    from tornado.httputil import HTTPServerRequest

LEVELS = ("info", "warning", "error")
UNKNOWN = -1


class Format(Protocol):
    def __call__(
        self,
        now: float,
        level: str,
        status: int,
        request: HTTPServerRequest,
        seconds: float,
        size: int,
    ) -> str:
        """One line with its end.

        now:      when the answer was complete, since the epoch.
        seconds:  from the request's head to then.
        size:     bytes of the answer's body, or UNKNOWN.
        """


def make(form: str, look: Look, identity: Mapping[str, object]) -> Format:
    """form: auto | pretty | combined | json.  Auto is as the other lines are.

    look:  of a form that suits, for its colours and its stamp.
    """
    if form == "combined":
        return Combined()
    if form == "json" or (form == "auto" and look.json):
        return Json(identity)
    return Pretty(look, identity)


class Pretty:
    """As every line of the log: Tornado's own words, behind the identity."""

    def __init__(self, look: Look, identity: Mapping[str, object]) -> None:
        self._stamped = look.stamped
        self._heads = {it: f"{look.head(it, identity, ACCESS)} " for it in LEVELS}
        self._second = -1
        self._clock = ""

    def __call__(
        self,
        now: float,
        level: str,
        status: int,
        request: HTTPServerRequest,
        seconds: float,
        size: int,
    ) -> str:
        text = (
            f"{status:d} {request.method} {request.uri} ({request.remote_ip}) "
            f"{seconds * 1000.0:.2f}ms"
        )
        if not text.isprintable():
            text = lines.clean(text)
        if not self._stamped:
            return f"{self._heads[level]}{text}\n"
        second = int(now)
        if second != self._second:
            self._second, self._clock = second, lines.local(second)
        return f"{self._clock}.{int(now % 1 * 1000):03d} {self._heads[level]}{text}\n"


class Json:
    """As every line of the log in JSON, and the parts of its message as fields of their own."""

    def __init__(self, identity: Mapping[str, object]) -> None:
        who = ",".join(f"{quoted(key)}:{value:d}" for key, value in identity.items())
        self._heads = {it: f'Z","level":"{it}",{who},"logger":"{ACCESS}"' for it in LEVELS}
        self._second = -1
        self._clock = ""

    def __call__(
        self,
        now: float,
        level: str,
        status: int,
        request: HTTPServerRequest,
        seconds: float,
        size: int,
    ) -> str:
        second = int(now)
        if second != self._second:
            self._second, self._clock = second, f'{{"time":"{lines.utc(second)}.'
        get = request.headers.get
        method, uri = request.method, request.uri
        version, address = request.version, request.remote_ip
        referer, agent = get("Referer"), get("User-Agent")
        if not _harmless(f"{method}{uri}{version}{address}{referer}{agent}"):
            method, uri, version, address = map(_text, (method, uri, version, address))
            referer, agent = referer and _text(referer), agent and _text(agent)
        referer = "null" if referer is None else f'"{referer}"'
        agent = "null" if agent is None else f'"{agent}"'
        code, took = f"{status:d}", f"{seconds * 1000.0:.2f}"
        return (
            f"{self._clock}{int(now % 1 * 1000):03d}{self._heads[level]},"
            f'"message":"{code} {method} {uri} ({address}) {took}ms","status":{code},'
            f'"method":"{method}","uri":"{uri}","version":"{version}","remote_ip":"{address}",'
            f'"duration_ms":{took},"bytes":{"null" if size < 0 else size},'
            f'"referer":{referer},"user_agent":{agent}}}\n'
        )


def _text(value: str | None) -> str:
    """`value` as it stands within the quotes of JSON."""
    return quoted(str(value))[1:-1]


def _harmless(text: str) -> bool:
    """Is there nothing in it that needs to be escaped?"""
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text


#: strftime's names follow the locale that the application sets; these do not.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

#: Requests that end now began in so many different seconds, before their stamps are forgotten.
_SECONDS = 128


class Combined:
    """``%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-agent}i"`` of Apache's mod_log_config.

    The time is that at which the request came, and %b is "-" for an answer without a body.
    """

    def __init__(self) -> None:
        self._stamps: dict[int, str] = {}

    def __call__(
        self,
        now: float,
        level: str,
        status: int,
        request: HTTPServerRequest,
        seconds: float,
        size: int,
    ) -> str:
        get = request.headers.get
        host = request.remote_ip or "-"
        asked = f"{request.method} {request.uri} {request.version}"
        referer, agent = get("Referer", "-"), get("User-Agent", "-")
        if not _harmless(f"{host}{asked}{referer}{agent}") or " " in host:
            host = _escaped(host).replace(" ", "\\x20")
            asked, referer, agent = _escaped(asked), _escaped(referer), _escaped(agent)
        second = int(now - seconds)
        stamp = self._stamps.get(second) or self._stamp(second)
        return (
            f'{host} - - {stamp} "{asked}" {status:d} {size if size > 0 else "-"} '
            f'"{referer}" "{agent}"\n'
        )

    def _stamp(self, second: int) -> str:
        if len(self._stamps) >= _SECONDS:
            self._stamps.clear()
        it = time.localtime(second)
        zone = it.tm_gmtoff // 60
        stamp = self._stamps[second] = (
            f"[{it.tm_mday:02d}/{_MONTHS[it.tm_mon - 1]}/{it.tm_year:04d}"
            f":{it.tm_hour:02d}:{it.tm_min:02d}:{it.tm_sec:02d}"
            f" {'-' if zone < 0 else '+'}{abs(zone) // 60:02d}{abs(zone) % 60:02d}]"
        )
        return stamp


#: As Apache's ap_escape_logitem has them; what is no ASCII is an octet, by its number.
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0x100))} | {
    ord('"'): '\\"',
    ord("\\"): "\\\\",
    0x08: "\\b",
    0x09: "\\t",
    0x0A: "\\n",
    0x0B: "\\v",
    0x0D: "\\r",
}


def _escaped(text: str) -> str:
    """Tornado reads octets as Latin-1; what is beyond that the application has put there."""
    text = text.translate(_ESCAPES)
    if text.isascii():
        return text
    octets = (it if it < "\x80" else _octets(it) for it in text)
    return "".join(octets)


def _octets(character: str) -> str:
    return "".join(f"\\x{octet:02x}" for octet in character.encode("utf-8", "surrogatepass"))
