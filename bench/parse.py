"""What does it cost to read the head of a request, seen before or not?

In this process, no socket: ns for each head of 8 headers, 330 octets, the best of
several rounds that take turns.

* seen: the same octets each time.
* some unique: URI, cookie and request id differ each time, as behind a proxy.
* all unique: every header's value differs each time (Host excepted).

Contenders: Tornado's own parser with what its connection and its request check; the
engine, and the engine without its caches; and ways that the engine does not go, each
made to give the same headers: one regular expression over the whole block, `partition`
line by line without any cache, and `httptools` (llhttp; left out if not installed) as
tokenizer.  Those do only a part of the engine's checks, and so flatter themselves.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Iterator

import tornado
from tornado.http1connection import HTTP1Connection
from tornado.httputil import RequestStartLine, parse_request_start_line

from leeward.engine import fields
from leeward.engine.head import Parser
from leeward.engine.layout import builder

try:
    import httptools
except ImportError:
    httptools = None

_TEMPLATE = (
    "GET /items/{u}?page=3 HTTP/1.1\r\n"
    "Host: 127.0.0.1:8888\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36{a}\r\n"
    "Accept: text/html,application/xhtml+xml{a}\r\n"
    "Accept-Language: en-US,en;q=0.5{a}\r\n"
    "Accept-Encoding: gzip, deflate{a}\r\n"
    "Connection: keep-alive\r\n"
    "Cookie: session=0123456789abcdef{s}\r\n"
    "X-Request-Id: 4fa1b2c3d4e5f607{s}"
)
Parse = Callable[[bytes], object]


def heads(kind: str, many: int) -> list[bytes]:
    """So many heads, without the empty line at their end."""
    made = []
    for n in range(many):
        number = f"{n:06d}"
        unique = number if kind != "seen" else "000000"
        every = number if kind == "all unique" else ""
        made.append(_TEMPLATE.format(u=unique, s=unique, a=every).encode())
    return made


# --- contenders -----------------------------------------------------------------------------


def by_tornado(raw: bytes) -> object:
    start, headers = HTTP1Connection._parse_headers(None, raw + b"\r\n\r\n")  # type: ignore[arg-type]
    line = parse_request_start_line(start)
    HTTP1Connection._can_keep_alive(_PARAMS, line, headers)  # type: ignore[arg-type]
    headers.get("Expect")
    if "Content-Length" in headers or "Transfer-Encoding" in headers:
        raise AssertionError
    fields.check_host(headers["Host"], line.version)
    return line, headers


class _Params:
    class params:
        no_keep_alive = False


_PARAMS = _Params()

_WHOLE = re.compile(
    r"([A-Z]+) ([!-~]+) (HTTP/1\.[01])((?:\r\n[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~]*)*)"
)
_FIELD = re.compile(r"\r\n([^:]+):[ \t]*([^\r]*)")
_names: dict[str, str] = {}


def _spell(name: str) -> str:
    spelling = _names.get(name)
    if spelling is None:
        spelling = _names[name] = "-".join(it.capitalize() for it in name.split("-"))
    return spelling


def _finish(method: str, target: str, version: str, found: dict[str, str]) -> object:
    build = builder()
    assert build is not None
    fields.framing(method, version, found.get, None)
    return RequestStartLine(method, target, version), build(found)


def by_regex(raw: bytes) -> object:
    match = _WHOLE.fullmatch(raw.decode("latin-1"))
    assert match is not None
    method, target, version, block = match.groups()
    found = {_spell(name): value.rstrip(" \t") for name, value in _FIELD.findall(block)}
    return _finish(method, target, version, found)


def by_partition(raw: bytes) -> object:
    line, *lines = raw.decode("latin-1").split("\r\n")
    method, target, version = line.split(" ")
    found = {}
    for line in lines:
        name, _, value = line.partition(":")
        found[_spell(name)] = value.strip(" \t")
    return _finish(method, target, version, found)


class _Tokens:
    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self.url = b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.found[_spell(name.decode("latin-1"))] = value.decode("latin-1")


def by_httptools(raw: bytes) -> object:
    tokens = _Tokens()
    parser = httptools.HttpRequestParser(tokens)
    parser.feed_data(raw + b"\r\n\r\n")
    version = f"HTTP/{parser.get_http_version()}"
    target = tokens.url.decode("latin-1")
    return _finish(parser.get_method().decode(), target, version, tokens.found)


def contenders() -> dict[str, Parse]:
    cached = Parser(max_body_size=1 << 20)
    plain = Parser(max_body_size=1 << 20, cache=0)

    some: dict[str, Parse] = {
        "tornado": by_tornado,
        "engine": lambda raw: cached.parse(raw).headers(),
        "engine, no caches": lambda raw: plain.parse(raw).headers(),
        "one regex": by_regex,
        "partition": by_partition,
    }
    if httptools is not None:
        some["httptools"] = by_httptools
    return some


def measure(parse: Parse, raws: list[bytes]) -> float:
    """ns for each head."""
    clock = time.perf_counter_ns
    start = clock()
    for raw in raws:
        parse(raw)
    return (clock() - start) / len(raws)


def rows(many: int, rounds: int) -> Iterator[tuple[str, dict[str, float]]]:
    for kind in ("seen", "some unique", "all unique"):
        best: dict[str, float] = {}
        parsers = contenders()
        raws = heads(kind, many * rounds)
        for turn in range(rounds):
            for name, parse in parsers.items():
                # Octets that nobody has hashed yet, as they come from a socket.
                fresh = [bytes(bytearray(it)) for it in raws[turn * many : (turn + 1) * many]]
                took = measure(parse, fresh)
                best[name] = min(took, best.get(name, took))
        yield kind, best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--heads", type=int, default=200, help="in each round")
    parser.add_argument("--rounds", type=int, default=150)
    args = parser.parse_args()
    print(f"tornado {tornado.version}; ns for each head, and how many times as fast as Tornado")
    for kind, best in rows(args.heads, args.rounds):
        print(kind)
        for name, took in best.items():
            print(f"  {name:18} {took:8.0f}  {best['tornado'] / took:5.1f}×")


if __name__ == "__main__":
    main()
