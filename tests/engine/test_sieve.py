"""Our pongs are taken out of a client's frames, wherever they stand; nothing else is touched."""

from __future__ import annotations

import random
import struct

import pytest

from leeward.engine.sieve import Sieve, ping

COOKIE = b"\x01\x89\x8a\x88~~\x00\xff"


def frame(first: int, payload: bytes, mask: bytes | None = b"\x8a\x88\x01\xff") -> bytes:
    """mask:  None for a client that does not mask, which Tornado lets pass."""
    size = len(payload)
    bit = 0 if mask is None else 0x80
    if size < 126:
        head = bytes((first, bit | size))
    elif size < 65536:
        head = struct.pack(">BBH", first, bit | 126, size)
    else:
        head = struct.pack(">BBQ", first, bit | 127, size)
    if mask is None:
        return head + payload
    return head + mask + bytes(it ^ mask[at % 4] for at, it in enumerate(payload))


OURS = frame(0x8A, COOKIE)
OTHERS = [
    frame(0x81, b"hello"),
    frame(0x81, b""),
    frame(0x82, OURS),  # looks like one, in a payload
    frame(0x81, b"x" * 125),
    frame(0x81, b"x" * 126),
    frame(0x82, OURS * 20),
    frame(0x82, b"\x8a" * 70000),
    frame(0x8A, b""),
    frame(0x8A, b"theirs"),
    frame(0x8A, b"8 bytes!"),  # as long as ours
    frame(0x8A, COOKIE, None),
    frame(0x8A, COOKIE[::-1]),
    frame(0x89, COOKIE),
    frame(0x01, b"frag"),
    frame(0x80, b"ment"),
    frame(0xC1, b"\x8a\x88deflated"),
    frame(0x81, b"bare", None),
    frame(0x88, b"\x03\xe8"),
]


def test_the_frame_that_asks() -> None:
    """A ping that is not masked, as from any server."""
    assert ping(COOKIE) == b"\x89\x08" + COOKIE


def test_a_pong_of_ours_leaves_nothing() -> None:
    """The usual case: it comes by itself."""
    sieve = Sieve(COOKIE)
    assert sieve.feed(OURS) == b"" and sieve.answers


@pytest.mark.parametrize("other", OTHERS)
def test_all_else_passes(other: bytes) -> None:
    """Every other frame, pongs of the application's pings too."""
    sieve = Sieve(COOKIE)
    assert sieve.feed(other) == other
    assert sieve.answers is (other[0] == 0x8A)
    assert sieve.feed(OURS) == b""


@pytest.mark.parametrize("seed", range(200))
def test_however_it_is_cut(seed: int) -> None:
    """Sieve in any order, cut anywhere, come out as if our pongs had not been sent."""
    draw = random.Random(seed)
    sent = [draw.choice([*OTHERS, *[OURS] * 6]) for _ in range(draw.randrange(1, 30))]
    wire, wanted = b"".join(sent), b"".join(it for it in sent if it is not OURS)
    sieve, found, at = Sieve(COOKIE), b"", 0
    while at < len(wire):
        step = draw.choice((1, 1, 2, 3, draw.randrange(1, 40), draw.randrange(1, 5000)))
        found += sieve.feed(wire[at : at + step])
        at += step
    assert found == wanted
    assert sieve.answers is any(it[0] == 0x8A for it in sent)


def test_only_what_may_become_ours_is_kept_back() -> None:
    """A header that breaks a rule is Tornado's to see at once, whole or not."""
    sieve = Sieve(COOKIE)
    assert sieve.feed(b"\x89\xfe") == b"\x89\xfe"
    sieve = Sieve(COOKIE)
    assert sieve.feed(b"\x8a") == b""
    assert sieve.feed(b"\xfe") == b"\x8a\xfe"
    sieve = Sieve(COOKIE)
    assert sieve.feed(OURS[:13]) == b""
    assert sieve.feed(bytes((OURS[13] ^ 1,))) == OURS[:13] + bytes((OURS[13] ^ 1,))
    assert sieve.most_kept_back >= 13
