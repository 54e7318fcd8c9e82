"""Heads: where they end, what they say, what is refused, and what is kept of them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from tornado import httputil
from tornado.httputil import HTTPHeaders, HTTPInputError, RequestStartLine

from leeward.engine import fields, head, layout
from leeward.engine.head import BadRequest, Head, Parser, find_head
from leeward.engine.rules import LEGAL, NAMES, SHARED, STRICTER
from leeward.engine.seen import Seen

PLAIN = b"GET /a?b HTTP/1.1\r\nHost: a\r\nX-Y: z"


@pytest.fixture(params=["quick", "tornado"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Parser:
    """Both ways to read: the quick one, and by Tornado alone."""
    made = Parser(max_body_size=1000)
    if request.param == "tornado":
        monkeypatch.setattr(made, "_build", None)
    return made


def parse(raw: bytes, **options: int) -> Head:
    return Parser(**({"max_body_size": 1000} | options)).parse(raw)  # type: ignore[arg-type]


def refused(raw: bytes) -> str:
    with pytest.raises(BadRequest) as caught:
        parse(raw)
    assert caught.value.status == 400
    assert caught.value.text == str(caught.value)
    assert caught.value.rule in NAMES
    return caught.value.rule


# --- where it ends ----------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\n", b"\r\n\n", b"\n\r\n"])
def test_the_end_is_an_empty_line(end: bytes) -> None:
    buffer = bytearray(PLAIN + end + b"body\r\n\r\n")
    assert find_head(buffer) == (len(PLAIN), len(PLAIN + end))


@pytest.mark.parametrize("wire", [b"", b"\n", b"\r\n", b"a\r\n", b"a\r\n\r", b"a\n\r", b"a\r\r\n"])
def test_no_end_yet(wire: bytes) -> None:
    assert find_head(bytearray(wire)) is None


def test_the_end_at_the_very_start() -> None:
    """Nothing is cut off in front of the buffer."""
    assert find_head(bytearray(b"\n\r\n")) == (0, 3)
    assert find_head(bytearray(b"\r\n\r\n")) == (0, 4)


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\n", b"\r\n\n", b"\n\r\n"])
def test_the_search_goes_on_where_it_was(end: bytes) -> None:
    """Octet by octet, three octets back: the same end, as Tornado's expression finds it."""
    wire, buffer, searched = PLAIN + end + b"x", bytearray(), 0
    for octet in wire:
        buffer.append(octet)
        found = find_head(buffer, max(searched - 3, 0))
        searched = len(buffer)
        if found:
            break
    match = re.search(rb"\r?\n\r?\n", wire)
    assert match
    assert found == match.span()


# --- what it says -----------------------------------------------------------------------


def test_a_plain_head(parser: Parser) -> None:
    it = parser.parse(PLAIN)
    assert (it.method, it.target, it.version) == ("GET", "/a?b", "HTTP/1.1")
    assert it.start_line == RequestStartLine("GET", "/a?b", "HTTP/1.1")
    assert type(it.start_line) is RequestStartLine
    assert type(it.headers()) is HTTPHeaders
    assert list(it.headers().get_all()) == [("Host", "a"), ("X-Y", "z")]
    assert (it.length, it.keep_alive, it.expect, it.upgrade) == (0, True, False, False)


def test_headers_are_tornados_to_the_last_attribute(parser: Parser) -> None:
    block = "host: a\r\nX-EMPTY:\r\nx-b:\t c \r\nx_y: ü\r\n"
    for lines in (block, block.replace("ü", "u"), block + "X-B: d\r\n"):
        theirs = HTTPHeaders.parse(lines)
        ours = parser.parse(b"GET / HTTP/1.1\r\n" + lines.encode("latin-1")[:-2]).headers()
        assert vars(ours) == vars(theirs)
        assert list(ours) == list(theirs)


@pytest.mark.parametrize("raw", [PLAIN, PLAIN + b"\r\nX-Y: two"], ids=["once", "twice"])
def test_headers_belong_to_the_caller(raw: bytes, parser: Parser) -> None:
    """What a handler does to them is not seen by the next one, from the cache or not."""
    for _ in range(4):
        headers = parser.parse(raw).headers()
        assert headers.get_list("X-Y")[0] == "z"
        assert "Added" not in headers
        headers["Added"] = "1"
        headers.get_list("X-Y")[0] = "changed"
        headers.add("X-Y", "more")
        del headers["Host"]


def test_a_head_without_headers() -> None:
    it = parse(b"GET / HTTP/1.0")
    assert (it.version, it.keep_alive, len(it.headers())) == ("HTTP/1.0", False, 0)


def test_an_empty_line_in_front_is_ignored() -> None:
    assert parse(b"\r\n" + PLAIN).target == parse(b"\n" + PLAIN).target == "/a?b"


def test_lines_may_end_in_lf() -> None:
    assert parse(PLAIN.replace(b"\r\n", b"\n")).headers()["X-Y"] == "z"


# --- framing ----------------------------------------------------------------------------


def framed(*lines: bytes, method: bytes = b"POST", version: bytes = b"1.1") -> Head:
    return parse(b"\r\n".join((method + b" / HTTP/" + version, b"Host: a", *lines)))


@pytest.mark.parametrize(
    ("lines", "length"),
    [
        ((), 0),
        ((b"Content-Length: 7",), 7),
        ((b"Content-Length: 0007",), 7),
        ((b"Content-Length: 1000",), 1000),
        ((b"Transfer-Encoding: chunked",), -1),
        ((b"transfer-encoding: ChunKed",), -1),
    ],
)
def test_the_length_of_the_body(lines: tuple[bytes, ...], length: int) -> None:
    assert framed(*lines).length == length


@pytest.mark.parametrize(
    "lines", [(b"Content-Length: 7, 7",), (b"Content-Length: 7", b"Content-Length: 7")]
)
def test_a_length_that_was_doubled_is_one(lines: tuple[bytes, ...]) -> None:
    """As in Tornado the application sees one of them."""
    it = framed(*lines)
    assert it.length == 7
    assert it.headers().get_list("Content-Length") == ["7"]


@pytest.mark.parametrize(
    ("lines", "rule"),
    [
        ((b"Content-Length: 1001",), "body-too-large"),
        ((b"Content-Length: " + b"9" * 5000,), "body-too-large"),
        ((b"Content-Length: 1, 2",), "content-length"),
        ((b"Content-Length: 1,",), "content-length"),
        ((b"Content-Length: +1",), "content-length"),
        ((b"Content-Length:",), "content-length"),
        ((b"Content-Length: 1\xa0",), "framing-octets"),
        ((b"Content-Length: 1", b"Transfer-Encoding: chunked"), "length-and-coding"),
        ((b"Transfer-Encoding: gzip",), "transfer-encoding"),
        ((b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), "transfer-encoding"),
    ],
)
def test_framing_that_is_refused(lines: tuple[bytes, ...], rule: str) -> None:
    assert refused(b"\r\n".join((b"POST / HTTP/1.1\r\nHost: a", *lines))) == rule


def test_the_limit_can_be_left_to_later() -> None:
    """A handler may change its limit once it has seen the head."""
    raw = PLAIN + b"\r\nContent-Length: 1001"
    it = Parser(max_body_size=None).parse(raw)
    assert it.length == 1001
    fields.check_length(it.length, 1001)
    fields.check_length(it.length, None)
    with pytest.raises(BadRequest, match="too long"):
        fields.check_length(it.length, 1000)


@pytest.mark.parametrize(
    ("version", "method", "lines", "kept"),
    [
        (b"1.1", b"GET", (), True),
        (b"1.1", b"GET", (b"Connection: keep-alive",), True),
        (b"1.1", b"GET", (b"Connection: Close",), False),
        (b"1.1", b"GET", (b"Connection: TE, close",), False),
        (b"1.1", b"GET", (b"Connection: not-close",), True),
        (b"1.0", b"GET", (), False),
        (b"1.0", b"GET", (b"Connection: Keep-Alive",), True),
        (b"1.0", b"HEAD", (b"Connection: keep-alive",), True),
        (b"1.0", b"GET", (b"Connection: keep-alive, TE",), False),
        (b"1.0", b"POST", (b"Connection: keep-alive",), False),
        (b"1.0", b"POST", (b"Connection: keep-alive", b"Content-Length: 0"), True),
        (b"1.0", b"GET", (b"Connection: keep-alive", b"Transfer-Encoding: chunked"), False),
        (b"1.2", b"POST", (b"Connection: keep-alive", b"Transfer-Encoding: chunked"), True),
        (b"1.2", b"GET", (), False),
    ],
)
def test_what_becomes_of_the_connection(
    version: bytes, method: bytes, lines: tuple[bytes, ...], kept: bool
) -> None:
    assert framed(*lines, version=version, method=method).keep_alive is kept


def test_expectations_and_upgrades() -> None:
    assert framed(b"Expect: 100-Continue").expect
    assert not framed(b"Expect: 100-continue", version=b"1.0").expect
    assert not framed(b"Expect: 200-ok").expect
    assert framed(b"Upgrade: websocket").upgrade


# --- refusals ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "rule"),
    [
        (b"", "request-line"),
        (b"GET /\r\nHost: a", "request-line"),
        (b"GET /\tb HTTP/1.1\r\nHost: a", "request-line"),
        (b"GET / HTTP/2.0\r\nHost: a", "request-line"),
        (b"GET foo HTTP/1.1\r\nHost: a", "target-form"),
        (b"GET * HTTP/1.1\r\nHost: a", "target-form"),
        (b"GET http://[::g]/ HTTP/1.1\r\nHost: a", "target-form"),
        (b"CONNECT / HTTP/1.1\r\nHost: a", "target-form"),
        (b"GET / HTTP/1.1\r\nX: a", "host-missing"),
        (b"GET / HTTP/1.1", "host-missing"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a", "host-duplicate"),
        (b"GET / HTTP/1.1\r\nHost: a b", "host-invalid"),
        (b"GET / HTTP/1.1\r\nHost: [1::2::3]", "host-invalid"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX", "field-name"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost", "field-name"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX : y", "field-name"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \0", "field-value"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n X: y", "obs-fold"),
        (b"GET / HTTP/1.1\r\nHost: a\r", "bare-cr"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb", "bare-cr"),
    ],
)
def test_refusals_have_names(raw: bytes, rule: str) -> None:
    assert refused(raw) == rule


def test_what_tornado_alone_refuses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later Tornado may refuse more than this one."""

    def stricter(line: str) -> RequestStartLine:
        raise HTTPInputError("no such thing")

    monkeypatch.setattr(head, "parse_request_start_line", stricter)
    assert refused(b"get / HTTP/1.1\r\nHost: a") == "tornado"


def test_legal_rarities_go_the_long_way() -> None:
    assert parse(b"CONNECT a:443 HTTP/1.1\r\nHost: a").target == "a:443"
    assert parse(b"OPTIONS * HTTP/1.1\r\nHost: a").target == "*"
    assert parse(b"get http://[v1.a]/ HTTP/1.1\r\nHost: [::1%25eth0]:80").method == "get"


# --- what is kept -----------------------------------------------------------------------


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[str]]]:
    """The headers that were read, and not found in a cache."""
    blocks: list[list[str]] = []
    read = Parser._fields

    def counted(self: Parser, lines: list[str]) -> dict[str, str] | None:
        blocks.append(lines)
        return read(self, lines)

    monkeypatch.setattr(Parser, "_fields", counted)
    yield blocks


def test_a_block_that_came_twice_is_kept(reads: list[list[str]]) -> None:
    made = Parser(max_body_size=1000)
    made.parse(PLAIN)  # learns the names
    reads.clear()
    for n in range(5):
        assert made.parse(b"GET /%d" % n + PLAIN[8:]).target == f"/{n}"
    assert len(reads) == 1


@pytest.mark.parametrize("raw", [PLAIN, PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0")])
def test_a_head_that_came_twice_is_kept_whole(raw: bytes) -> None:
    made = Parser(max_body_size=1000)
    first, second, third = (made.parse(raw) for _ in range(3))
    assert first is not second is third
    assert vars(second.headers()) == vars(first.headers())
    for name in set(Head.__slots__) - {"build"}:
        assert getattr(first, name) == getattr(second, name), name


def test_another_version_makes_something_else_of_the_same_block(reads: list[list[str]]) -> None:
    made = Parser(max_body_size=1000)
    for _ in range(3):
        assert made.parse(PLAIN).keep_alive
        assert not made.parse(PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0")).keep_alive


@pytest.mark.parametrize(
    ("raw", "options"),
    [
        (PLAIN, {"cache": 0}),
        (PLAIN + b"\r\nCookie: " + b"a" * 5000, {}),
    ],
    ids=["switched off", "long"],
)
def test_what_is_not_kept(raw: bytes, options: dict[str, int], reads: list[list[str]]) -> None:
    made = Parser(max_body_size=1000, **options)
    made.parse(raw)
    reads.clear()
    for _ in range(5):
        made.parse(raw)
    assert len(reads) == 5


def test_a_head_with_a_long_request_line_is_not_kept() -> None:
    made = Parser(max_body_size=1000)
    for _ in range(3):
        made.parse(PLAIN)
        made.parse(b"GET /" + b"a" * 5000 + PLAIN[8:])
    assert list(made._heads.entries) == [PLAIN]


def test_nothing_is_kept_where_none_may_be() -> None:
    """--head-cache 0: heads hold cookies."""
    made = Parser(max_body_size=1000, cache=0)
    for _ in range(3):
        assert made.parse(PLAIN).method == "GET"
    assert not made._blocks.entries and not made._heads.entries


def test_what_is_remembered_is_bounded() -> None:
    made = Parser(max_body_size=1000, cache=10)
    for _ in range(3):
        for n in range(2000):
            made.parse(b"GET /%d HTTP/1.1\r\nHost: h%d\r\nX-%d: a" % (n, n, n))
    assert len(made._blocks.entries) <= 10
    assert len(made._heads.entries) <= 10
    assert len(made._names) <= 1024
    assert len(made._hosts) <= 1024


def test_nothing_long_is_remembered() -> None:
    """A host, or a header's name, may be as long as a head: 1024 of them were 62 MiB."""
    made = Parser(max_body_size=1000)
    for long in (b"a" * 256, b"a" * 60000):
        assert made.parse(b"GET / HTTP/1.1\r\nHost: " + long).headers()["Host"] == long.decode()
        head = made.parse(b"GET / HTTP/1.1\r\nHost: a\r\nX-%s: 1" % long)
        assert head.headers()["X-" + long.decode()] == "1"
    made.parse(b"GET / HTTP/1.1\r\nX-%s: 1\r\nHost: %s" % (b"a" * 253, b"b" * 255))
    assert [*map(len, made._hosts)] == [255]
    assert sorted(map(len, made._names)) == [4, 255]


def test_more_names_than_are_remembered() -> None:
    block = b"".join(b"\r\nX-%d: a" % n for n in range(2000))
    assert len(parse(PLAIN + block).headers()) == 2002


def test_a_block_is_refused_however_often_it_comes() -> None:
    made = Parser(max_body_size=1000)
    for _ in range(4):
        with pytest.raises(BadRequest, match="Invalid Host"):
            made.parse(b"GET / HTTP/1.1\r\nHost: a b")


def test_seen_admits_what_comes_again() -> None:
    cache: Seen[str, int] = Seen(2)
    assert not cache.again("a")
    assert cache.again("a")
    cache.keep("a", 1)
    cache.keep("b", 2)
    assert cache.entries == {"a": 1, "b": 2}
    cache.keep("c", 3)  # full: it stays as it is
    assert cache.entries == {"a": 1, "b": 2}
    cache.keep("d", 4)  # as many as there is room for were turned away: anew
    assert cache.entries == {}


def test_seen_forgets_what_came_once() -> None:
    cache: Seen[int, int] = Seen(2)
    for n in range(4):
        assert not cache.again(n)
    assert not cache.again(4)  # pushes the four out
    assert not cache.again(0)


# --- Tornado's private attributes ---------------------------------------------------------


def test_a_way_to_build_is_found() -> None:
    assert layout.builder() is not None


def test_no_way_that_differs_is_taken() -> None:
    """In an attribute, in its order, in what is shared, in its class: none is equal."""
    right = layout.builder()
    assert right is not None
    shared = right({"Host": "a", "X-Empty": "", "Te": "b, c"})

    def more(found: dict[str, str]) -> HTTPHeaders:
        made = right(found)
        vars(made)["_more"] = 1
        return made

    def turned(found: dict[str, str]) -> HTTPHeaders:
        return right(dict(reversed(found.items())))

    def same(found: dict[str, str]) -> HTTPHeaders:
        return shared if found else right(found)

    class Other(HTTPHeaders):
        pass

    def other(found: dict[str, str]) -> HTTPHeaders:
        return Other(found)

    for way in (more, turned, same, other):
        assert layout.choose((way,)) is None
    assert layout.choose((more, right)) is right


def test_the_other_versions_way_is_not_taken() -> None:
    ways = (layout._combined, layout._last_key)
    assert [layout.choose((way,)) for way in ways].count(None) == 1
    for way in ways:  # both make what they say
        assert vars(way({"A": "b"}))["_as_list"] == {"A": ["b"]}


def test_without_a_way_tornado_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "builder", lambda: None)
    calls: list[str] = []
    real = httputil.HTTPHeaders.parse

    def counted(text: str) -> HTTPHeaders:
        calls.append(text)
        return real(text)

    monkeypatch.setattr(HTTPHeaders, "parse", counted)
    assert parse(PLAIN).headers()["X-Y"] == "z"
    assert len(calls) == 1


# --- the lists --------------------------------------------------------------------------


def test_each_rule_is_listed_once() -> None:
    rules = (*STRICTER, *LEGAL, *SHARED)
    assert len(NAMES) == len(rules)
    for rule in rules:
        assert rule.section.startswith("RFC ") or rule.name in ("tornado", "application")
        assert rule.tornado and rule.leeward
