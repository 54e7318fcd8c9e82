"""Where the engine's reading of requests differs from the installed Tornado's, and only there.

The engine accepts what Tornado accepts, minus `STRICTER`, plus `LEGAL`.  Each
refusal carries the name of its rule (`BadRequest.rule`), which is either
one of `STRICTER` or one of `SHARED`: what Tornado refuses as well.  Tornado 6.4
is laxer than 6.6, so that some rules are a difference only there.

docs/reference/http.md lists all of them.
"""

from __future__ import annotations

from typing import NamedTuple


class BadRequest(Exception):
    """A request that is refused: `rule` (one of `NAMES`) for log and counter, and `status`."""

    def __init__(self, rule: str, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.rule = rule
        self.text = text
        self.status = status


def too_large(most: int) -> BadRequest:
    """A head of more than `most` octets."""
    text = f"Unsatisfiable read of more than {most} bytes of headers"
    return BadRequest("header-size", text, 431)


class Rule(NamedTuple):
    """One rule of reading: its name in log and counter, its source, and who does what."""

    name: str
    section: str
    tornado: str
    leeward: str


#: Tornado (in some supported version) lets it pass; the engine does not.
STRICTER = (
    Rule(
        "bare-cr",
        "RFC 9112 §2.2",
        "drops each CR before and after the request line; 6.4 keeps those in values",
        "refuses a CR that no LF follows",
    ),
    Rule(
        "request-line",
        "RFC 9112 §3",
        "6.4 takes any octets without spaces as method and target, even none",
        "refuses what is not `token SP target SP HTTP/1.x`, as 6.6 does",
    ),
    Rule(
        "target-form",
        "RFC 9112 §3.2",
        "takes any target: `GET foo`, `GET *`, `CONNECT /`, `http:///`, `http://user@host/`",
        "refuses a target that is in none of the forms which its method allows",
    ),
    Rule(
        "field-name",
        "RFC 9112 §5.1",
        "6.4 takes any name, and a space before the colon",
        "refuses names that are not tokens, as 6.6 does",
    ),
    Rule(
        "field-value",
        "RFC 9110 §5.5",
        "6.4 takes NUL and other control characters",
        "refuses them, as 6.6 does",
    ),
    Rule(
        "obs-fold",
        "RFC 9112 §5.2",
        "6.4 joins a line that begins with white space to the one before",
        "refuses it, as 6.6 does",
    ),
    Rule(
        "framing-octets",
        "RFC 9110 §5.5",
        "6.4 strips NEL and no-break spaces off lengths, codings and hosts",
        "refuses octets beyond ASCII in Content-Length, Transfer-Encoding and Host",
    ),
    Rule(
        "transfer-encoding",
        "RFC 9112 §6.1",
        "6.4 reads no body at all when the coding is not exactly `chunked`",
        "refuses every other coding, as 6.6 does",
    ),
    Rule(
        "transfer-encoding-1.0",
        "RFC 9112 §6.1",
        "keeps an HTTP/1.0 connection open after a request with Transfer-Encoding",
        "answers it, and closes the connection",
    ),
    Rule(
        "host-missing",
        "RFC 9112 §3.2",
        "6.4 answers HTTP/1.1 requests without Host",
        "refuses them, as 6.6 does",
    ),
    Rule(
        "host-duplicate",
        "RFC 9112 §3.2",
        "6.4 joins several Host lines by commas",
        "refuses them, as 6.6 does",
    ),
    Rule(
        "host-invalid",
        "RFC 9112 §3.2, RFC 3986 §3.2.2",
        "6.6 takes colons and brackets anywhere and fails on ports of thousands of digits; "
        "6.4 takes anything",
        "refuses what is not `name[:port]` or `[address][:port]`, port of at most 5 digits",
    ),
    Rule(
        "connection-close",
        "RFC 9112 §9.3",
        "keeps the connection when `close` is one of several options",
        "answers, and closes the connection",
    ),
    Rule(
        "after-close",
        "RFC 9112 §9.6",
        "carries out requests that were sent behind one after which it closes, unanswered",
        "reads nothing behind it",
    ),
    Rule(
        "expect-1.0",
        "RFC 9110 §10.1.1",
        "answers 100 to an HTTP/1.0 request",
        "sends no 100, as an HTTP/1.0 client could take it for the answer",
    ),
    Rule(
        "websocket-key",
        "RFC 6455 §4.2.1",
        "takes any Sec-WebSocket-Key, and joins several",
        "refuses one that is not 16 octets in base64, or comes twice",
    ),
    Rule(
        "websocket-1.0",
        "RFC 6455 §4.2.1, RFC 9110 §7.8",
        "makes a WebSocket of an HTTP/1.0 connection",
        "refuses it",
    ),
)

#: Tornado refuses or ignores it; the RFC makes it legal, and so does the engine.
LEGAL = (
    Rule(
        "chunk-extension",
        "RFC 9112 §7.1.1",
        "refuses chunk extensions",
        "reads over them; they may hold 16 KiB plus one octet for each of the body",
    ),
    Rule(
        "trailer",
        "RFC 9112 §7.1.2",
        "refuses trailers",
        "checks and drops them; at most 64 KiB, none that frames, routes or authenticates",
    ),
    Rule(
        "expect-case",
        "RFC 9110 §10.1.1",
        "answers 100 to the lower-case spelling of 100-continue only",
        "compares without regard to case",
    ),
    Rule(
        "half-close",
        "RFC 9112 §9.6",
        "closes when its client has said FIN, and an answer that takes a while is lost",
        "tells the application that its client has gone, and sends what it answers all the same",
    ),
)

#: Refused by both; named, so that a refusal can be explained.
SHARED = (
    Rule("tornado", "", "refuses for a reason of its own", "refuses with Tornado's words"),
    Rule("content-length", "RFC 9112 §6.3", "refuses what is no number, or several", "the same"),
    Rule("length-and-coding", "RFC 9112 §6.3", "refuses both in one request", "the same"),
    Rule("body-too-large", "RFC 9110 §15.5.14", "refuses above its limit", "the same"),
    Rule("chunk-size", "RFC 9112 §7.1", "refuses what is no hexadecimal number", "the same"),
    Rule("chunk-end", "RFC 9112 §7.1", "refuses chunks that no CRLF ends", "the same"),
    Rule("chunk-overhead", "RFC 9112 §7.1.1", "refuses all extensions", "bounds them"),
    Rule("trailer-field", "RFC 9110 §6.5.1", "refuses all trailers", "checks them"),
    Rule("trailer-size", "RFC 9112 §7.1.2", "refuses all trailers", "bounds them"),
    Rule("header-size", "RFC 6585 §5", "closes above its limit, unanswered", "answers 431"),
    Rule(
        "inflate-ratio",
        "RFC 9110 §15.5.14",
        "unpacks a body of any ratio up to its limit",
        "answers 413 above `--max-inflate-ratio`",
    ),
    Rule(
        "application",
        "",
        "refuses what the application does (`HTTPInputError`), and too many arguments",
        "the same",
    ),
)

NAMES = frozenset(rule.name for rule in (*STRICTER, *LEGAL, *SHARED))
