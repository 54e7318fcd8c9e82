"""Named inputs written from RFC 9110 and RFC 9112: hostile ones, and legal controls.

Each hostile one breaks a rule for which the RFC demands or allows a refusal, most of
them because two readers of one connection could disagree about where a request
ends.  `verdict` judges them at the level of the parser; `statuses` gives them to a
server through a socket.
"""

from __future__ import annotations

import re
import socket
from typing import NamedTuple

from engine.sides import Side


class Case(NamedTuple):
    """What is sent, and what must come of it.

    `taken` requests are answered; then the connection is "refused" (400), "closed",
    "idle", or "incomplete": it waits for more, until its deadline.
    """

    name: str
    section: str
    wire: bytes
    taken: int = 0
    end: str = "refused"
    #: Bodies of the requests that are taken, where that matters.
    bodies: tuple[bytes, ...] = ()


#: Sent behind each: what must not be reached, or must be.
TAIL = b"GET /tail HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def _line(name: str, section: str, line: bytes) -> Case:
    return Case(name, section, line + b"\r\nHost: a\r\n\r\n")


def _field(name: str, section: str, *fields: bytes) -> Case:
    lines = b"".join(it + b"\r\n" for it in fields)
    return Case(name, section, b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n")


def _host(name: str, *lines: bytes) -> Case:
    fields = b"".join(it + b"\r\n" for it in lines)
    return Case(name, "RFC 9112 §3.2", b"GET / HTTP/1.1\r\n" + fields + b"\r\n")


def _body(name: str, section: str, *fields: bytes, body: bytes = b"hello") -> Case:
    lines = b"".join(it + b"\r\n" for it in fields)
    return Case(name, section, b"POST / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n" + body)


_UPGRADE = "RFC 6455 §4.2.1"
_KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


def _socket(name: str, keys: bytes, upgrade: bytes = b"Upgrade: websocket") -> Case:
    lines = [b"Sec-WebSocket-Key: " + key for key in keys.split(b"|")]
    return _field(name, _UPGRADE, upgrade, b"Connection: Upgrade", *lines)


_CODED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def _chunked(name: str, section: str, body: bytes) -> Case:
    return Case(name, section, _CODED + body)


_SYNTAX, _TARGET, _LENGTH, _CODING = (
    "RFC 9112 §3",
    "RFC 9112 §3.2",
    "RFC 9112 §6.3",
    "RFC 9112 §6.1",
)
_NAME, _VALUE, _FOLD, _EOL = "RFC 9112 §5.1", "RFC 9110 §5.5", "RFC 9112 §5.2", "RFC 9112 §2.2"
_CHUNK, _EXT, _TRAILER = "RFC 9112 §7.1", "RFC 9112 §7.1.1", "RFC 9112 §7.1.2"
_CLOSE = "RFC 9112 §9.6"

_REQUEST_LINES = (
    _line("no version", _SYNTAX, b"GET /"),
    _line("method alone", _SYNTAX, b"GET"),
    _line("two spaces before the target", _SYNTAX, b"GET  / HTTP/1.1"),
    _line("two spaces before the version", _SYNTAX, b"GET /  HTTP/1.1"),
    _line("tab as a gap", _SYNTAX, b"GET\t/ HTTP/1.1"),
    _line("vertical tab as a gap", _SYNTAX, b"GET\x0b/ HTTP/1.1"),
    _line("form feed as a gap", _SYNTAX, b"GET /\x0cHTTP/1.1"),
    _line("no-break space as a gap", _SYNTAX, b"GET\xa0/ HTTP/1.1"),
    _line("space in front", _SYNTAX, b" GET / HTTP/1.1"),
    _line("space behind", _SYNTAX, b"GET / HTTP/1.1 "),
    _line("tab behind", _SYNTAX, b"GET / HTTP/1.1\t"),
    _line("word behind", _SYNTAX, b"GET / HTTP/1.1 x"),
    _line("space in the target", _SYNTAX, b"GET /a b HTTP/1.1"),
    _line("tab in the target", _SYNTAX, b"GET /a\tb HTTP/1.1"),
    _line("NUL in the target", _SYNTAX, b"GET /a\0b HTTP/1.1"),
    _line("DEL in the target", _SYNTAX, b"GET /a\x7f HTTP/1.1"),
    _line("escape in the target", _SYNTAX, b"GET /\x1b[1m HTTP/1.1"),
    _line("CR in the target", _SYNTAX, b"GET /a\rb HTTP/1.1"),
    _line("no target", _SYNTAX, b"GET  HTTP/1.1"),
    _line("no method", _SYNTAX, b" / HTTP/1.1"),
    _line("parenthesis in the method", _SYNTAX, b"G(T / HTTP/1.1"),
    _line("comma in the method", _SYNTAX, b"GET,POST / HTTP/1.1"),
    _line("colon in the method", _SYNTAX, b"GET: / HTTP/1.1"),
    _line("NUL in the method", _SYNTAX, b"GE\0T / HTTP/1.1"),
    _line("letter beyond ASCII in the method", _SYNTAX, b"G\xc9T / HTTP/1.1"),
    _line("byte order mark", _SYNTAX, b"\xef\xbb\xbfGET / HTTP/1.1"),
    _line("version in small letters", "RFC 9112 §2.3", b"GET / http/1.1"),
    _line("version 2.0", "RFC 9112 §2.3", b"GET / HTTP/2.0"),
    _line("version 0.9", "RFC 9112 §2.3", b"GET / HTTP/0.9"),
    _line("version 1", "RFC 9112 §2.3", b"GET / HTTP/1"),
    _line("version 1.10", "RFC 9112 §2.3", b"GET / HTTP/1.10"),
    _line("version 01.1", "RFC 9112 §2.3", b"GET / HTTP/01.1"),
    _line("version 1.x", "RFC 9112 §2.3", b"GET / HTTP/1.x"),
    _line("version with a comma", "RFC 9112 §2.3", b"GET / HTTP/1,1"),
    _line("another protocol", "RFC 9112 §2.3", b"GET / HTTPS/1.1"),
    _line("version in other digits", "RFC 9112 §2.3", b"GET / HTTP/1.\xb2"),
    _line("relative target", _TARGET, b"GET foo HTTP/1.1"),
    _line("query alone", _TARGET, b"GET ?a=b HTTP/1.1"),
    _line("star for GET", _TARGET, b"GET * HTTP/1.1"),
    _line("star with more", _TARGET, b"OPTIONS *a HTTP/1.1"),
    _line("authority for GET", _TARGET, b"GET example.com:80 HTTP/1.1"),
    _line("path for CONNECT", _TARGET, b"CONNECT /a HTTP/1.1"),
    _line("CONNECT without a port", _TARGET, b"CONNECT example.com HTTP/1.1"),
    _line("CONNECT without a host", _TARGET, b"CONNECT :443 HTTP/1.1"),
    _line("CONNECT to a URI", _TARGET, b"CONNECT http://a:443/ HTTP/1.1"),
    _line("absolute without a host", "RFC 9110 §4.2.1", b"GET http:///a HTTP/1.1"),
    _line("absolute with one slash", _TARGET, b"GET http:/a HTTP/1.1"),
    _line("absolute with a user", "RFC 9110 §4.2.4", b"GET http://u@a/ HTTP/1.1"),
    _line("absolute with a password", "RFC 9110 §4.2.4", b"GET http://u:p@a/ HTTP/1.1"),
    _line("absolute with a wrong port", _TARGET, b"GET http://a:b/ HTTP/1.1"),
    _line("absolute without a scheme", _TARGET, b"GET ://a/ HTTP/1.1"),
    _line("backslash for a slash", _TARGET, b"GET \\a HTTP/1.1"),
)

_HOSTS = (
    _host("no Host", b"X: y"),
    _host("two Host", b"Host: a", b"Host: b"),
    _host("the same Host twice", b"Host: a", b"Host: a"),
    _host("two Host in other letters", b"Host: a", b"hOST: b"),
    _host("Host with a comma", b"Host: a,b"),
    _host("Host with a space", b"Host: a b"),
    _host("Host with a tab", b"Host: a\tb"),
    _host("Host with a path", b"Host: a/b"),
    _host("Host with a scheme", b"Host: http://a"),
    _host("Host with a user", b"Host: u@a"),
    _host("Host with a query", b"Host: a?b"),
    _host("Host with a fragment", b"Host: a#b"),
    _host("Host with a backslash", b"Host: a\\b"),
    _host("Host with two ports", b"Host: a:80:81"),
    _host("Host with a name for a port", b"Host: a:http"),
    _host("Host with a negative port", b"Host: a:-1"),
    _host("Host with a huge port", b"Host: a:" + b"9" * 5000),
    _host("Host with an open bracket", b"Host: [::1"),
    _host("Host with a closed bracket", b"Host: ::1]"),
    _host("Host with bare IPv6", b"Host: ::1"),
    _host("Host with bad IPv6", b"Host: [1::2::3]"),
    _host("Host with words behind IPv6", b"Host: [::1]a"),
    _host("Host with half an escape", b"Host: a%4"),
    _host("Host with a wrong escape", b"Host: a%zz"),
    _host("Host with quotes", b'Host: "a"'),
    _host("Host with NUL", b"Host: a\0b"),
    _host("Host beyond ASCII", b"Host: caf\xe9"),
    _host("Host with NEL behind", b"Host: a\x85"),
    _host("space before the colon of Host", b"Host : a"),
    _host("folded Host", b"Host:", b" a"),
    _host("Host twice, one empty", b"Host: a", b"Host:"),
    Case("no Host in 1.2", _TARGET, b"GET / HTTP/1.2\r\n\r\n"),
    Case("two Host in 1.0", _TARGET, b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
    Case("wrong Host in 1.0", _TARGET, b"GET / HTTP/1.0\r\nHost: a b\r\n\r\n"),
)

_FIELDS = (
    _field("space before the colon", _NAME, b"X : y"),
    _field("tab before the colon", _NAME, b"X\t: y"),
    _field("space in a name", _NAME, b"X Y: z"),
    _field("no name", _NAME, b": y"),
    _field("no colon", _NAME, b"X"),
    _field("colon of another alphabet", _NAME, b"X\xef\xbc\x9a y"),
    _field("NUL in a name", _NAME, b"X\0: y"),
    _field("CR in a name", _NAME, b"X\rY: z"),
    _field("DEL in a name", _NAME, b"X\x7f: y"),
    _field("quote in a name", _NAME, b'"X": y'),
    _field("slash in a name", _NAME, b"X/Y: z"),
    _field("brackets in a name", _NAME, b"X[0]: y"),
    _field("brace in a name", _NAME, b"{X}: y"),
    _field("semicolon in a name", _NAME, b"X;Y: z"),
    _field("at sign in a name", _NAME, b"X@Y: z"),
    _field("backslash in a name", _NAME, b"X\\: y"),
    _field("letter beyond ASCII in a name", _NAME, b"X\xe9: y"),
    _field("NUL in a value", _VALUE, b"X: a\0b"),
    _field("NUL at the end of a value", _VALUE, b"X: a\0"),
    _field("SOH in a value", _VALUE, b"X: \x01"),
    _field("backspace in a value", _VALUE, b"X: a\x08b"),
    _field("vertical tab in a value", _VALUE, b"X: a\x0bb"),
    _field("form feed in a value", _VALUE, b"X: \x0ca"),
    _field("escape in a value", _VALUE, b"X: \x1b[1m"),
    _field("separator around a value", _VALUE, b"X: \x1ca\x1f"),
    _field("DEL in a value", _VALUE, b"X: a\x7f"),
    _field("CR in a value", _EOL, b"X: a\rb"),
    _field("CR at the end of a value", _EOL, b"X: a\r"),
    _field("CR hides a field", _EOL, b"X: a\rTransfer-Encoding: chunked"),
    _field("fold", _FOLD, b"X: a", b" b"),
    _field("fold by tab", _FOLD, b"X: a", b"\tb"),
    _field("fold of nothing", _FOLD, b"X: a", b" "),
    _field("fold hides a field", _FOLD, b"X: a", b" Transfer-Encoding: chunked"),
    _field("fold by vertical tab", _FOLD, b"X: a", b"\x0bb: c"),
    _field("fold by no-break space", _NAME, b"X: a", b"\xa0b: c"),
    Case("fold of the first", _FOLD, b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    Case("fold of the first by tab", _FOLD, b"GET / HTTP/1.1\r\n\tX: b\r\nHost: a\r\n\r\n"),
    Case("fold behind LF", _FOLD, b"GET / HTTP/1.1\nHost: a\nX: a\n b\n\n"),
)

_ENDS = (
    Case("CR in front", _EOL, b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("CR CRLF in front", _EOL, b"\r\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("CRLF CR in front", _EOL, b"\r\n\rGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("two empty lines in front", _EOL, b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("empty lines alone", _EOL, b"\n\n"),
    Case("space in front of an empty line", _EOL, b" \r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("NUL in front", _SYNTAX, b"\0GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("CR CRLF behind the request line", _EOL, b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"),
    Case("CR for CRLF behind the request line", _EOL, b"GET / HTTP/1.1\rHost: a\r\n\r\n"),
    Case("CR for CRLF between fields", _EOL, b"GET / HTTP/1.1\r\nX: y\rHost: a\r\n\r\n"),
    Case("CR CRLF between fields", _EOL, b"GET / HTTP/1.1\r\nHost: a\r\r\nX: y\r\n\r\n"),
    Case("NEL between fields", _EOL, b"GET / HTTP/1.1\r\nHost: a\x85X: y\r\n\r\n"),
    Case("CR CR LF at the end", _EOL, b"GET / HTTP/1.1\r\nHost: a\r\n\r\r\n\r\n"),
    Case("LF CR at the end", _EOL, b"GET / HTTP/1.1\nHost: a\n\r\r\n\r\n"),
    Case("HTTP/2 preface", "RFC 9113 §3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    Case("TLS", _SYNTAX, b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n"),
    Case("fields without a request", _SYNTAX, b"Host: a\r\n\r\n"),
)

_LENGTHS = (
    _body("length with plus", _LENGTH, b"Content-Length: +5"),
    _body("length with minus", _LENGTH, b"Content-Length: -5"),
    _body("length with minus nothing", _LENGTH, b"Content-Length: -0"),
    _body("length in hexadecimal", _LENGTH, b"Content-Length: 0x5"),
    _body("length with an underscore", _LENGTH, b"Content-Length: 0_5"),
    _body("length with a point", _LENGTH, b"Content-Length: 5.0"),
    _body("length with an exponent", _LENGTH, b"Content-Length: 5e0"),
    _body("length with a space", _LENGTH, b"Content-Length: 0 5"),
    _body("length with a word", _LENGTH, b"Content-Length: 5 octets"),
    _body("length with a semicolon", _LENGTH, b"Content-Length: 5;"),
    _body("length in quotes", _LENGTH, b'Content-Length: "5"'),
    _body("length of nothing", _LENGTH, b"Content-Length:"),
    _body("length in other digits", _LENGTH, b"Content-Length: \xb2"),
    _body("length with a no-break space", _LENGTH, b"Content-Length: 5\xa0"),
    _body("length with NEL", _LENGTH, b"Content-Length: \x855"),
    _body("length with a vertical tab", _LENGTH, b"Content-Length: \x0b5"),
    _body("length with NUL", _LENGTH, b"Content-Length: 5\0"),
    _body("length with a comma", _LENGTH, b"Content-Length: 5,"),
    _body("length of commas", _LENGTH, b"Content-Length: ,"),
    _body("two lengths", _LENGTH, b"Content-Length: 5", b"Content-Length: 6"),
    _body("two lengths in one", _LENGTH, b"Content-Length: 5, 6"),
    _body("two spellings of a length", _LENGTH, b"Content-Length: 5, 05"),
    _body("length and minus", _LENGTH, b"Content-Length: 5, -5"),
    _body("length above the limit", "RFC 9110 §15.5.14", b"Content-Length: 1001"),
    _body("length above 64 bits", _LENGTH, b"Content-Length: 18446744073709551621"),
    _body("length above all bounds", _LENGTH, b"Content-Length: " + b"9" * 5000),
    _body("space before the colon of a length", _NAME, b"Content-Length : 5"),
    _body("folded length", _FOLD, b"Content-Length:", b" 5"),
    _body("length folded on", _FOLD, b"Content-Length: 5", b" 0"),
    _body("length behind CR", _EOL, b"X: y\rContent-Length: 5"),
    Case("wrong length in 1.0", _LENGTH, b"POST / HTTP/1.0\r\nContent-Length: 5a\r\n\r\nhello"),
)

_ZERO = b"0\r\n\r\n"
_CODINGS = (
    _body("length and coding", _LENGTH, b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    _body("coding and length", _LENGTH, b"Transfer-Encoding: chunked", b"Content-Length: 5"),
    _body("length and identity", _LENGTH, b"Content-Length: 5", b"Transfer-Encoding: identity"),
    _body("length and coding of nothing", _LENGTH, b"Content-Length: 5", b"Transfer-Encoding:"),
    _body("identity", _CODING, b"Transfer-Encoding: identity", body=_ZERO),
    _body("gzip", _CODING, b"Transfer-Encoding: gzip", body=_ZERO),
    _body("gzip, chunked", _CODING, b"Transfer-Encoding: gzip, chunked", body=_ZERO),
    _body("chunked not last", _LENGTH, b"Transfer-Encoding: chunked, gzip", body=_ZERO),
    _body("chunked twice", _CODING, b"Transfer-Encoding: chunked, chunked", body=_ZERO),
    _body(
        "chunked in two lines",
        _CODING,
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: chunked",
        body=_ZERO,
    ),
    _body(
        "identity behind chunked",
        _CODING,
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: identity",
        body=_ZERO,
    ),
    _body("comma chunked", _CODING, b"Transfer-Encoding: ,chunked", body=_ZERO),
    _body("chunked comma", _CODING, b"Transfer-Encoding: chunked,", body=_ZERO),
    _body("chunked with a parameter", _CODING, b"Transfer-Encoding: chunked;a=b", body=_ZERO),
    _body("chunked in quotes", _CODING, b'Transfer-Encoding: "chunked"', body=_ZERO),
    _body("xchunked", _CODING, b"Transfer-Encoding: xchunked", body=_ZERO),
    _body("chunkedx", _CODING, b"Transfer-Encoding: chunkedx", body=_ZERO),
    _body("chunked with a vertical tab", _CODING, b"Transfer-Encoding: \x0bchunked", body=_ZERO),
    _body("chunked with NUL", _CODING, b"Transfer-Encoding: chunked\0", body=_ZERO),
    _body("chunked with a no-break space", _CODING, b"Transfer-Encoding: \xa0chunked", body=_ZERO),
    _body("chunked with NEL", _CODING, b"Transfer-Encoding: chunked\x85", body=_ZERO),
    _body("chunked of another alphabet", _CODING, b"Transfer-Encoding: chun\xe2\x84\xaaed"),
    _body("coding of nothing", _CODING, b"Transfer-Encoding:", body=_ZERO),
    _body("space before the colon of a coding", _NAME, b"Transfer-Encoding : chunked", body=_ZERO),
    _body("tab before the colon of a coding", _NAME, b"Transfer-Encoding\t: chunked", body=_ZERO),
    _body("folded coding", _FOLD, b"Transfer-Encoding:", b" chunked", body=_ZERO),
    _body("coding behind CR", _EOL, b"X: y\rTransfer-Encoding: chunked", body=_ZERO),
    Case(
        "identity in 1.0", _CODING, b"GET / HTTP/1.0\r\nTransfer-Encoding: identity\r\n\r\n" + _ZERO
    ),
)

_CHUNKS = (
    _chunked("size of nothing", _CHUNK, b"\r\nhello\r\n" + _ZERO),
    _chunked("size with plus", _CHUNK, b"+5\r\nhello\r\n" + _ZERO),
    _chunked("size with minus", _CHUNK, b"-5\r\nhello\r\n" + _ZERO),
    _chunked("size with 0x", _CHUNK, b"0x5\r\nhello\r\n" + _ZERO),
    _chunked("size with an underscore", _CHUNK, b"0_5\r\nhello\r\n" + _ZERO),
    _chunked("size with a space in front", _CHUNK, b" 5\r\nhello\r\n" + _ZERO),
    _chunked("size with a space behind", _CHUNK, b"5 \r\nhello\r\n" + _ZERO),
    _chunked("size with a tab behind", _CHUNK, b"5\t\r\nhello\r\n" + _ZERO),
    _chunked("size with a no-break space", _CHUNK, b"5\xa0\r\nhello\r\n" + _ZERO),
    _chunked("size in other letters", _CHUNK, b"g\r\nhello\r\n" + _ZERO),
    _chunked("size in other digits", _CHUNK, b"\xb2\r\nhello\r\n" + _ZERO),
    _chunked("size with a comma", _CHUNK, b"5,5\r\nhello\r\n" + _ZERO),
    _chunked("size with NUL", _CHUNK, b"5\0\r\nhello\r\n" + _ZERO),
    _chunked("size above 64 bits", _CHUNK, b"10000000000000005\r\nhello\r\n" + _ZERO),
    _chunked("size above the limit", "RFC 9110 §15.5.14", b"3e9\r\n" + b"a" * 1001),
    _chunked(
        "sizes above the limit", "RFC 9110 §15.5.14", b"1f5\r\n" + b"a" * 501 + b"\r\n1f5\r\n"
    ),
    _chunked("size of 63 digits", _CHUNK, b"0" * 62 + b"5\r\nhello\r\n" + _ZERO),
    _chunked("size without an end", _CHUNK, b"0" * 100),
    _chunked("LF behind a size", _CHUNK, b"5\nhello\r\n" + _ZERO),
    _chunked("CR behind a size", _CHUNK, b"5\rhello\r\n" + _ZERO),
    _chunked("CR CRLF behind a size", _CHUNK, b"5\r\r\nhello\r\n" + _ZERO),
    _chunked("LF behind the last size", _CHUNK, b"5\r\nhello\r\n0\n\n" + TAIL),
    _chunked("no end of a chunk", _CHUNK, b"5\r\nhello" + _ZERO),
    _chunked("LF at a chunk's end", _CHUNK, b"5\r\nhello\n" + _ZERO),
    _chunked("CR at a chunk's end", _CHUNK, b"5\r\nhello\r" + _ZERO),
    _chunked("LF CR at a chunk's end", _CHUNK, b"5\r\nhello\n\r" + _ZERO),
    _chunked("chunk longer than its size", _CHUNK, b"4\r\nhello\r\n" + _ZERO),
    _chunked("chunk shorter than its size", _CHUNK, b"6\r\nhello\r\n" + _ZERO),
    _chunked("word instead of a size", _CHUNK, b"hello" + b"\r\n"),
    _chunked("extension of nothing", _EXT, b"5;\r\nhello\r\n" + _ZERO),
    _chunked("extension without a name", _EXT, b"5;=b\r\nhello\r\n" + _ZERO),
    _chunked("extension without a value", _EXT, b"5;a=\r\nhello\r\n" + _ZERO),
    _chunked("extension with an open quote", _EXT, b'5;a="b\r\nhello\r\n' + _ZERO),
    _chunked("extension with LF", _EXT, b"5;a=b\nc\r\nhello\r\n" + _ZERO),
    _chunked("extension with CR", _EXT, b"5;a\rb\r\nhello\r\n" + _ZERO),
    _chunked("extension with LF in quotes", _EXT, b'5;a="\n"\r\nhello\r\n' + _ZERO),
    _chunked("extension with NUL", _EXT, b"5;a\0\r\nhello\r\n" + _ZERO),
    _chunked("extension with a space", _EXT, b"5;a b\r\nhello\r\n" + _ZERO),
    _chunked("extension without an end", _EXT, b"5;a=" + b"b" * 20_000),
    _chunked(
        "extensions for ever", _EXT, b"".join(b"1;%b\r\na\r\n" % (b"b" * 500) for _ in range(40))
    ),
    _chunked("trailer without a colon", _TRAILER, b"0\r\nX\r\n\r\n"),
    _chunked("trailer with a space before the colon", _TRAILER, b"0\r\nX : y\r\n\r\n"),
    _chunked("trailer with NUL", _TRAILER, b"0\r\nX: \0\r\n\r\n"),
    _chunked("trailer with CR", _TRAILER, b"0\r\nX: a\rb\r\n\r\n"),
    _chunked("trailer behind LF", _TRAILER, b"0\r\nX: a\nY: b\r\n\r\n"),
    _chunked("folded trailer", _TRAILER, b"0\r\nX: a\r\n b\r\n\r\n"),
    _chunked("length as trailer", "RFC 9110 §6.5.1", b"0\r\nContent-Length: 5\r\n\r\n"),
    _chunked("coding as trailer", "RFC 9110 §6.5.1", b"0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    _chunked("Host as trailer", "RFC 9110 §6.5.1", b"0\r\nHost: b\r\n\r\n"),
    _chunked("cookie as trailer", "RFC 9110 §6.5.1", b"0\r\nCookie: a=b\r\n\r\n"),
    _chunked("trailer without an end", _TRAILER, b"0\r\nX: " + b"a" * 20_000),
    _chunked("trailers for ever", _TRAILER, b"0\r\n" + b"X: a\r\n" * 20_000),
    _chunked("next request as trailer", _TRAILER, b"0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
)

_PERSISTENCE = (
    Case(
        "behind close",
        _CLOSE,
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        1,
        "closed",
    ),
    Case(
        "behind Close",
        _CLOSE,
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: CLOSE\r\n\r\n",
        1,
        "closed",
    ),
    Case(
        "behind close, TE",
        _CLOSE,
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close, TE\r\n\r\n",
        1,
        "closed",
    ),
    Case(
        "behind keep-alive and close",
        _CLOSE,
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n",
        1,
        "closed",
    ),
    Case("behind HTTP/1.0", "RFC 9112 §9.3", b"GET / HTTP/1.0\r\n\r\n", 1, "closed"),
    Case(
        "behind a coding in 1.0",
        _CODING,
        b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + _ZERO,
        1,
        "closed",
    ),
)

_UPGRADES = (
    _socket("WebSocket key of 13 octets", b"dGhlIHNhbXBsZQ=="),
    _socket("WebSocket key of 17 octets", b"dGhlIHNhbXBsZSBub25jZSE="),
    _socket("WebSocket key without padding", _KEY[:-2]),
    _socket("WebSocket key of nothing", b""),
    _socket("WebSocket key in other octets", b"dGhlIHNhbXBsZSBub25j!!=="),
    _socket("two WebSocket keys", _KEY + b"|" + _KEY),
    _socket("two unequal WebSocket keys", _KEY + b"|AAAAAAAAAAAAAAAAAAAAAA=="),
    _socket("WebSocket keys in a list", _KEY + b", " + _KEY),
    Case(
        "WebSocket in HTTP/1.0",
        _UPGRADE,
        b"GET / HTTP/1.0\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n\r\n" % _KEY,
    ),
)

HOSTILE = (
    *_REQUEST_LINES,
    *_UPGRADES,
    *_HOSTS,
    *_FIELDS,
    *_ENDS,
    *_LENGTHS,
    *_CODINGS,
    *_CHUNKS,
    *_PERSISTENCE,
)


# --- legal controls ---------------------------------------------------------------------


def _good(case: Case, *bodies: bytes) -> Case:
    return case._replace(taken=1, end="idle", bodies=bodies)


LEGAL = tuple(
    _good(it)
    for it in (
        _line("plain", _SYNTAX, b"GET / HTTP/1.1"),
        _line("method in small letters", "RFC 9110 §9.1", b"get / HTTP/1.1"),
        _line("method of signs", "RFC 9110 §9.1", b"M-SEARCH!#$%&'*+.^_`|~0 / HTTP/1.1"),
        _line("HEAD", "RFC 9110 §9.3.2", b"HEAD / HTTP/1.1"),
        _line("query", _TARGET, b"GET /a?b=c&d=%20?/ HTTP/1.1"),
        _line("two slashes", _TARGET, b"GET //a HTTP/1.1"),
        _line("signs in a path", _TARGET, b"GET /a;b=c,d:e@f!$&'()*+~ HTTP/1.1"),
        _line("absolute", _TARGET, b"GET http://example.com/a?b HTTP/1.1"),
        _line("absolute without a path", _TARGET, b"GET http://example.com HTTP/1.1"),
        _line("absolute with a port and a query", _TARGET, b"GET http://a:8080?b HTTP/1.1"),
        _line("absolute by TLS", _TARGET, b"GET https://[::1]:443/ HTTP/1.1"),
        _line("star for OPTIONS", _TARGET, b"OPTIONS * HTTP/1.1"),
        _line("CONNECT", _TARGET, b"CONNECT example.com:443 HTTP/1.1"),
        _line("long path", _TARGET, b"GET /" + b"a" * 8000 + b" HTTP/1.1"),
        _host("Host with a port", b"Host: example.com:8080"),
        _host("Host of nothing", b"Host:"),
        _host("Host with an empty port", b"Host: a:"),
        _host("Host without white space", b"host:a"),
        _host("Host in IPv4", b"Host: 127.0.0.1:80"),
        _host("Host in IPv6", b"Host: [2001:db8::1]:80"),
        _host("Host in mapped IPv6", b"Host: [::ffff:1.2.3.4]"),
        _host("Host of the future", b"Host: [v1.a:b]"),
        _host("Host with an escape", b"Host: a%2Db"),
        _host("Host with an underscore", b"Host: a_b.c"),
        _field("value of nothing", _VALUE, b"X:"),
        _field("white space around a value", _VALUE, b"X: \t a \t"),
        _field("white space in a value", _VALUE, b"X: a \t b"),
        _field("octets beyond ASCII in a value", _VALUE, b"X: caf\xe9 \x80\xff"),
        _field("colons in a value", _VALUE, b"X: a:b: c"),
        _field("name of signs", _NAME, b"!#$%&'*+-.^_`|~0: a"),
        _field("the same name twice", "RFC 9110 §5.3", b"X: a", b"x: b"),
        _field("a hundred fields", _VALUE, *(b"X-%d: a" % it for it in range(100))),
        _field("length of none", _LENGTH, b"Content-Length: 0"),
        _socket("WebSocket", _KEY),
        _socket("WebSocket in capitals", _KEY, b"UPGRADE: WebSocket"),
        _field("Upgrade without a key", _UPGRADE, b"Upgrade: websocket"),
        _field("a key without Upgrade", _UPGRADE, b"Sec-WebSocket-Key: a"),
        _socket("a key for another protocol", b"a", b"Upgrade: h2c"),
        _field("unknown expectation", "RFC 9110 §10.1.1", b"Expect: something"),
        Case("empty line in front", _EOL, b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        Case("LF alone", _EOL, b"GET / HTTP/1.1\nHost: a\n\n"),
        Case("LF and CRLF", _EOL, b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\n"),
        Case("1.0 kept", "RFC 9112 §9.3", b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
        Case(
            "1.2", "RFC 9110 §2.5", b"GET / HTTP/1.2\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"
        ),
    )
) + tuple(
    _good(it, body)
    for it, body in (
        (_body("length", _LENGTH, b"Content-Length: 5"), b"hello"),
        (_body("length with noughts", _LENGTH, b"Content-Length: 0005"), b"hello"),
        (_body("length twice", _LENGTH, b"Content-Length: 5", b"Content-Length: 5"), b"hello"),
        (_body("length listed twice", _LENGTH, b"Content-Length: 5, 5"), b"hello"),
        (
            _body("length of the limit", _LENGTH, b"Content-Length: 1000", body=b"a" * 1000),
            b"a" * 1000,
        ),
        (_body("request as a body", _LENGTH, b"Content-Length: %d" % len(TAIL), body=TAIL), TAIL),
        (_chunked("chunked", _CHUNK, b"5\r\nhello\r\n" + _ZERO), b"hello"),
        (_chunked("two chunks", _CHUNK, b"2\r\nhe\r\n3\r\nllo\r\n" + _ZERO), b"hello"),
        (_chunked("chunked nothing", _CHUNK, _ZERO), b""),
        (
            _chunked(
                "size in both cases", _CHUNK, b"a\r\n0123456789\r\nA\r\n0123456789\r\n" + _ZERO
            ),
            b"0123456789" * 2,
        ),
        (_chunked("size with noughts", _CHUNK, b"005\r\nhello\r\n000\r\n\r\n"), b"hello"),
        (_chunked("CRLF in a chunk", _CHUNK, b"5\r\n\r\n0\r\n\r\n" + _ZERO), b"\r\n0\r\n"),
        (_body("Chunked", _CODING, b"transfer-encoding:Chunked", body=b"1\r\na\r\n" + _ZERO), b"a"),
        (_chunked("extension", _EXT, b"5;a=b\r\nhello\r\n0;c\r\n\r\n"), b"hello"),
        (_chunked("quoted extension", _EXT, b'5;a="b; \\" \\\\"\r\nhello\r\n' + _ZERO), b"hello"),
        (
            _chunked("extension with white space", _EXT, b"5 ; a = b\t;c\r\nhello\r\n" + _ZERO),
            b"hello",
        ),
        (_chunked("trailer", _TRAILER, b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"), b"hello"),
        (
            _chunked("two trailers", _TRAILER, b"5\r\nhello\r\n0\r\nA:\r\nB: caf\xe9\r\n\r\n"),
            b"hello",
        ),
    )
)


# --- judging -----------------------------------------------------------------------------


def verdict(case: Case, side: Side, pieces: list[bytes] | None = None) -> str:
    """What is wrong with what the side makes of the case and the tail behind it, or ""."""
    got = side(pieces or [case.wire, TAIL])
    taken, end = case.taken, case.end
    if end == "idle":
        taken, end = taken + 1, "closed"  # the tail, which closes
    if len(got.requests) != taken or got.end != end:
        return f"{len(got.requests)} requests, {got.end} {got.rule}; not {taken}, {end}"
    bodies = tuple(it.body for it in got.requests[: len(case.bodies)])
    return "" if bodies == case.bodies else f"bodies {bodies}"


def statuses(address: tuple[str, int] | str, case: Case, timeout: float = 10.0) -> list[int]:
    """The statuses with which a server answers the case and the tail behind it.

    Reads until the server closes; raises TimeoutError when it does not.
    """
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as sock:
        sock.settimeout(timeout)
        sock.connect(address)
        answer = bytearray()
        try:
            sock.sendall(case.wire + TAIL)
            while data := sock.recv(65536):
                answer += data
        except (BrokenPipeError, ConnectionResetError):
            pass  # closed with our octets unread: what came before is what it said
    found = re.findall(rb"HTTP/1\.1 ([2-5]\d\d) ", answer)
    return [int(it) for it in found]


def expected(case: Case) -> int:
    """How many answers below 400 a server owes to the case and its tail."""
    return case.taken + (case.end == "idle")
