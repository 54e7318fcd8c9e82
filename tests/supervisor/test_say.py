"""The supervisor's voice never blocks, never raises, and counts what it could not say."""

import contextlib
import errno
import fcntl
import json
import os
import resource
import select
import socket
import subprocess
import sys
import threading
import time

import pytest

from leeward._supervisor.say import Voice

F_SETPIPE_SZ = 1031


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    fcntl.fcntl(writer, F_SETPIPE_SZ, 4096)
    yield reader, writer
    for fd in (reader, writer):
        with contextlib.suppress(OSError):  # the test has closed it
            os.close(fd)


def read_all(reader):
    data = b""
    while select.select([reader], [], [], 0)[0] and (piece := os.read(reader, 65536)):
        data += piece
    return data.decode()


def test_a_line_carries_the_identity_in_one_order(pipe):
    """worker, gen, pid, and then the event."""
    reader, writer = pipe
    Voice("pretty", "info", writer).say("ready", worker=2, gen=5, pid=4711)
    assert "info     worker=2 gen=5 pid=4711 ready\n" in read_all(reader)


def test_what_belongs_to_an_event_carries_the_identity_too(pipe):
    """So that grep finds a traceback's lines."""
    reader, writer = pipe
    Voice("pretty", "info", writer).say("died: it raised\n  app.py:3 in f", worker=0, gen=1, pid=9)
    assert read_all(reader).splitlines()[1] == "worker=0 gen=1 pid=9 |   app.py:3 in f"


def test_json_is_one_object_a_line(pipe):
    """Each line parses alone, whatever the event contains."""
    reader, writer = pipe
    Voice("json", "info", writer).say('said "no"\nand why', "error", gen=3, pid=7)
    (line,) = read_all(reader).splitlines()
    found = json.loads(line)
    assert (found["message"], found["detail"]) == ('said "no"', "and why")
    assert (found["level"], found["gen"], found["pid"]) == ("error", 3, 7)


def test_an_application_cannot_steer_the_terminal(pipe):
    """Control characters come out as escapes, in events and in the banner."""
    reader, writer = pipe
    voice = Voice("pretty", "info", writer)
    voice.say("died: \x1b]0;owned\x07\x9b2J\r")
    voice.banner(["leeward serves \x1b[2J"])
    text = read_all(reader)
    assert not any(char in text for char in "\x1b\x07\x9b\r")


def test_what_is_below_the_level_is_not_said(pipe):
    """--log-level warning silences information, not warnings."""
    reader, writer = pipe
    voice = Voice("pretty", "warning", writer)
    voice.say("ready")
    voice.say("died", "warning")
    assert [line.split()[-1] for line in read_all(reader).splitlines()] == ["died"]


def test_a_reader_that_has_stopped_blocks_nobody(pipe):
    """A full pipe: lines wait, are bounded, come out in order, and the lost are counted."""
    reader, writer = pipe
    voice = Voice("pretty", "info", writer)
    for number in range(1500):
        voice.say(f"event {number}")
    assert not voice.flush()
    text = ""
    for _ in range(5000):
        text += read_all(reader)
        if voice.flush() and "could not be written" in text:
            break
    numbers = [int(line.split()[-1]) for line in text.splitlines() if "event" in line]
    (said,) = [line for line in text.splitlines() if "could not be written" in line]
    lost = int(said.split()[1])
    assert numbers == list(range(len(numbers)))
    assert lost > 0 and lost + len(numbers) == 1500


@pytest.mark.parametrize("kind", ["pipe", "pipe of another user", "socket"])
def test_a_worker_that_takes_the_last_room_blocks_nobody(pipe, monkeypatch, kind):
    """It writes to the same stderr, between our look at the room there and our own line."""
    reader, writer = pipe
    ends = socket.socketpair()
    if kind == "socket":
        reader, writer = (end.fileno() for end in ends)
    given = os.open

    def refused(path, flags):
        raise PermissionError(path)

    if kind == "pipe of another user":
        monkeypatch.setattr(os, "open", refused)
    voice = Voice("pretty", "info", writer)
    monkeypatch.setattr(os, "open", given)

    class Late:
        """What it has found is true no more when it returns."""

        def __init__(self):
            self.poll_now = poll()
            self.register = self.poll_now.register

        def poll(self, timeout):
            found = self.poll_now.poll(timeout)
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.pwritev(writer, [b"x" * 4096], -1, os.RWF_NOWAIT)
            return found

    poll = select.poll
    try:
        os.pwritev(writer, [b"x"], -1, os.RWF_NOWAIT)
    except OSError:
        pytest.skip("Linux 6.4 or later")
    read_all(reader)
    monkeypatch.setattr(select, "poll", Late)
    talker = threading.Thread(target=voice.say, args=("event",), daemon=True)
    talker.start()
    talker.join(10)
    assert not talker.is_alive() and voice.waits
    monkeypatch.setattr(select, "poll", poll)
    read_all(reader)
    assert voice.flush() and "event" in read_all(reader)
    assert os.get_blocking(writer)
    voice.close()
    for end in ends:
        end.close()


def test_writes_that_wait_do_where_the_kernel_knows_no_others(pipe, monkeypatch):
    """Linux before 6.4: the poll before each is what there is."""

    def unknown(*args):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    reader, writer = pipe
    monkeypatch.setattr(os, "open", unknown)
    monkeypatch.setattr(os, "pwritev", unknown)
    voice = Voice("pretty", "info", writer)
    for word in ("one", "two"):
        voice.say(word)
        assert read_all(reader).split()[-1] == word
    os.write(writer, b"x" * 4096)
    voice.say("three")
    assert voice.waits


def test_a_reader_that_has_gone_is_forgotten(pipe):
    """EPIPE is no reason to stop supervising, nor to keep lines for ever."""
    reader, writer = pipe
    os.close(reader)
    voice = Voice("pretty", "info", writer)
    for _ in range(10):
        voice.say("event")
    assert voice.flush()


def free_for_another(fd):
    """Could another process lock this terminal now?"""
    command = [sys.executable, "-c", "import fcntl; fcntl.lockf(1, fcntl.LOCK_EX | fcntl.LOCK_NB)"]
    done = subprocess.run(command, stdout=fd, stderr=subprocess.DEVNULL, timeout=20, check=False)
    return done.returncode == 0


def test_a_terminal_that_nobody_reads_blocks_nobody():
    """POLLOUT of a terminal promises one byte.  Once it is read, the lines come whole."""
    reader, fd = os.openpty()
    voice = Voice("pretty", "info", fd)
    voice.shared = True

    def talk():
        for number in range(100):
            voice.say(f"event {number} {'x' * 1000}")

    talker = threading.Thread(target=talk, daemon=True)
    talker.start()
    talker.join(10)
    assert not talker.is_alive() and voice.waits
    # A part of a line is there: the collector waits for the rest of it.
    assert not free_for_another(fd)
    text = ""
    while voice.waits:
        text += read_all(reader)
        voice.flush()
    text += read_all(reader)
    found = [line.split()[-2] for line in text.splitlines()]
    assert found == [str(number) for number in range(100)]
    assert free_for_another(fd)
    assert os.get_blocking(fd)
    voice.close()
    for each in (reader, fd):
        os.close(each)


def test_a_full_disk_and_a_closed_stderr_are_survived():
    """ENOSPC and EBADF lose the line and nothing else."""
    fd = os.open("/dev/full", os.O_WRONLY)
    full = Voice("pretty", "info", fd)
    full.say("event")
    assert full.flush()
    os.close(fd)
    full.say("event")
    assert full.flush()


def test_a_line_longer_than_a_pipe_takes_comes_out_whole(pipe):
    """In pieces of PIPE_BUF, each of which a writable pipe takes."""
    reader, writer = pipe
    voice = Voice("pretty", "info", writer)
    voice.say("x" * 20000)
    text = ""
    while not voice.flush():
        text += read_all(reader)
    assert "x" * 20000 in (text + read_all(reader))


def test_the_last_lines_wait_for_a_reader_that_lags(pipe):
    """At the end there is no later: who reads slowly gets them all, who does not costs little."""
    reader, writer = pipe
    os.write(writer, b"x" * 4096)
    voice = Voice("pretty", "info", writer)
    for number in range(50):
        voice.say(f"event {number}")
    begin = time.monotonic()
    voice.finish(0.05)
    assert voice.waits and time.monotonic() - begin >= 0.05
    thread = threading.Thread(target=voice.finish, args=(20.0,))
    thread.start()
    text = ""
    while thread.is_alive() or select.select([reader], [], [], 0)[0]:
        text += read_all(reader)
    thread.join()
    assert not voice.waits
    numbers = [line.split()[-1] for line in text.splitlines() if "event" in line]
    assert numbers == [str(it) for it in range(50)]


def test_a_torn_line_of_another_is_waited_for_without_asking_the_terminal():
    """It has room, and would say so again and again: who watches it must not."""
    reader, writer = os.openpty()
    holds = "import fcntl, sys; fcntl.lockf(2, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", holds]
    pipe = subprocess.PIPE
    try:
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=writer) as other:
            other.stdout.readline()
            voice = Voice("pretty", "info", writer)
            voice.shared = True
            voice.say("event")
            assert voice.waits and not voice.lacks_room
            other.communicate()
        assert voice.flush() and not voice.waits
        assert b"event" in os.read(reader, 4096)
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("flags", [os.O_APPEND, 0], ids=["appended to", "written to"])
@pytest.mark.parametrize("cut", [True, False], ids=["taken back", "that has to stay"])
def test_a_part_of_a_line_on_a_full_disk(tmp_path, monkeypatch, flags, cut):
    """It is taken back; where it cannot be (chattr +a), the next begins a line of its own."""

    def refuse(fd, size):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    if not cut:
        monkeypatch.setattr(os, "ftruncate", refuse)
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | flags)
    voice = Voice("pretty", "info", fd)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        for line in ("first", "second", "third"):
            voice.banner([line])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    voice.banner(["fourth"])
    os.close(fd)
    part = "" if cut else "seco\n"
    told = "leeward: 2 lines could not be written\n"
    assert (tmp_path / "log").read_text() == f"first\n{part}fourth\n{told}"
