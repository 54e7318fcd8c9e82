"""Finished lines leave in whole pieces, never raise, never block, and never pile up for ever."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import errno
import logging
import os
import re
import resource
import select
import socket
import termios
import threading
import time

import pytest

from leeward._core import logrings
from leeward._sys import whole
from leeward._worker import batch
from leeward._worker.batch import Batch
from leeward._worker.logs import Log


class Clock:
    """Stands in for the module `time`."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(batch, "time", found)
    return found


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    yield reader, writer
    for fd in (reader, writer):
        try:
            os.close(fd)
        except OSError:
            continue


def lost(counts, why):
    return f"lost {sum(counts)}: {why}\n"


def drained(reader):
    data = b""
    while True:
        try:
            part = os.read(reader, 1 << 20)
        except BlockingIOError:
            return data.decode()
        if not part:
            return data.decode()
        data += part


def fill(writer):
    """Fill the pipe to the last slot; how many octets that took."""
    os.set_blocking(writer, False)
    count = 0
    while True:
        try:
            count += os.write(writer, b"." * 4096)
        except BlockingIOError:
            os.set_blocking(writer, True)
            return count


# --- when ----------------------------------------------------------------------------------------


def test_a_turn_s_lines_leave_together(pipe, monkeypatch):
    async def main():
        sink = Batch(pipe[1], lost)
        sink.begin(asyncio.get_running_loop(), contextvars.Context())
        writes = []
        sink._write = lambda data: writes.append(data) or len(data)
        for n in range(5):
            sink.put(f"line {n}\n")
        assert writes == []
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert writes == [b"line 0\nline 1\nline 2\nline 3\nline 4\n"]

    asyncio.run(main())


class Loop:
    """Keeps what is scheduled."""

    def __init__(self):
        self.now, self.calls = 50.0, []

    def time(self):
        return self.now

    def is_closed(self):
        return False

    def call_soon_threadsafe(self, call, *args, context):
        self.calls.append((0.0, lambda: call(*args)))

    def call_soon(self, call, *, context):
        self.calls.append((0.0, call))

    def call_later(self, delay, call, *, context):
        self.calls.append((delay, call))


def test_batches_that_follow_each_other_closely_are_made_one(pipe):
    """At once after a pause; then at most one batch in `_GATHER` seconds."""
    sink, loop = Batch(pipe[1], lost), Loop()
    sink.begin(loop, contextvars.Context())
    batches = 0
    due = []
    for n in range(1000):  # a line each millisecond
        loop.now = 50.0 + n / 1000
        sink.put(f"{n}\n")
        due += [(loop.now + delay, call) for delay, call in loop.calls]
        loop.calls.clear()
        while due and due[0][0] <= loop.now:
            due.pop(0)[1]()
            batches += 1
        assert len(sink._lines) <= 11
    assert 90 <= batches <= 101
    loop.now += 10
    sink.flush()
    due[-1][1]()
    sink.put("after a pause\n")
    assert [delay for delay, _ in loop.calls] == [0.0]


def test_without_a_loop_each_leaves_at_once(pipe):
    sink = Batch(pipe[1], lost)
    sink.put("one\n")
    assert drained(pipe[0]) == "one\n"
    loop = asyncio.new_event_loop()
    sink.begin(loop, contextvars.Context())
    loop.close()
    sink.put("two\n")
    assert drained(pipe[0]) == "two\n"


def test_a_very_long_turn_is_written_before_its_end(pipe):
    loop = asyncio.new_event_loop()
    with open(os.devnull, "wb") as file:
        sink = Batch(file.fileno(), lost)
        sink.begin(loop, contextvars.Context())
        for _ in range(100_000):
            sink.put("x" * 99 + "\n")
        assert sink._size < batch._FULL
        assert not any(sink._dropped)
    loop.close()


def test_a_line_of_the_log_comes_behind_the_requests_before_it(pipe):
    log = Log(0, 1, "info", "pretty", pipe[1])
    loop = asyncio.new_event_loop()
    sink = log.batch
    sink.begin(loop, contextvars.Context())
    sink.put("first\n")
    log.say("info", "second")
    first, second = drained(pipe[0]).splitlines()
    assert first == "first" and second.endswith("second")
    loop.close()


# --- pieces --------------------------------------------------------------------------------------


@pytest.mark.parametrize("without", ["nothing", "RWF_NOWAIT"])
def test_a_pipe_gets_whole_lines_no_longer_than_it_takes_at_once(pipe, without):
    sink = Batch(pipe[1], lost)
    sink.begin(loop := asyncio.new_event_loop(), contextvars.Context())
    if without == "RWF_NOWAIT":
        sink._nowait = False
    writes, plain = [], sink._write
    sink._write = lambda data: writes.append(data) or plain(data)
    for n in range(500):
        sink.put(f"{n} {'é' * (n % 90)}\n")
    assert sink.flush()
    assert "".join(it.decode() for it in writes) == drained(pipe[0])
    assert all(it.endswith(b"\n") and len(it) <= select.PIPE_BUF for it in writes)
    assert len(writes) < 30
    loop.close()


def test_a_line_longer_than_that_arrives_all_the_same(pipe):
    sink = Batch(pipe[1], lost)
    long = "x" * 300_000 + "\n"
    sink.put(long)
    got = ""
    while len(got) < len(long):
        part = drained(pipe[0])
        assert part
        got += part
        sink.flush()
    assert got == long


def test_what_utf8_cannot_say_is_escaped(pipe):
    sink = Batch(pipe[1], lost)
    sink.put("\udce9\n")
    assert drained(pipe[0]) == "\\udce9\n"


@pytest.mark.parametrize("kind", ["file", "socket", "terminal", "null"])
def test_every_kind_of_descriptor_is_written_to(tmp_path, kind):
    if kind == "socket":
        ours, theirs = socket.socketpair()
        Batch(theirs.fileno(), lost).put("there\n")
        assert ours.recv(99) == b"there\n"
        ours.close()
        theirs.close()
    elif kind == "terminal":
        ours, theirs = os.openpty()
        Batch(theirs, lost).put("there\n")
        assert os.read(ours, 99) == b"there\r\n"
        os.close(ours)
        os.close(theirs)
    else:
        path = tmp_path / "log" if kind == "file" else os.devnull
        with open(path, "ab") as file:
            sink = Batch(file.fileno(), lost)
            sink.put("there\n")
            assert not any(sink._dropped)
        assert kind == "null" or path.read_text() == "there\n"


def test_another_file_in_its_place_is_written_to(pipe, tmp_path):
    """Programs that rotate their logs do that to descriptor 2."""
    with open(tmp_path / "log", "ab") as file:
        fd = os.dup(pipe[1])
        sink = Batch(fd, lost)
        sink.put("to the pipe\n")
        os.dup2(file.fileno(), fd)
        sink.put("to the file\n")
        os.dup2(pipe[1], fd)
        fill(pipe[1])
        sink.put("to nobody\n")  # and waits for nobody
        os.close(fd)
    assert drained(pipe[0]).rstrip(".") == "to the pipe\n"
    assert (tmp_path / "log").read_text() == "to the file\n"


# --- nobody reads --------------------------------------------------------------------------------


@pytest.mark.parametrize("without", ["nothing", "RWF_NOWAIT"])
def test_a_full_pipe_holds_nothing_up(pipe, without, clock, monkeypatch):
    """Bounded, counted, told once somebody reads; the pipe is not made non-blocking."""
    monkeypatch.setattr(batch, "_MOST", 2000)
    sink = Batch(pipe[1], lost)
    if without == "RWF_NOWAIT":
        sink._nowait = False
    fill(pipe[1])
    before = time.process_time(), time.monotonic()
    for n in range(1000):
        sink.put(f"line {n:04d}\n")
    assert not sink.flush()
    assert os.get_blocking(pipe[1])
    assert time.monotonic() - before[1] < 20  # it returned: a blocked write never would
    drained(pipe[0])
    assert sink.flush()
    lines = drained(pipe[0]).splitlines()
    # 100 of 10 characters, in the half that is for requests, and one that was about to be written.
    assert lines[:-1] == [f"line {n:04d}" for n in range(101)]
    assert lines[-1] == "lost 899: nobody reads"
    sink.put("after\n")
    assert drained(pipe[0]) == "after\n"


def test_a_pipe_that_was_full_is_tried_again_by_itself(pipe):
    async def main():
        sink = Batch(pipe[1], lost)
        sink.begin(asyncio.get_running_loop(), contextvars.Context())
        fill(pipe[1])
        sink.put("kept\n")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        came = asyncio.Event()
        got = []

        def readable():
            got.append(drained(pipe[0]))
            if got[-1].endswith("kept\n"):
                came.set()

        asyncio.get_running_loop().add_reader(pipe[0], readable)
        async with asyncio.timeout(20):
            await came.wait()
        asyncio.get_running_loop().remove_reader(pipe[0])

    asyncio.run(main())


def test_losses_are_told_once_a_second(pipe, clock, monkeypatch):
    monkeypatch.setattr(batch, "_MOST", 40)
    told = []
    sink = Batch(pipe[1], lost)
    for _ in range(30):
        fill(pipe[1])
        for _ in range(5):
            sink.put("0123456789\n")
        drained(pipe[0])
        sink.flush()
        told += [it for it in drained(pipe[0]).splitlines() if it.startswith("lost")]
        clock.now += 0.1
    assert len(told) == 3
    assert sum(sink._dropped) + sum(int(it.split()[1][:-1]) for it in told) == 30 * 3


@pytest.mark.parametrize("how", ["closed", "nobody", "full disk"])
def test_a_descriptor_that_fails_is_left_alone_for_a_second(pipe, how, clock, monkeypatch):
    reader, writer = pipe
    if how == "nobody":
        os.close(reader)
    elif how == "closed":
        os.close(writer)
    else:
        os.close(writer)
        writer = os.open("/dev/full", os.O_WRONLY)
    sink = Batch(writer, lost)
    calls, plain = [], os.fstat
    monkeypatch.setattr(os, "fstat", lambda fd: calls.append(fd) or plain(fd))
    for _ in range(1000):
        sink.put("unheard\n")
    assert len(calls) == 1
    assert (sum(sink._dropped), len(sink._lines), sink._piece) == (1000, 0, b"")
    clock.now += 1.1
    sink.put("unheard\n")
    assert (len(calls), sum(sink._dropped)) == (2, 1001)
    if how == "full disk":
        os.close(writer)


def test_a_disk_that_has_room_again_hears_of_it(tmp_path, clock):
    full = os.open("/dev/full", os.O_WRONLY)
    with open(tmp_path / "log", "ab") as file:
        sink = Batch(full, lost)
        for _ in range(7):
            sink.put("unheard\n")
        os.dup2(file.fileno(), full)
        clock.now += 1.1
        sink.put("heard\n")
    os.close(full)
    assert (tmp_path / "log").read_text() == "heard\nlost 7: No space left on device\n"


def test_a_telling_that_fails_is_counted_right(pipe, clock, monkeypatch):
    sink = Batch(pipe[1], lost)
    sink._dropped, sink._why = [30, 8, 2, 0, 0], "nobody reads"
    os.close(pipe[0])
    sink.flush()
    assert sink._dropped == [30, 8, 2, 0, 0]


# --- a disk that is full in the middle of a line -------------------------------------------------

LINES = [f"a line of 27 octets, no {n:02}\n" for n in range(100)]


@contextlib.contextmanager
def room(octets):
    """No file of this process can be longer."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(params=[os.O_APPEND, 0], ids=["appended to", "written to"])
def file(request, tmp_path):
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | request.param)
    yield fd, tmp_path / "log"
    os.close(fd)


def write_into(file, clock, octets=1000):
    """Write all LINES where there is room for so many octets, and one when there is more."""
    sink = Batch(file, lost)
    for line in LINES:
        sink._take(logrings.ACCESS, line)
    with room(octets):
        sink.flush()
    clock.now += 1.1
    sink.put("there is room\n")
    return sink


def test_a_part_of_a_line_is_taken_back_and_the_others_counted(file, clock):
    """Each line is whole or not at all, and what is told is true."""
    fd, path = file
    write_into(fd, clock)
    whole = 1000 // len(LINES[0])
    told = f"lost {100 - whole}: File too large\n"
    assert path.read_text() == "".join(LINES[:whole]) + "there is room\n" + told


def test_a_part_that_cannot_be_taken_back_has_a_line_of_its_own(file, clock, monkeypatch):
    """As of a file that can only be appended to (chattr +a)."""

    def refuse(fd, size):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "ftruncate", refuse)
    fd, path = file
    write_into(fd, clock)
    told = f"lost {100 - 1000 // len(LINES[0])}: File too large\n"
    assert path.read_text() == "".join(LINES)[:1000] + "\nthere is room\n" + told


def test_what_others_have_written_behind_it_stays(tmp_path, clock, monkeypatch):
    plain, sent = os.write, []

    def short(fd, data):
        if sent:
            monkeypatch.setattr(os, "write", plain)
            plain(fd, b"of another\n")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sent.append(plain(fd, data[:1000]))
        return 1000

    path = tmp_path / "log"
    with open(path, "ab") as file:
        monkeypatch.setattr(os, "write", short)
        write_into(file.fileno(), clock, resource.RLIM_INFINITY)
    told = f"lost {100 - 1000 // len(LINES[0])}: No space left on device\n"
    assert path.read_text() == "".join(LINES)[:1000] + "of another\nthere is room\n" + told


def test_a_telling_that_was_cut_short_is_told_again(file, clock):
    fd, path = file
    sink = Batch(fd, lost)
    sink._dropped, sink._why = [30, 8, 2, 0, 0], "nobody reads"
    with room(5):
        sink.flush()
    assert (sink._dropped, path.read_text()) == ([30, 8, 2, 0, 0], "")


# --- records of the application ------------------------------------------------------------------


@contextlib.contextmanager
def unread(kind, tmp_path):
    """Something that nobody reads, full: its two ends."""
    if kind == "pipe":
        ours, theirs = os.pipe()
    elif kind == "fifo":
        os.mkfifo(tmp_path / "fifo")
        ours = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        theirs = os.open(tmp_path / "fifo", os.O_WRONLY)
    elif kind == "socket":
        ours, theirs = (it.detach() for it in socket.socketpair())
    else:
        ours, theirs = os.openpty()
        if kind == "stopped terminal":
            termios.tcflow(theirs, termios.TCOOFF)
    os.set_blocking(ours, False)
    try:
        yield ours, theirs
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("kind", ["pipe", "fifo", "socket", "terminal", "stopped terminal"])
def test_nothing_is_held_up_and_nothing_torn(tmp_path, kind):
    """6 MB: the last of it is lost, and counted to the line.  Others' blocking stays as it is."""
    with unread(kind, tmp_path) as (ours, theirs):
        sink = Batch(theirs, lost)
        line = "x" * 94
        for n in range(60_000):  # a write that waited would wait for ever
            sink.write(logging.INFO, f"{n:05d} {line}\n")
        assert os.get_blocking(theirs)
        if kind == "stopped terminal":
            termios.tcflow(theirs, termios.TCOON)
        got = ""
        while "lost" not in got or not got.endswith("\n"):
            sink.flush()
            if select.select([ours], [], [], 0.01)[0]:
                with contextlib.suppress(BlockingIOError):
                    got += os.read(ours, 65536).decode().replace("\r\n", "\n")
        *lines, told = got.splitlines()
        assert len(lines) > 7000
        assert lines == [f"{n:05d} {line}" for n in range(len(lines))]
        assert told == f"lost {60_000 - len(lines)}: nobody reads"
        if sink._terminal >= 0:
            os.close(sink._terminal)


def test_requests_go_first_and_a_quarter_is_kept_for_warnings(pipe, clock, monkeypatch):
    monkeypatch.setattr(batch, "_MOST", 4000)
    told = []
    sink = Batch(pipe[1], lambda counts, why: told.append(counts) or "told\n")
    fill(pipe[1])
    sink.put("request 00\n")  # in the piece that is about to leave
    for _ in range(300):
        sink.put("request 1\n")
    for _ in range(300):
        sink.write(logging.INFO, "info 4567\n")
    for _ in range(300):
        sink.write(logging.WARNING, "warning 8\n")
    drained(pipe[0])
    assert sink.flush()
    lines = drained(pipe[0]).splitlines()
    assert lines == [
        *("request 00", *["request 1"] * 200),
        *("info 4567",) * 100,
        *("warning 8",) * 100,
        "told",
    ]
    assert told == [(100, 200, 200, 0, 0)]


def test_an_error_is_waited_for_and_others_are_not(pipe, monkeypatch):
    monkeypatch.setattr(logrings, "PATIENCE", 3600)
    sink = Batch(pipe[1], lost)
    fill(pipe[1])
    sink.write(logging.INFO, "info\n")
    sink.write(logging.WARNING, "warning\n")  # they returned: nobody reads
    waits, plain = threading.Event(), batch._writable
    monkeypatch.setattr(batch, "_writable", lambda *args: waits.set() or plain(*args))
    got = []

    def read():
        waits.wait(20)
        got.append(drained(pipe[0]))

    reader = threading.Thread(target=read)
    reader.start()
    sink.write(logging.ERROR, "error\n")
    reader.join()
    assert waits.is_set()
    assert (got[0] + drained(pipe[0])).lstrip(".") == "info\nwarning\nerror\n"


def test_a_flood_of_errors_waits_once(pipe, monkeypatch):
    """Until somebody has read again."""
    monkeypatch.setattr(logrings, "PATIENCE", 0.05)
    sink = Batch(pipe[1], lost)
    patiences, plain = [], sink._wait
    sink._wait = lambda patience: patiences.append(patience) or plain(patience)
    for times in (1, 2):
        fill(pipe[1])
        for _ in range(50):
            sink.write(logging.CRITICAL, "error\n")
        assert patiences == [0.05] * times
        drained(pipe[0])
        assert sink.flush()
        assert drained(pipe[0]) == "error\n" * 50


def test_lines_from_before_the_loop_leave_by_it(pipe):
    sink, loop = Batch(pipe[1], lost), Loop()
    fill(pipe[1])
    sink.write(logging.INFO, "early\n")
    drained(pipe[0])
    sink.begin(loop, contextvars.Context())
    while loop.calls:
        loop.calls.pop()[1]()
    assert drained(pipe[0]) == "early\n"


def test_each_line_of_a_record_has_its_mark(pipe):
    sink = Batch(pipe[1], lost, "~")
    sink.write(logging.ERROR, "failed\n| trace\n")
    assert drained(pipe[0]) == "~failed\n~| trace\n"


# --- others --------------------------------------------------------------------------------------


def test_a_signal_s_handler_waits_its_turn(pipe):
    """It interrupts a write of its own thread: its line comes behind, and once; it waits for
    nobody, as it could only wait for itself."""
    sink = Batch(pipe[1], lost)
    plain, waits = sink._write, []
    sink._wait = waits.append

    def interrupted(data):
        sink._write = plain
        sink.write(logging.ERROR, "the handler's\n")
        return plain(data)

    sink._write = interrupted
    sink.write(logging.INFO, "the thread's\n")
    assert drained(pipe[0]) == "the thread's\nthe handler's\n"
    assert waits == []


def test_threads_write_whole_lines_and_lose_none_uncounted(pipe, monkeypatch):
    monkeypatch.setattr(batch, "_MOST", 20_000)
    sink = Batch(pipe[1], lost)
    fill(pipe[1])

    def log(thread):
        for n in range(1000):
            sink.write(logging.INFO, f"{thread} {n:04d} {'x' * 90}\n")

    threads = [threading.Thread(target=log, args=(n,)) for n in range(4)]
    for it in threads:
        it.start()
    while not any(sink._dropped):
        time.sleep(0)
    got = ""

    # Read on while it ends: the threads may have filled the pipe behind our last look.
    def end():
        for it in threads:
            it.join()
        sink.end(20.0)

    ending = threading.Thread(target=end)
    ending.start()
    while ending.is_alive():
        got += drained(pipe[0])
        time.sleep(0)
    ending.join()
    lines = (got + drained(pipe[0])).lstrip(".").splitlines()
    told = [it for it in lines if it.startswith("lost")]
    taken = [it for it in lines if not it.startswith("lost")]
    assert all(re.fullmatch(r"[0-3] \d{4} x{90}", it) for it in taken)
    assert len(taken) + sum(int(it.split()[1][:-1]) for it in told) == 4000
    for thread in "0123":
        mine = [it for it in taken if it[0] == thread]
        assert mine == sorted(mine)


def test_what_a_thread_could_not_write_the_loop_does(pipe):
    async def main():
        loop = asyncio.get_running_loop()
        sink = Batch(pipe[1], lost)
        sink.begin(loop, contextvars.Context())
        fill(pipe[1])
        await loop.run_in_executor(None, sink.write, logging.INFO, "the thread's\n")
        came, got = asyncio.Event(), []

        def readable():
            got.append(drained(pipe[0]))
            if got[-1].endswith("the thread's\n"):
                came.set()

        loop.add_reader(pipe[0], readable)
        async with asyncio.timeout(20):
            await came.wait()
        loop.remove_reader(pipe[0])

    asyncio.run(main(), debug=True)  # which tells of calls from other threads


def test_a_forked_child_does_not_write_what_is_its_parent_s(pipe):
    loop = asyncio.new_event_loop()
    log = Log(0, 1, "info", "pretty", pipe[1])
    sink = log.batch
    sink.begin(loop, contextvars.Context())
    sink.put("the parent's\n")
    log.abandon()
    log.say("info", "the child's")
    log.end(0.0)
    [line] = drained(pipe[0]).splitlines()
    assert line.endswith("the child's")
    loop.close()


def test_at_the_end_a_slow_reader_is_waited_for(pipe):
    loop = asyncio.new_event_loop()
    sink = Batch(pipe[1], lost)
    sink.begin(loop, contextvars.Context())
    fill(pipe[1])
    for n in range(10_000):
        sink.put(f"line {n}\n")
    got = []

    def read():
        os.set_blocking(pipe[0], True)
        while not got or b"line 9999\n" not in got[-1]:
            got.append(os.read(pipe[0], 65536))

    slow = threading.Thread(target=read)
    slow.start()
    sink.end(20.0)
    slow.join(20.0)
    assert b"".join(got).lstrip(b".").decode().splitlines() == [f"line {n}" for n in range(10_000)]
    loop.close()


def test_at_the_end_nobody_is_waited_for_for_ever(pipe):
    loop = asyncio.new_event_loop()
    sink = Batch(pipe[1], lost)
    sink.begin(loop, contextvars.Context())
    fill(pipe[1])
    sink.put("unheard\n")
    began = time.monotonic()
    sink.end(0.05)
    assert 0.05 <= time.monotonic() - began < 20
    loop.close()


def test_a_line_longer_than_a_pipe_takes_whole_waits_for_room(pipe, monkeypatch):
    """All of it or nothing, for as long as it has patience; what comes behind it waits too."""
    reader, writer = pipe
    monkeypatch.setattr(whole, "SIZES", ())
    batch = Batch(writer, lost)
    os.set_blocking(writer, False)
    held = 0
    with pytest.raises(BlockingIOError):
        while True:
            held += os.write(writer, b"." * 4096)
    os.set_blocking(writer, True)
    os.read(reader, 8192)
    long = "x" * 10_000 + "\n"
    batch.put(long)
    batch.put("short\n")
    assert not batch.flush()
    assert drained(reader) == "." * (held - 8192)
    assert batch.flush()
    assert drained(reader) == long + "short\n"


def test_a_long_line_goes_in_pieces_where_room_never_comes(pipe, monkeypatch):
    reader, writer = pipe
    monkeypatch.setattr(whole, "PATIENCE", 0.0)
    monkeypatch.setattr(whole, "SIZES", ())
    batch = Batch(writer, lost)
    os.write(writer, b"." * 60_000)
    long = "x" * 100_000 + "\n"
    batch.put(long)
    found = ""
    while not batch.flush():
        found += drained(reader)
    assert (found + drained(reader)).lstrip(".") == long
