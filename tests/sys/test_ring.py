"""A log ring: one process writes lines, another takes them, and either may be killed."""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import random
import select
import signal
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from collector.harness import fork

from leeward._core import logrings
from leeward._sys import ring, rings
from leeward._sys.bell import Bell
from leeward._sys.ring import BadRing, Intent, Record, RingReader, RingWriter, TableFull

SEED = random.SystemRandom().randrange(1 << 30)
INFO, WARNING, ERROR = 20, 30, 40
NONE = (0, 0, 0, 0, 0)


@contextlib.contextmanager
def ends(size: int = 1 << 16, bell: int = -1) -> Iterator[tuple[RingWriter, RingReader]]:
    fd = ring.create(size)
    writer, reader = RingWriter(fd, bell), RingReader(fd)
    os.close(fd)  # the mappings outlive it
    try:
        yield writer, reader
    finally:
        writer.close()
        reader.close()


def take(reader: RingReader) -> list[Record]:
    """All there is, and its place is free again."""
    found: list[Record] = []
    while records := reader.read():
        found += records
        for it in records:
            reader.taken(it.sink, it.end)
        reader.free(records[-1].end)
    return found


def test_lines_come_out_as_they_went_in() -> None:
    """Of any length, many times round, in order, with what belongs to them."""
    print(f"SEED={SEED}")
    rng = random.Random(SEED)
    with ends() as (writer, reader):
        sinks = [writer.sink(b"one"), writer.sink(b"two"), writer.sink(b"one", access=True)]
        assert reader.sinks() == [b"one", b"two"]
        numbers = itertools.count()
        for _ in range(200):
            sent = []
            for _ in range(rng.randrange(1, 5)):
                line = rng.randbytes(rng.choice([0, 1, 7, 8, 9, 100, 4000]))
                which, level = rng.randrange(3), rng.choice([INFO, ERROR])
                assert writer.write(sinks[which], level, line)
                sent.append((next(numbers), which % 2, which == 2, level, line))
            found = [(it.sequence, it.sink, it.access, it.level, it.line) for it in take(reader)]
            assert found == sent
        assert writer.refused() == NONE


def test_the_same_sink_has_the_same_number() -> None:
    """For whoever asks, and for a writer that comes later."""
    fd = ring.create(1 << 16)
    writer = RingWriter(fd)
    numbers = [writer.sink(b"a"), writer.sink(b"b"), writer.sink(b"a")]
    assert numbers[0] == numbers[2] != numbers[1]
    writer.write(numbers[0], INFO, b"line")
    again = RingWriter(fd)
    assert again.sink(b"b") == numbers[1]
    assert again.write(numbers[1], INFO, b"line")
    reader = RingReader(fd)
    assert [it.sequence for it in reader.read()] == [0, 1]
    for it in (writer, again, reader):
        it.close()
    os.close(fd)


def test_there_is_room_for_so_many_sinks() -> None:
    """Then it says so, and those that are there work as before."""
    with ends() as (writer, reader):
        for n in range(ring.SINKS):
            writer.sink(b"%d" % n)
        with pytest.raises(TableFull):
            writer.sink(b"one more")
        assert writer.sink(b"3") == 3 and len(reader.sinks()) == ring.SINKS
    with ends() as (writer, reader), pytest.raises(TableFull):
        writer.sink(b"x" * rings.TABLE_BYTES)


def test_requests_go_first_and_the_last_quarter_is_for_warnings() -> None:
    """What is refused is counted, by kind, and nothing of it is written."""
    with ends() as (writer, reader):
        sink, requests = writer.sink(b"app"), writer.sink(b"app", access=True)
        line = b"x" * 1000
        counts = [0, 0, 0]
        for which, number, level in [(0, requests, ERROR), (1, sink, INFO), (2, sink, WARNING)]:
            while writer.write(number, level, line):
                counts[which] += 1
            assert not writer.write(requests, ERROR, line)
        assert counts == [32, 16, 16]  # of 64 kB
        assert writer.refused() == (4, 1, 1, 0, 0)
        assert len(take(reader)) == 64
        assert writer.write(requests, INFO, line)


def test_a_line_that_is_too_long_is_refused_at_once() -> None:
    with ends() as (writer, reader):
        sink = writer.sink(b"app")
        assert writer.write(sink, ERROR, b"x" * logrings.longest(1 << 16))
        started = time.monotonic()
        take(reader)
        assert not writer.write(sink, ERROR, b"x" * ((1 << 15) + 1), wait=30.0)
        assert time.monotonic() - started < 10
        assert reader.refused() == (0, 0, 0, 1, 0)


def test_an_error_waits_for_room() -> None:
    """Until there is some, or its time is over."""
    bell = Bell()
    with ends(bell=os.dup(bell.fd)) as (writer, reader):
        sink = writer.sink(b"app")
        while writer.write(sink, ERROR, b"x" * 1000):
            pass
        bell.silence()
        started = time.monotonic()
        assert not writer.write(sink, ERROR, b"late", wait=0.05)
        assert time.monotonic() - started >= 0.05
        assert bell.silence()  # it has asked for room
        take(reader)
        while writer.write(sink, ERROR, b"x" * 1000):
            pass

        def make_room() -> None:
            select.select([bell.fd], [], [], 10)
            take(reader)

        helper = threading.Thread(target=make_room)
        helper.start()
        assert writer.write(sink, ERROR, b"in time", wait=10.0)
        helper.join()
        assert writer.refused() == (0, 0, 3, 0, 0)
        assert [it.line for it in take(reader)] == [b"in time"]
        assert writer._bell is not None
        writer._bell.close()
    bell.close()


def test_who_waited_in_vain_waits_once() -> None:
    """While the ring stays full others of its kind do not; when there is room they do again."""
    with ends() as (writer, reader):
        sink = writer.sink(b"app")

        def fill() -> None:
            while writer.write(sink, ERROR, b"x" * 1000):
                pass

        fill()
        assert not writer.write(sink, ERROR, b"x" * 1000, wait=0.01)
        started = time.monotonic()
        assert not writer.write(sink, ERROR, b"x" * 1000, wait=60.0)
        assert time.monotonic() - started < 30
        take(reader)
        fill()
        started = time.monotonic()
        assert not writer.write(sink, ERROR, b"x" * 1000, wait=0.05)
        assert time.monotonic() - started >= 0.05


def test_threads_take_turns() -> None:
    """None of their lines is lost or mixed with another's."""
    with ends(1 << 20) as (writer, reader):
        sink = writer.sink(b"app")

        def write(name: int) -> None:
            for n in range(500):
                assert writer.write(sink, INFO, b"%d %d" % (name, n))

        threads = [threading.Thread(target=write, args=(it,)) for it in range(4)]
        for it in threads:
            it.start()
        for it in threads:
            it.join()
        found = [tuple(map(int, it.line.split())) for it in take(reader)]
        for name in range(4):
            assert [n for who, n in found if who == name] == list(range(500))


def test_a_signal_that_logs_in_the_middle_of_a_line() -> None:
    """Its handler's line is refused and counted; nothing hangs, nothing is torn."""
    with ends(1 << 20) as (writer, reader):
        sink = writer.sink(b"app")
        answers: list[bool] = []

        def handler(signum: int, frame: object) -> None:
            answers.append(writer.write(sink, INFO, b"from the handler"))

        before = signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
        try:
            written = sum(writer.write(sink, INFO, b"x" * 200) for _ in range(2000))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert written == 2000
        found = [it.line for it in take(reader)]
        assert found.count(b"x" * 200) == 2000
        assert found.count(b"from the handler") == answers.count(True)
        assert writer.refused() == (0, answers.count(False), 0, 0, 0)


def test_a_process_that_the_application_forks_writes_nothing() -> None:
    """Once it was told so: the ring has one writer."""
    with ends() as (writer, reader):
        sink = writer.sink(b"app")

        def child() -> None:
            writer.abandon()
            assert not writer.write(sink, ERROR, b"a child's", wait=5.0)

        assert os.waitpid(fork(child), 0)[1] == 0
        assert writer.write(sink, INFO, b"mine")
        assert [it.line for it in take(reader)] == [b"mine"]
        assert writer.refused() == NONE


def test_a_writer_that_is_killed_anywhere() -> None:
    """What it said was taken is there; a line that it was about to write is there or not."""
    print(f"SEED={SEED}")
    rng = random.Random(SEED)
    for _ in range(25):
        fd = ring.create(1 << 16)
        said = mmap.mmap(-1, 8)
        told, tell = os.pipe()

        def write(fd: int = fd, said: mmap.mmap = said, tell: int = tell) -> None:
            writer = RingWriter(fd)
            sink = writer.sink(b"app")
            os.write(tell, b".")
            for n in itertools.count(1):
                if writer.write(sink, ERROR, struct.pack("<Q", n) * (n % 500 + 1)):
                    said[:8] = struct.pack("<Q", n)
                else:
                    return

        pid = fork(write)
        os.read(told, 1)
        time.sleep(rng.random() * 0.004)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        reader = RingReader(fd)
        lines = [it.line for it in take(reader)]
        assert lines == [struct.pack("<Q", n) * (n % 500 + 1) for n in range(1, len(lines) + 1)]
        assert len(lines) - struct.unpack("<Q", said[:8])[0] in (0, 1)
        reader.close()
        said.close()
        for it in (fd, told, tell):
            os.close(it)


def test_half_a_record_is_not_seen() -> None:
    """Nor is one that was overwritten: it is said to be none, and what is behind it given up."""
    with ends() as (writer, reader):
        sink = writer.sink(b"app")
        writer.write(sink, INFO, b"whole")
        place = rings.DATA + writer._head
        writer._map[place : place + 30] = b"\xff" * 30  # behind HEAD
        assert [it.line for it in reader.read()] == [b"whole"]
        writer.write(sink, INFO, b"good")
        writer.write(sink, INFO, b"bad")
        writer.write(sink, INFO, b"lost with it")
        writer._map[rings.DATA + 32 + 32 + 24] ^= 1
        assert [it.line for it in reader.read()] == [b"good"]
        with pytest.raises(BadRing):
            reader.read()
        assert reader.skip() == 32 + 40
        writer.write(sink, INFO, b"good again")
        assert [it.line for it in reader.read()] == [b"good again"]
        writer._map[rings.DATA + writer._head - 40 + 16] = 9  # another sink
        reader.seen -= 40
        with pytest.raises(BadRing):
            reader.read()
        reader.seen = writer._head + 8
        with pytest.raises(BadRing):
            reader.read()


def test_a_successor_goes_on_where_a_reader_was_killed() -> None:
    """Each sink by itself: what one has taken does not come again, what another has not does."""
    fd = ring.create(1 << 16)
    writer, first = RingWriter(fd), RingReader(fd)
    one, two = writer.sink(b"one"), writer.sink(b"two")
    for n in range(3):
        writer.write(one, INFO, b"one %d" % n)
        writer.write(two, INFO, b"two %d" % n)
    records = first.read()
    first.taken(one, records[2].end)
    intent = Intent(records[3].end, 1, 2, 300, 40)
    first.intend(two, intent)
    first.free(records[1].begin)
    second = RingReader(fd)
    assert [it.line for it in second.read()] == [b"two 0", b"two 1", b"one 2", b"two 2"]
    assert second.intent(one) is None and second.intent(two) == intent
    second.withdraw(two)
    assert second.intent(two) is None
    second.intend(two, intent)
    second.taken(two, intent.cursor)
    assert second.intent(two) is None
    second.free(0)  # never backwards
    assert RingReader(fd).seen == records[1].begin
    assert first.told() == NONE
    first.tell((1, 2, 3, 4, 5))
    assert second.told() == (1, 2, 3, 4, 5)
    for it in (writer, first, second):
        it.close()
    os.close(fd)


def test_a_line_that_went_past_the_ring_is_counted() -> None:
    """By its writer, not by what the application forks; the reader is told by the bell."""
    bell = Bell()
    with ends(bell=bell.fd) as (writer, reader):
        writer.unwritten()
        assert not bell.silence()
        writer.ring_bell()
        assert bell.silence()

        def child() -> None:
            writer.abandon()
            writer.unwritten()

        assert os.waitpid(fork(child), 0)[1] == 0
        assert reader.refused() == (0, 0, 0, 0, 1)
    bell.close()


def test_the_bell_is_rung_for_who_sleeps() -> None:
    """By the next line; of who naps by a ring that is half full; of who is awake never."""
    bell = Bell()
    with ends(bell=bell.fd) as (writer, reader):
        sink = writer.sink(b"app")
        reader.wake()
        writer.write(sink, INFO, b"x")
        assert not bell.silence()
        reader.sleep()
        assert reader.fills_up()
        writer.write(sink, INFO, b"x")
        assert bell.silence()
        reader.nap()
        writer.write(sink, INFO, b"x")
        assert not bell.silence() and not reader.fills_up()
        for _ in range(40):
            writer.write(sink, INFO, b"x" * 1000)
        assert bell.silence() and reader.fills_up()
    bell.close()


def test_empty_is_what_was_taken_out() -> None:
    fd = ring.create(1 << 16)
    writer, reader = RingWriter(fd), RingReader(fd)
    assert rings.is_empty(fd)
    writer.write(writer.sink(b"app"), INFO, b"x")
    assert not rings.is_empty(fd)
    take(reader)
    assert rings.is_empty(fd)
    writer.close()
    reader.close()
    os.close(fd)


@pytest.mark.parametrize("what", ["pipe", "unsealed", "small", "empty", "size"])
def test_what_is_no_ring_is_said_to_be_none(what: str) -> None:
    if what == "pipe":
        fds = list(os.pipe())
    else:
        fds = [os.memfd_create("none", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)]
        os.ftruncate(fds[0], 4096 if what == "small" else rings.DATA + 4096)
        if what == "size":
            os.pwrite(fds[0], struct.pack("<QQ", rings.MAGIC, 1 << 40), 0)
        if what != "unsealed":
            import fcntl

            fcntl.fcntl(fds[0], fcntl.F_ADD_SEALS, rings.SEALS)
    with pytest.raises(BadRing):
        RingReader(fds[0])
    for fd in fds:
        os.close(fd)


def test_an_unused_ring_takes_next_to_no_memory() -> None:
    """One page; so each worker may have one."""
    fd = ring.create()
    assert os.fstat(fd).st_blocks * 512 <= mmap.PAGESIZE
    os.close(fd)
