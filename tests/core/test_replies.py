"""A reply ends where its rule says, however it was fragmented, each byte looked at about once."""

from __future__ import annotations

import os
import random
import re

import pytest

from leeward._core.replies import (
    Buffer,
    End,
    Ended,
    Replies,
    Reply,
    TooLarge,
    Wrong,
    ending,
    pattern,
    terminator,
)

SEED = int(os.environ.get("LEEWARD_SEED", random.randrange(10**9)))
LIMIT = 4096
DUBBO = re.compile(rb"\r\nelapsed: \d+ ms\.\r\ndubbo>")


def prefixed(buffer: Buffer, seen: int) -> int | None:
    """`5:hello`: how much must come is known before it has come."""
    colon = buffer.find(b":", max(seen - 1, 0))
    return None if colon < 0 else colon + 1 + int(buffer[:colon])


#: A rule, and what makes a reply by it of some bytes.
RULES: dict[str, tuple[bytes | re.Pattern[bytes] | End, str]] = {
    "bytes": (b"\r\ndubbo>", "%s\r\ndubbo>"),
    "one byte": (b"\x00", "%s\x00"),
    "pattern": (DUBBO, "%s\r\nelapsed: 12 ms.\r\ndubbo>"),
    "function": (prefixed, "%d:%s"),
}


def reply_of(rule: str, body: bytes) -> bytes:
    template = RULES[rule][1].encode()
    return template % ((len(body), body) if rule == "function" else body)


def pieces(random_: random.Random, data: bytes) -> list[bytes]:
    cuts = sorted(random_.sample(range(1, len(data)), random_.randrange(min(len(data), 12))))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("first", [0, SEED], ids=["kept", "new"])
def test_fragments_change_nothing(rule: str, first: int) -> None:
    """The same replies come out, each when its last byte came and not before."""
    print(f"LEEWARD_SEED={SEED}")
    crumbs = [b"dubbo>", b"\r\n", b"elapsed: 3 ms.", b"\r\ndubb", b"1", b"\xc4\xe3", b"\r"]
    for seed in range(first, first + 100):
        weather = random.Random(seed)
        replies = Replies(ending(RULES[rule][0]), LIMIT)
        for _ in range(5):
            body = b"".join(weather.choices(crumbs, k=weather.randrange(1, 12)))
            if rule == "bytes":
                body = body.replace(b"\r\n", b" ").rstrip(b"\r")
            if rule == "pattern":
                body = body.replace(b"ms.\r\n", b"ms. ")
            said = reply_of(rule, body)
            *parts, last = pieces(weather, said)
            assert [replies.feed(part) for part in parts] == [None] * len(parts), seed
            assert replies.begun == b"".join(parts)
            expected = said if rule == "function" else body
            assert replies.feed(last) == Reply(expected, True, b""), seed


class Spied(bytearray):
    looked = 0

    def find(self, sub: bytes, start: int = 0) -> int:  # type: ignore[override]
        Spied.looked += len(self) - start
        return super().find(sub, start)


def test_a_terminator_is_looked_for_in_each_byte_once() -> None:
    """A reply of n single bytes costs n looks of its end's length, not n²."""
    find, buffer, size = terminator(b"\r\n> "), Spied(), 2000
    Spied.looked = 0
    for seen in range(size):
        buffer += b"x"
        assert find(buffer, seen) is None
    assert Spied.looked <= 4 * size


class Window:
    """A pattern that notes where it was asked to begin."""

    pattern = b"end"

    def __init__(self) -> None:
        self.begun: list[int] = []

    def match(self, _: bytes) -> None:
        return None

    def search(self, buffer: Buffer, begin: int) -> None:
        self.begun.append(len(buffer) - begin)


def test_a_pattern_looks_back_no_farther_than_said() -> None:
    """However much has come before."""
    window = Window()
    find = pattern(window, 10)  # type: ignore[arg-type]
    for seen in range(0, 5000, 5):
        find(bytes(seen + 5), seen)
    assert max(window.begun) == 15


def test_a_function_that_knows_the_size_is_not_asked_again() -> None:
    """It waits for the bytes, once it knows how many."""
    asked = []

    def end(buffer: Buffer, seen: int) -> Ended:
        asked.append((len(buffer), seen))
        return Ended(3, 10, clear=False)

    replies = Replies(end, LIMIT)
    assert replies.feed(b"12345") is None
    assert replies.feed(b"6789") is None
    assert replies.feed(b"0+") == Reply(b"123", False, b"+")
    assert asked == [(5, 0)]


def test_what_comes_behind_a_reply_is_told() -> None:
    """Nobody has asked for it."""
    assert Replies(terminator(b"."), LIMIT).feed(b"a.b.") == Reply(b"a", True, b"b.")


def test_the_next_reply_begins_anew() -> None:
    """Nothing of the one before is left."""
    replies = Replies(terminator(b"."), LIMIT)
    assert [replies.feed(it) for it in (b"a", b"b.", b"c", b".")] == [
        None,
        Reply(b"ab", True, b""),
        None,
        Reply(b"c", True, b""),
    ]
    assert replies.begun == b""


@pytest.mark.parametrize(
    ("parts", "size"),
    [([b"x" * 11], 11), ([b"x" * 10, b"y"], 11), ([b"x" * 10 + b"."], 11)],
    ids=["no end", "in parts", "ends behind the limit"],
)
def test_a_reply_is_bounded(parts: list[bytes], size: int) -> None:
    """Its end included; at the limit it may be."""
    with pytest.raises(TooLarge) as caught:
        replies = Replies(terminator(b"."), 10)
        for part in parts:
            replies.feed(part)
    assert caught.value.size == size
    assert Replies(terminator(b"."), 10).feed(b"x" * 9 + b".") is not None


def test_a_size_beyond_the_limit_is_refused_before_it_came() -> None:
    """Its server says so in its first bytes."""
    with pytest.raises(TooLarge, match="5002"):
        Replies(prefixed, LIMIT).feed(b"4997:x")


@pytest.mark.parametrize("said", [0, -1, Ended(5, 4), Ended(-1, 4)])
def test_a_function_that_cannot_be_right_is_told(said: int | Ended) -> None:
    with pytest.raises(Wrong, match="ends so"):
        Replies(lambda buffer, seen: said, LIMIT).feed(b"abcdef")


@pytest.mark.parametrize(
    "rule", [b"", re.compile(b"x*"), re.compile("text"), "text", None], ids=repr
)
def test_what_cannot_end_a_reply_is_refused(rule: object) -> None:
    with pytest.raises(ValueError, match="reply|nothing at all"):
        ending(rule)  # type: ignore[arg-type]
