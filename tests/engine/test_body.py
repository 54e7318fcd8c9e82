"""Chunked bodies: what comes out, how much at once, and what is refused."""

from __future__ import annotations

import pytest

from leeward.engine.body import EXTENSIONS, LINE, Chunked
from leeward.engine.head import BadRequest
from leeward.engine.rules import NAMES

HELLO = b'5;a=b ; c="\\" \xe9"\r\nhello\r\n01\r\n!\r\n0;z\r\nX-Sum: 1\r\nX-More:\r\n\r\n'


def decode(wire: bytes, step: int = 10**9, most: int = 10**9, limit: int = 1000) -> bytes:
    """Feed so many octets at a time, taking so many; returns the body. It must be whole."""
    chunked, body, buffer = Chunked(limit), b"", b""
    for at in range(0, len(wire), step):
        buffer += wire[at : at + step]
        while not chunked.done:
            pieces, used = chunked.feed(memoryview(buffer), most)
            assert sum(map(len, pieces)) <= most
            body += b"".join(pieces)
            buffer = buffer[used:]
            if not used:
                break
    assert chunked.done
    assert not buffer
    return body


def refused(wire: bytes, step: int = 10**9, limit: int = 1000) -> str:
    with pytest.raises(BadRequest) as caught:
        decode(wire, step, limit=limit)
    assert caught.value.rule in NAMES
    return caught.value.rule


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("most", [1, 2, 1000])
def test_it_is_decoded_however_it_comes(step: int, most: int) -> None:
    assert decode(HELLO, step, most) == b"hello!"


def test_octets_and_views_are_the_same() -> None:
    assert Chunked(10).feed(HELLO, 10) == Chunked(10).feed(memoryview(HELLO), 10)


def test_what_is_behind_the_body_is_left() -> None:
    chunked = Chunked(10)
    assert chunked.feed(b"1\r\na\r\n0\r\n\r\nGET /", 10) == ([b"a"], 11)
    assert chunked.done
    assert chunked.feed(b"GET /", 10) == ([], 0)


def test_nothing_may_be_taken() -> None:
    """With no room the data stays where it is, and the sizes in front of it do not."""
    chunked = Chunked(10)
    assert chunked.feed(b"2\r\nab", 0) == ([], 3)
    assert chunked.feed(b"ab", 0) == ([], 0)
    assert chunked.feed(b"ab", 1) == ([b"a"], 1)
    assert chunked.feed(b"b\r\n0\r\n\r\n", 1) == ([b"b"], 8)
    assert chunked.done


def test_a_large_chunk_comes_in_pieces() -> None:
    chunked = Chunked(100_000)
    assert chunked.feed(b"186a0\r\n", 1) == ([], 7)
    for _ in range(10):
        pieces, used = chunked.feed(bytes(10_000), 20_000)
        assert (len(pieces), used) == (1, 10_000)


@pytest.mark.parametrize("step", [1, 5, 10**9])
@pytest.mark.parametrize(
    ("wire", "rule"),
    [
        (b"x\r\n", "chunk-size"),
        (b"\r\n", "chunk-size"),
        (b"5 \r\n", "chunk-size"),
        (b"5;\r\n", "chunk-size"),
        (b"5;a=\r\n", "chunk-size"),
        (b'5;a="\r\n', "chunk-size"),
        (b"5;a\0\r\n", "chunk-size"),
        (b"0" * 63 + b"\r\n", "chunk-size"),
        (b"0" * 63 + b";a\r\n", "chunk-size"),
        (b"0" * 100, "chunk-size"),
        (b"1;" + b"a" * 100 + b"\n" + b"a" * 100, "chunk-size"),
        (b"1;" + b"a" * 100 + b"\r" + b"a" * 100, "chunk-size"),
        (b"1\r\nab\r\n", "chunk-end"),
        (b"1\r\na\n\r", "chunk-end"),
        (b"1\r\na\rx", "chunk-end"),
        (b"3e9\r\n", "body-too-large"),
        (b"1;" + b"a" * LINE, "chunk-overhead"),
        (b"1;" + b"a" * LINE + b"\r\n", "chunk-overhead"),
        (b"0\r\nX\r\n\r\n", "trailer-field"),
        (b"0\r\nX : y\r\n\r\n", "trailer-field"),
        (b"0\r\nX: \0\r\n\r\n", "trailer-field"),
        (b"0\r\n\n\n", "trailer-field"),
        (b"0\r\n\r\r", "trailer-field"),
        (b"0\r\nX: y\n\r\n\r\n", "trailer-field"),
        (b"0\r\n X: y\r\n\r\n", "trailer-field"),
        (b"0\r\nContent-Length: 1\r\n\r\n", "trailer-field"),
        (b"0\r\nX: " + b"a" * LINE, "trailer-size"),
        (b"0\r\n" + b"X: a\r\n" * 11_000, "trailer-size"),
    ],
)
def test_refusals_have_names(wire: bytes, rule: str, step: int) -> None:
    assert refused(wire, step) == rule


def test_the_bound_of_the_whole_body() -> None:
    assert decode(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", limit=5) == b"abcde"
    assert refused(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", limit=4) == "body-too-large"


def test_extensions_may_grow_with_the_body() -> None:
    """As with a signature for each chunk; alone they may not."""
    signature = b";chunk-signature=" + b"0" * 64
    large = b"400" + signature + b"\r\n" + bytes(1024) + b"\r\n"
    assert len(decode(large * 1000 + b"0\r\n\r\n", limit=10**7)) == 1024 * 1000
    small = b"1" + signature + b"\r\na\r\n"
    assert refused(small * (EXTENSIONS // 80 + 1) + b"0\r\n\r\n") == "chunk-overhead"


def test_trailers_have_a_bound_that_can_be_chosen() -> None:
    chunked = Chunked(10, trailers=10)
    with pytest.raises(BadRequest, match="trailers too large"):
        chunked.feed(b"0\r\nX: 1\r\nY: 2\r\n\r\n", 10)


def test_a_limit_that_is_set_while_the_body_comes() -> None:
    """It is asked at the beginning of each chunk, and not before what came first is given."""
    chunked = Chunked(4)
    data = b"4\r\nabcd\r\n4\r\nefgh\r\n2\r\nij\r\n0\r\n\r\n"
    pieces, used = chunked.feed(data, 100)
    assert pieces == [b"abcd"]
    chunked.limit = 8
    more, also = chunked.feed(data[used:], 100)
    assert more == [b"efgh"]
    with pytest.raises(BadRequest, match="too large"):
        chunked.feed(data[used + also :], 100)


def test_a_limit_that_is_lowered_amid_a_chunk_counts_from_the_next() -> None:
    chunked = Chunked(8)
    assert chunked.feed(b"4\r\nab", 100)[0] == [b"ab"]
    chunked.limit = 1
    assert chunked.feed(b"cd\r\n", 100)[0] == [b"cd"]
    with pytest.raises(BadRequest, match="too large"):
        chunked.feed(b"1\r\n", 100)
