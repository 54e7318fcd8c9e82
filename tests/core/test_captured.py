"""What a worker prints is cut into lines, and nothing of it is lost or mixed."""

from __future__ import annotations

import random

import pytest

from leeward._core.captured import LONGEST, Exact, Logged, Tagged
from leeward._core.capturing import mark

OURS = mark("5ec2e7").encode()


def test_whole_lines_and_a_rest() -> None:
    cutter = Exact()
    assert cutter.put(b"one\ntw") == b"one\n"
    assert cutter.waits()
    assert cutter.put(b"o\nthree") == b"two\n"
    assert cutter.rest() == b"three"
    assert not cutter.waits()
    assert cutter.rest(last=True) == b"" == cutter.interrupted()


def test_a_line_without_an_end_is_bounded() -> None:
    cutter = Exact()
    assert cutter.put(b"x" * LONGEST) == b""
    assert cutter.put(b"x") == b"x" * (LONGEST + 1)
    assert not cutter.waits()


def test_exact_is_exact() -> None:
    """However the octets come, and whenever a rest is taken."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    data = chance.randbytes(20_000)
    cutter, got, at = Exact(), b"", 0
    while at < len(data):
        size = chance.randrange(1, 3000)
        got += cutter.put(data[at : at + size])
        at += size
        if chance.random() < 0.2:
            got += cutter.rest()
    assert got + cutter.rest(last=True) == data


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (b"one\ntwo\n", b"w2| one\nw2| two\n"),
        (b"\n\n", b"w2|\nw2|\n"),
        (b"dos\r\nlines\r\n", b"w2| dos\r\nw2| lines\r\n"),
        (b"\x1b[31mred\x1b[0m\n", b"w2| \x1b[31mred\x1b[0m\n"),
        (b"1%\r2%\r3%\n", b"w2| 1%\rw2| 2%\rw2| 3%\n"),
        (b"\r1%\r2%\n", b"\rw2| 1%\rw2| 2%\n"),
        (b"a" + OURS + b"2026 worker=2 ready\nb\n", b"w2| a\n2026 worker=2 ready\nw2| b\n"),
        (OURS + b"ours\n" + OURS + b"more\n", b"ours\nmore\n"),
        (b"1%\r" + OURS + b"ours\n", b"w2| 1%\r\nours\n"),
    ],
)
def test_tags(printed: bytes, shown: bytes) -> None:
    """The same, whether it comes at once or octet by octet."""
    assert Tagged(2, OURS).put(printed) == shown
    slow = Tagged(2, OURS)
    assert b"".join(slow.put(bytes([it])) for it in printed) == shown


def test_a_line_goes_on_where_it_was_begun() -> None:
    cutter = Tagged(0)
    assert cutter.put(b"loading") == b""
    assert cutter.rest() == b"w0| loading"
    assert cutter.put(b" ... done\nnext\n") == b" ... done\nw0| next\n"


def test_a_line_that_was_interrupted_goes_on_as_another() -> None:
    cutter = Tagged(0)
    assert cutter.interrupted() == b""
    cutter.put(b"loading")
    cutter.rest()
    assert cutter.interrupted() == b"\n"
    assert cutter.put(b"done\n") == b"w0| done\n"


def test_a_return_waits_for_what_follows_it() -> None:
    """An end of line that comes in two is one; else the tag is written again."""
    cutter = Tagged(0)
    cutter.put(b"a\r")
    assert cutter.rest() == b"w0| a\r"
    assert cutter.put(b"\n") == b"\n"
    cutter.put(b"b\r")
    cutter.rest()
    assert cutter.put(b"c\n") == b"w0| c\n"


def test_the_last_line_gets_an_end() -> None:
    cutter = Tagged(0)
    assert cutter.put(b"bye") == b""
    assert cutter.rest(last=True) == b"w0| bye\n"
    assert cutter.rest(last=True) == b""


def test_lines_of_the_log() -> None:
    cutter = Logged(lambda text: f"<{text}>\n", OURS)
    assert cutter.put(b"one\ntwo\r\n\nthr") == b"<one>\n<two>\n<>\n"
    assert cutter.put(b"") == b""
    assert cutter.rest() == b"<thr>\n"
    assert cutter.put(b"\xff\n" + OURS + b"ours\n") == b"<\\xff>\nours\n"


@pytest.mark.parametrize("guess", [b"", b"\x1e\x1e", b"\x1e0000000000000000\x1e"])
def test_what_is_printed_is_never_taken_for_a_line_of_ours(guess: bytes) -> None:
    """A client sends lines with a mark, and the application prints them."""
    forged = guess + b"2026-11-21 error worker=3 forged \x1b[2J\n"
    for own in (b"", OURS):
        made = Logged(lambda text: f"<{text}>\n", own).put(forged)
        assert made.startswith(b"<") and made.endswith(b">\n")
        assert Tagged(2, own).put(forged) == b"w2| " + forged
