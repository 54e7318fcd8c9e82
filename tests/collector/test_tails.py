"""`leeward logs` at the collector: who asks gets it all, and is told if that cannot be."""

from __future__ import annotations

import re
import select
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from collector.harness import Follower, Scene

from leeward._collector.tails import Tails
from leeward._core import collector_messages as c
from leeward._core import messages as m
from leeward._core.sinks import Spec
from leeward._sys.channel import Channel


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(Spec("file", str(tmp_path / "app.log")), Random(1), sizes=(3000,))
    yield made
    made.close()


def test_who_reads_slowly_gets_the_last_lines_without_another_line(scene: Scene) -> None:
    """300 lines of 3000 octets are more than a socket takes at once."""
    scene.write(300, here=True)
    scene.collect()
    scene.wait_drained()
    ours, theirs = Channel.pair()
    scene.tell(c.Tail(1000, False, -1, 0, m.Descriptor(theirs.fileno())))
    theirs.close()
    text, last = "", False
    while not last:
        piece = ours.wait(20.0)
        assert isinstance(piece, m.Piece)
        text, last = text + piece.text, piece.last
    ours.close()
    assert text == Path(scene.spec.path).read_text()


def test_one_who_comes_late_is_told_what_he_missed(scene: Scene) -> None:
    """More than the 1000 lines that are kept, between two collectors."""
    scene.sizes = (100,)
    follower = scene.follower = Follower()
    scene.collect()
    first = scene.write(1, here=True)
    while not follower.text:
        follower.read()
    scene.kill_collector()
    follower.read_all()
    assert follower.text == Path(scene.spec.path).read_text() and not follower.errors
    scene.follower = None
    scene.write(1500, here=True)
    scene.collect()
    scene.wait_drained()
    follower.ask(scene)
    while len(follower.text.splitlines()) < 1001:
        follower.read()
    scene.finish()
    follower.read_all()
    lines = Path(scene.spec.path).read_text().splitlines()
    assert follower.text.splitlines() == [lines[0], *lines[-1000:]]
    [error] = follower.errors
    assert "lines are missed here" in error
    assert first.drained


def test_a_word_that_is_not_understood_ends_nobody(scene: Scene) -> None:
    """Whoever may ask may say anything."""
    scene.collect()
    ours, theirs = Channel.pair()
    scene.tell(c.Tail(-1, True, -1, 0, m.Descriptor(theirs.fileno()), "1/2"))
    theirs.close()
    piece = ours.wait(20.0)
    assert isinstance(piece, m.Piece) and piece.last and "nothing that is reached" in piece.error
    ours.close()
    scene.finish()


FRAMES = "".join(f'| File "shop.py", line {n}, in größer\n' for n in range(300))


@pytest.mark.parametrize("shift", range(4))
def test_of_a_long_record_the_end_is_shown_too(shift: int) -> None:
    """By whole characters, and with the number of octets that are missing."""
    first, last = "w0 " + "x" * shift + " failed:\n", "| ValueError: größer 🦉 als erlaubt"
    text = f"{first}{FRAMES.replace('größer', '🦉ü€' * 5)}{last}\n"
    shown = shown_of(text.encode())
    assert len(shown) <= 4096
    head, octets, tail = re.split(r" \[(\d+) octets cut\] ", shown.decode())
    assert head.startswith(first) and tail.endswith(f"\n{last}\n")
    assert len(head.encode()) > 1020 and len(shown) > 4080
    missing = len(text.encode()) - len((head + tail).encode())
    assert int(octets) == missing
    assert text.startswith(head) and text.endswith(tail)


def test_octets_that_are_no_text_are_cut_all_the_same() -> None:
    """Nobody promises UTF-8; and what is not too long stays as it is."""
    shown = shown_of(b"\x80" * 10_000)
    assert shown.count(b"\x80") + 20 < 4096 and b" octets cut] " in shown
    assert shown_of(b"\x80" * 4096) == b"\x80" * 4096


def shown_of(line: bytes) -> bytes:
    """What is kept of it."""
    tails = Tails(select.poll())
    tails.printed(0, 20, [line])
    [(_, _, shown, _, _)] = tails._recent
    return shown
