"""An application may write over its log ring: nobody but its own worker loses a line by that."""

from __future__ import annotations

import json
import os
import random
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

from leeward._collector.intake import Intake
from leeward._core.sinks import Spec
from leeward._sys import rings
from leeward._sys.ring import (
    CURSOR,
    DAMAGED,
    DEVICE,
    INODE,
    INTENT,
    OCTETS,
    OFFSET,
    SINKS,
    TABLED,
    RingWriter,
)
from leeward._sys.rings import DATA, HEAD, HEAD_BYTES, TAIL

SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 30)))
#: Rings that are scribbled over.
ROUNDS = int(os.environ.get("SOAK_LOGS", "80")) * 4

FULL = (1 << 64) - 1
#: What stands where an application scribbles: as it was with some bits changed, or one of these.
WORDS = (0, 1, 2, 63, 64, 1 << 20, 0xFFFFFFFF, 1 << 32, 1 << 62, 1 << 63, FULL - 1, FULL)
_FIRST_SINK = 64  # its words in the head


class House:
    """An intake, rings of workers, and what it says."""

    def __init__(self, path: Path, undo: ExitStack) -> None:
        self.said: list[str] = []
        self.path = path
        path.touch()
        self.spec = Spec("file", str(path)).to_json()
        self.fds: dict[int, int] = {}
        self.intake = Intake(lambda level, text: None)
        undo.callback(self.kill)
        self.successor()

    def kill(self) -> None:
        for source in self.intake.sources.values():
            source.reader.close()
        for stream in self.intake._streams.values():
            stream.close()

    def successor(self) -> None:
        """As a collector that takes over from one that was killed."""
        self.kill()
        self.intake = Intake(lambda level, text: self.said.append(text))
        for worker, fd in self.fds.items():
            self.hand(worker, fd)

    def hand(self, worker: int, fd: int) -> None:
        self.intake.add(worker, 0, f"worker {worker}", os.dup(fd))

    def ring(self, worker: int, size: int = 1 << 14) -> RingWriter:
        fd = self.fds[worker] = rings.create(size)
        return RingWriter(fd)

    def forget(self, worker: int) -> bool:
        """Was it held?"""
        fd = self.fds.pop(worker, -1)
        if fd >= 0:
            os.close(fd)
        return fd >= 0

    def turn(self, now: float) -> None:
        """As `main` does it."""
        self.intake.wake()
        moved = self.intake.turn(now)
        for worker in self.intake.drained():
            self.forget(worker)
        if moved:
            self.intake.nap()
        elif self.intake.sleep():
            self.intake.next_try()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with ExitStack() as undo:
        it = House(tmp_path / "app.log", undo)
        yield it
        for worker in [*it.fds]:
            it.forget(worker)


def _entry(w: RingWriter) -> None:
    w._map[HEAD_BYTES : HEAD_BYTES + 4] = struct.pack("<I", 0xFFFFFFFF)
    w.words[TABLED] = 2


def _sink(w: RingWriter) -> None:
    w.words[TABLED] = 1 << 20
    w.write(500, 20, b"to nowhere\n")


def _positions(w: RingWriter) -> None:
    w.words[HEAD] = w.words[TAIL] = FULL


def _head(w: RingWriter) -> None:
    w.words[HEAD] = FULL


def _damaged(w: RingWriter) -> None:
    w.words[DAMAGED] = FULL
    w._map[DATA : DATA + 8] = b"scribble"


def _intent(w: RingWriter) -> None:
    """As of a batch that may have been written, behind the end of any file."""
    it = os.stat(json.loads(next(iter(w._sinks)))["path"])
    words = {INTENT: 1 << 40, DEVICE: it.st_dev, INODE: it.st_ino, OFFSET: FULL, OCTETS: 4}
    for word, value in words.items():
        w.words[_FIRST_SINK + word] = value


def _taken(w: RingWriter) -> None:
    w.words[_FIRST_SINK + CURSOR] = FULL


def _deep(w: RingWriter) -> None:
    w.write(w.sink(b'{"kind":' + b"[" * 50_000), 20, b"to stderr\n")


CASES = [_entry, _sink, _positions, _head, _damaged, _intent, _taken, _deep]


@pytest.mark.parametrize("scribble", CASES, ids=lambda it: it.__name__[1:])
@pytest.mark.parametrize("when", ["before", "after"])
def test_the_others_go_on(house: House, scribble: Callable[[RingWriter], None], when: str) -> None:
    """Whether it was so when the ring came, as each successor has it, or becomes so."""
    bad, good = house.ring(1), house.ring(2)
    for writer in (bad, good):
        writer.sink(house.spec)
    if when == "after":
        house.successor()
        house.turn(0.0)
    bad.write(0, 20, b"bad\n")
    good.write(0, 20, b"good\n")
    scribble(bad)
    if when == "before":
        house.successor()
    for now in range(1, 200):
        house.turn(float(now))
    good.write(0, 20, b"better\n")
    house.turn(200.0)
    lines = house.path.read_text().splitlines()
    assert [it for it in lines if it != "bad"] == ["good", "better"]
    house.intake.end(1)
    house.intake.end(2)
    for now in range(201, 210):
        house.turn(float(now))
    assert not house.fds, "a ring is held for ever"
    assert len(house.said) <= 2, house.said


@pytest.mark.parametrize("scribble", [_positions, _head, _taken], ids=lambda it: it.__name__[1:])
def test_what_a_worker_logs_later_is_written(
    house: House, scribble: Callable[[RingWriter], None]
) -> None:
    """Words that are wrong are set right, and one line says how much was lost."""
    bad = house.ring(1)
    bad.sink(house.spec)
    house.successor()
    scribble(bad)
    for now in range(100):
        house.turn(float(now))
    bad.write(0, 20, b"lost, perhaps\n")
    for now in range(100, 200):
        house.turn(float(now))
    for number in range(2000):  # many times round
        assert bad.write(0, 20, b"%d\n" % number)
        house.turn(200.0 + number)
    found = [it for it in house.path.read_text().splitlines() if it.isdecimal()]
    assert found == [str(it) for it in range(2000)]
    assert 1 <= len(house.said) <= 2, house.said


def test_a_record_before_a_damaged_one_is_written(house: House) -> None:
    """It was read in one go with it."""
    bad = house.ring(1)
    bad.sink(house.spec)
    bad.write(0, 20, b"good\n")
    bad.write(500, 20, b"to nowhere\n")
    house.successor()
    house.intake.end(1)
    for now in range(5):
        house.turn(float(now))
    assert house.path.read_text() == "good\n"
    assert not house.fds


def test_a_counter_that_is_full_stops_no_thread(house: House) -> None:
    """Neither the line nor its caller's other threads: counting is done within the lock."""
    writer = house.ring(1, 4096)
    writer.sink(house.spec)
    for word in range(8, 16):
        writer.words[word] = FULL
    for _ in range(200):
        writer.write(0, 20, b"x" * 100 + b"\n")
    writer.unwritten()
    assert all(it != FULL for it in (writer.refused()[1], writer.refused()[4]))


def _scribble(rng: Random, writer: RingWriter) -> str:
    """A word of the head that means something, of the table, or of the records; or a stretch."""
    where = rng.randrange(4)
    if where == 0:
        at = 8 * rng.choice([*range(24), *range(_FIRST_SINK, _FIRST_SINK + 24)])
    elif where == 1:
        at = rng.randrange(HEAD_BYTES, HEAD_BYTES + 256)
    else:
        at = rng.randrange(8 * (_FIRST_SINK + 8 * SINKS) if where == 2 else len(writer._map) - 8)
    (word,) = struct.unpack("<Q", writer._map[at : at + 8])
    word = rng.choice([*WORDS, rng.getrandbits(64), word ^ 1 << rng.randrange(64), word + 1 & FULL])
    writer._map[at : at + 8] = struct.pack("<Q", word)
    return f"{at}: {word:#x}"


def test_any_word_at_any_moment(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    """Of one ring after the other, while two others are written to and collectors die: the lines
    of those two are written once each."""
    print(f"SEED={SEED}")
    rng = Random(SEED)
    wrote: Counter[str] = Counter()
    good = [house.ring(1), house.ring(2)]
    sinks = [it.sink(house.spec) for it in good]
    house.successor()
    now = 0.0
    for number in range(3, 3 + ROUNDS):
        bad = house.ring(number)
        sink = bad.sink(house.spec)
        house.hand(number, house.fds[number])
        done = []
        for step in range(rng.randrange(1, 12)):
            now += 0.2
            for which, writer in enumerate(good):
                line = f"good {which} {number} {step}"
                if writer.write(sinks[which], 20, f"{line}\n".encode()):
                    wrote[line] += 1
            bad.write(sink, 20, b"bad %d %s\n" % (number, b"x" * rng.randrange(900)))
            if rng.random() < 0.5:
                done.append(_scribble(rng, bad))
            if rng.random() < 0.1:
                house.successor()
            try:
                house.turn(now)
            except Exception as error:
                raise AssertionError(f"{done} with SEED={SEED}") from error
        house.intake.end(number)
        for _ in range(60):
            now += 0.2
            house.turn(now)
            if number not in house.fds:
                break
        # Or its path leads to nowhere now, as any sink's might: that is told, and waited for.
        held = house.forget(number) and not house.intake._troubles()
        assert not held, f"{done} is held for ever, with SEED={SEED}"
    assert len(wrote) > ROUNDS
    # A line may stand behind the half of one that was scribbled over: it is the last on its own.
    lines = house.path.read_text(errors="replace").splitlines()
    assert Counter(it for it in lines if it.startswith("good")) == wrote
