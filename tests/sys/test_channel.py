"""Channel: whole messages, their descriptors, and whatever else a peer may send."""

from __future__ import annotations

import array
import errno
import fcntl
import os
import random
import resource
import select
import signal
import socket
import stat
import threading
import time
from collections.abc import Iterator

import pytest

from leeward._core import messages as m
from leeward._sys.channel import (
    BATCH,
    DESCRIPTORS,
    INLINE,
    OUTBOX_BYTES,
    OUTBOX_MESSAGES,
    Channel,
    ChannelFull,
)
from leeward._sys.posix import MEMFD_LIMIT, SEALS, memfd
from leeward.errors import ChannelClosed


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    one, other = Channel.pair()
    yield one, other
    one.close()
    other.close()


@pytest.fixture
def raw() -> Iterator[tuple[Channel, socket.socket]]:
    """A channel, and a bare socket as its peer, which may send anything."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = Channel(one)
    yield channel, other
    channel.close()
    other.close()


def begin(page: int, *listeners: int, config: str = "{}") -> m.Begin:
    return m.Begin(
        config=config,
        generation=1,
        supervisor=1,
        page=m.Descriptor(page),
        listeners=tuple(m.Descriptor(fd) for fd in listeners),
        addresses=tuple("127.0.0.1:0" for _ in listeners),
    )


def rights(*fds: int) -> list[tuple[int, int, array.array[int]]]:
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]


# --- delivery --------------------------------------------------------------------------


def test_messages_arrive_whole_and_in_order(ends):
    """What is sent on one end is received on the other, all of it at once, in order."""
    one, other = ends
    sent = [m.Hello(1), m.Forked(2, 3), m.Failed("import", "ä\n\0☃"), m.Drain("stop", 1.5, 0.0)]
    for message in sent:
        one.send(message)
    assert other.receive() == sent
    assert other.receive() == []
    other.send(m.Progress("and back"))
    assert one.receive() == [m.Progress("and back")]


def test_descriptors_travel_as_descriptors_of_the_same_file(ends):
    """A received descriptor is a new, close-on-exec number of the sender's open file."""
    one, other = ends
    files = [memfd(f"file-{number}", b"x" * number) for number in range(3)]
    one.send(begin(*files))
    [message] = other.receive()
    got = [message.page, *message.listeners]
    for mine, theirs in zip(files, got, strict=True):
        assert mine != theirs
        assert os.path.sameopenfile(mine, theirs)
        assert not os.get_inheritable(theirs)
    for fd in (*files, *got):
        os.close(fd)


@pytest.mark.parametrize("size", [INLINE - 200, INLINE, 64 * 1024, 300_000, 4 * 1024 * 1024])
def test_large_messages_arrive_with_their_descriptors(ends, size):
    """A message too large for a packet travels in a memfd; nobody notices."""
    one, other = ends
    message = begin(1, 2, config="c" * size)
    one.send(message)
    [got] = other.receive()
    assert got.config == message.config
    for mine, theirs in ((1, got.page), (2, got.listeners[0])):
        assert os.path.sameopenfile(mine, theirs)
        os.close(theirs)


def test_a_message_that_no_receiver_takes_is_not_sent(ends):
    """Beyond 16 MiB or 252 descriptors the sender itself gets BadMessage."""
    one, other = ends
    with pytest.raises(m.BadMessage):
        one.send(m.Progress("x" * MEMFD_LIMIT))
    with pytest.raises(m.BadMessage):
        one.send(begin(*[0] * DESCRIPTORS))
    assert other.receive() == []


def test_packets_above_the_send_buffer_go_into_a_memfd(ends):
    """Where the kernel's send buffer is tiny (EMSGSIZE) a message arrives all the same."""
    one, other = ends
    one._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    one.send(m.Progress("x" * 50_000))
    assert other.receive() == [m.Progress("x" * 50_000)]


def test_a_closed_descriptor_in_a_message_is_the_callers_fault(ends):
    """Sending a number that is not open raises EBADF and sends nothing."""
    one, other = ends
    for config in ("", "x" * INLINE):
        with pytest.raises(OSError) as caught:
            one.send(begin(1_000_000, config=config))
        assert caught.value.errno == errno.EBADF
    assert other.receive() == []


# --- the outbox ------------------------------------------------------------------------


def fill(channel: Channel, text: str = "x" * 10_000) -> list[m.Message]:
    """Sends until the outbox refuses; returns what was taken."""
    taken: list[m.Message] = []
    while True:
        message = m.Failed(str(len(taken)), text)
        try:
            channel.send(message)
        except ChannelFull:
            return taken
        taken.append(message)


def read_all(sender: Channel, receiver: Channel) -> list[m.Message]:
    got: list[m.Message] = []
    while found := receiver.receive():
        got.extend(found)
        sender.flush()
    return got


@pytest.mark.parametrize("size", [10, 10_000, 100_000])
def test_a_peer_that_does_not_read_costs_a_bounded_outbox(ends, size):
    """A full outbox refuses; all that it took arrives in order once the peer reads."""
    one, other = ends
    began = time.monotonic()
    taken = fill(one, "x" * size)
    assert time.monotonic() - began < 5
    assert one.wants_write
    assert len(one._outbox) <= OUTBOX_MESSAGES
    assert one._outbox_bytes <= OUTBOX_BYTES
    assert read_all(one, other) == taken
    assert not one.wants_write


def test_one_message_always_fits_an_empty_outbox(ends):
    """A message larger than the outbox's bound waits like any other."""
    one, other = ends
    while not one.wants_write:
        one.send(m.Progress("x" * 50_000))
    read_all(one, other)
    one._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    one.send(m.Progress("fills what the kernel takes"))
    while not one.wants_write:
        one.send(m.Progress("x" * 2 * OUTBOX_BYTES))
    with pytest.raises(ChannelFull):
        one.send(m.Progress("behind it"))
    assert isinstance(read_all(one, other)[-1], m.Progress)


def test_queued_descriptors_outlive_the_callers(ends):
    """The caller may close its descriptor as soon as `send` has returned."""
    one, other = ends
    while not one.wants_write:
        one.send(m.Progress("x" * 50_000))
    fd = memfd("content", b"still here")
    one.send(begin(fd, config="x" * INLINE))
    os.close(fd)
    message = read_all(one, other)[-1]
    assert isinstance(message, m.Begin)
    assert os.pread(message.page, 100, 0) == b"still here"
    os.close(message.page)


@pytest.mark.parametrize("end", ["close", "detach", "peer"])
def test_what_is_queued_is_closed_with_the_channel(ends, end):
    """close, detach and a vanished peer each close every descriptor that was waiting."""
    one, other = ends
    while not one.wants_write:
        one.send(m.Progress("x" * 50_000))
    for _ in range(5):
        one.send(begin(0, 1, config="x" * INLINE))
    if end == "close":
        one.close()
        one.close()
    elif end == "detach":
        os.close(one.detach())
    else:
        other.close()
        one.flush()
    assert not one.wants_write
    # The fixture counts the descriptors.


def test_too_many_descriptors_in_flight_are_a_full_channel(python):
    """Above RLIMIT_NOFILE in flight the kernel refuses an unprivileged user; so do we."""
    if os.getuid() != 0:
        pytest.skip("becomes a user of whom nothing else is in flight")
    out = python(
        "import os, resource\n"
        "from leeward._core import messages as m\n"
        "from leeward._sys.channel import Channel, ChannelFull\n"
        "one, other = Channel.pair()\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))\n"
        "os.setresuid(64321, 64321, 64321)\n"
        "many = m.Begin('', 1, 1, m.Descriptor(0), (m.Descriptor(0),) * 60, ())\n"
        "for sent in range(10):\n"
        "    try: one.send(many)\n"
        "    except ChannelFull as full: why = str(full); break\n"
        "print(sent, len(os.listdir('/proc/self/fd')) < 10, why)"
    )
    assert out == "2 True cannot send: Too many references: cannot splice"


def test_a_short_kernel_is_asked_again_at_the_next_flush(ends, monkeypatch):
    """What is queued stays queued when the kernel is short; a bug is raised."""
    one, other = ends
    taken = fill(one)

    class Short:
        code = errno.ENOBUFS

        def sendmsg(self, *args: object) -> None:
            raise OSError(self.code, "injected")

        def fileno(self) -> int:
            return 0

    with monkeypatch.context() as patch:
        patch.setattr(one, "_socket", Short())
        other.receive()
        one.flush()
        assert one.wants_write
        patch.setattr(Short, "code", errno.EINVAL)
        with pytest.raises(OSError, match="injected"):
            one.flush()
    one.flush()
    assert one.wants_write or taken


# --- the end ---------------------------------------------------------------------------


def test_the_end_comes_after_the_last_words(ends):
    """ChannelClosed is raised once every message before the end was delivered, and again."""
    one, other = ends
    one.send(m.Failed("import", "last words"))
    one.close()
    assert other.receive() == [m.Failed("import", "last words")]
    for _ in range(2):
        with pytest.raises(ChannelClosed):
            other.receive()
    with pytest.raises(ChannelClosed):
        other.wait(1)


def test_last_words_of_a_peer_that_did_not_read_are_heard(ends):
    """A peer that leaves our messages unread (ECONNRESET) is still heard to the end."""
    one, other = ends
    other.send(m.Drain("stop", 1.0, 1.0))
    one.send(m.Failed("import", "last words"))
    one.close()
    assert other.receive() == [m.Failed("import", "last words")]
    with pytest.raises(ChannelClosed):
        other.receive()


def test_flushing_to_a_vanished_peer_does_not_hide_its_last_words(ends):
    """`flush` is silent about the end, so that `receive` still tells what came before it."""
    one, other = ends
    one.send(m.Failed("import", "last words"))
    while not other.wants_write:
        other.send(m.Progress("x" * 50_000))
    one.close()
    other.flush()
    assert other.receive() == [m.Failed("import", "last words")]
    with pytest.raises(ChannelClosed):
        other.receive()


def test_sending_to_a_vanished_peer_raises_channel_closed(ends):
    """Small or large, the first message or the second."""
    one, other = ends
    other.send(m.Hello(1))
    one.send(m.Hello(1))
    other.close()
    for text in ("small", "x" * INLINE):
        for _ in range(2):
            with pytest.raises(ChannelClosed):
                one.send(m.Progress(text))


def test_a_closed_channel_raises_channel_closed(ends):
    """Our own end closed: nothing is sent and nothing waited for."""
    one, _ = ends
    one.close()
    with pytest.raises(ChannelClosed):
        one.send(m.Hello(1))
    with pytest.raises(ChannelClosed):
        one.receive()
    with pytest.raises(ChannelClosed):
        one.wait(None)


# --- whatever else a peer may send -----------------------------------------------------


def envelope(name: str, **body: object) -> bytes:
    import json

    return json.dumps({m.NAME: name, **body}).encode()


RUBBISH = {
    "nothing": b"",
    "noise": bytes(range(256)),
    "not utf-8": b'{"kind":"\xff"}',
    "a list": b"[]",
    "null": b"null",
    "a long number": b"9" * 60_000,
    "nested": b"[" * 60_000,
    "nested objects": b'{"a":' * 10_000,
    "unknown": envelope("Shutdown"),
    "no name": b"{}",
    "a name that is no text": b'{"' + m.NAME.encode() + b'":[1]}',
    "field missing": envelope("Forked", worker=1),
    "field too many": envelope("Hello", pid=1, uid=0),
    "wrong type": envelope("Hello", pid="1"),
    "bool for int": envelope("Hello", pid=True),
    "descriptor missing": envelope("Fork", worker=1, slot=1, row=1, channel=[0]),
    "descriptor negative": envelope("Fork", worker=1, slot=1, row=1, channel=[-1]),
    "descriptor no number": envelope("Fork", worker=1, slot=1, row=1, channel=["0"]),
    "memfd missing": b"@70000",
    "a whole packet": b"x" * 65_536,
    "more than a packet": b"x" * 65_537,
    "much more than a packet": b"x" * 200_000,
}


@pytest.mark.parametrize("name", RUBBISH)
@pytest.mark.parametrize("count", [0, 2, DESCRIPTORS])
def test_rubbish_is_a_bad_message_and_nothing_else(raw, name, count):
    """Rubbish raises BadMessage once, its descriptors are closed, the channel goes on."""
    channel, peer = raw
    peer.sendmsg([RUBBISH[name]], rights(*[0] * count) if count else [])
    peer.send(m.encode(m.Hello(7))[0])
    with pytest.raises(m.BadMessage):
        channel.receive()
    assert channel.receive() == [m.Hello(7)]


def test_as_many_as_the_kernel_carries(ends):
    """A message with 252 descriptors arrives, and so does a large one, whose memfd is one more."""
    one, other = ends
    for config in ("", "x" * INLINE):
        one.send(begin(*[0] * (DESCRIPTORS - 1), config=config))
        (got,) = other.receive()
        assert len(got.listeners) == DESCRIPTORS - 2
        for fd in (got.page, *got.listeners):
            os.close(fd)


@pytest.mark.parametrize("count", [1, DESCRIPTORS])
def test_descriptors_that_no_field_takes_are_closed(raw, count):
    """A good message with a descriptor too many is not one."""
    channel, peer = raw
    peer.sendmsg([m.encode(m.Hello(1))[0]], rights(*[0] * count))
    with pytest.raises(m.BadMessage, match="each descriptor once"):
        channel.receive()


def test_one_descriptor_in_two_fields_is_refused(raw):
    """Else whoever closes both closes a stranger's file with the second."""
    channel, peer = raw
    data = envelope(
        "Begin",
        config="",
        generation=1,
        supervisor=1,
        page=0,
        listeners=[0, 1],
        addresses=[],
    )
    peer.sendmsg([data], rights(0, 1))
    with pytest.raises(m.BadMessage, match="each descriptor once"):
        channel.receive()


def pipe() -> int:
    """A pipe's reading end, which would block for ever."""
    read, write = os.pipe()
    os.close(write)
    return read


def regular(content: bytes, tmp_path) -> int:
    path = tmp_path / "file"
    path.write_bytes(content)
    return os.open(path, os.O_RDONLY)


def unsealed(content: bytes) -> int:
    fd = os.memfd_create("unsealed", os.MFD_ALLOW_SEALING)
    os.write(fd, content)
    return fd


def write_only(content: bytes) -> int:
    """A sealed memfd through a descriptor that cannot read it."""
    fd = unsealed(content)
    again = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    os.close(fd)
    return again


def sparse(size: int) -> int:
    """A sealed memfd of `size` bytes without a page in it."""
    fd = os.memfd_create("sparse", os.MFD_ALLOW_SEALING)
    os.truncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    return fd


def test_only_a_sealed_memfd_of_bounded_size_carries_a_large_message(raw, tmp_path):
    """A pipe, file, device, unsealed or huge memfd is refused at once and closed."""
    channel, peer = raw
    good = m.encode(m.Hello(1))[0]
    memfd_of_ours = memfd("ours", good)
    hostile = [
        pipe(),
        regular(good, tmp_path),
        os.open(tmp_path, os.O_RDONLY),
        os.open("/dev/zero", os.O_RDONLY),
        os.dup(peer.fileno()),
        unsealed(good),
        os.open(f"/proc/self/fd/{memfd_of_ours}", os.O_PATH),
        write_only(good),
        sparse(MEMFD_LIMIT + 1),
        sparse(1 << 40),
        memfd("empty", b""),
        memfd("noise", b"\0" * 100_000),
    ]
    for fd in hostile:
        began = time.monotonic()
        peer.sendmsg([b"@100"], rights(fd))
        os.close(fd)
        with pytest.raises(m.BadMessage):
            channel.receive()
        assert time.monotonic() - began < 1
    peer.sendmsg([b"@100"], rights(memfd_of_ours))
    os.close(memfd_of_ours)
    assert channel.receive() == [m.Hello(1)]


def test_good_messages_before_rubbish_are_not_lost(raw):
    """They are returned first; the next call raises, even if nothing came meanwhile."""
    channel, peer = raw
    peer.send(m.encode(m.Hello(1))[0])
    peer.send(b"rubbish")
    peer.send(m.encode(m.Hello(2))[0])
    assert channel.receive() == [m.Hello(1)]
    with pytest.raises(m.BadMessage):
        channel.receive()
    assert channel.receive() == [m.Hello(2)]


def test_descriptors_beyond_our_limit_are_said_to_be(raw):
    """At the open file limit what came is closed, and the message names the limit."""
    channel, peer = raw
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    data, fds = m.encode(begin(0, *[1] * 10))
    peer.sendmsg([data], rights(*fds))
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 5, hard))
    try:
        with pytest.raises(m.BadMessage, match=f"ulimit -n. is {lowest + 5}"):
            channel.receive()
        with pytest.raises(ChannelFull, match="open files"):
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
            channel.send(m.Progress("x" * INLINE))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    peer.send(m.encode(m.Hello(7))[0])
    assert channel.receive() == [m.Hello(7)]


def test_a_flooding_peer_is_served_in_portions(raw):
    """One `receive` returns at most 64 messages, and stops after a MiB of large ones."""
    channel, peer = raw
    peer.setblocking(False)
    sent = 0
    while sent < 3 * BATCH:
        try:
            peer.send(m.encode(m.Hello(sent))[0])
        except BlockingIOError:
            break
        sent += 1
    assert sent > BATCH
    assert len(channel.receive()) == BATCH
    assert len(channel.receive()) == min(BATCH, sent - BATCH)
    while channel.receive():
        pass
    for _ in range(4):
        fd = memfd("large", m.encode(m.Progress("x" * 600_000))[0])
        peer.sendmsg([b"@600000"], rights(fd))
        os.close(fd)
    assert [len(channel.receive()) for _ in range(3)] == [2, 2, 0]


def test_mutated_messages_never_surprise(raw):
    """20 000 mutations of good packets: a message, BadMessage, and no descriptor lost."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    channel, peer = raw
    data, fds = m.encode(begin(0, 1, 2))
    good = [(data, fds), m.encode(m.Drain("stop", 1.0, 2.0)), m.encode(m.PsRequest())]
    outcomes = {"good": 0, "bad": 0}
    for _ in range(20_000):
        data, fds = rng.choice(good)
        mutant = bytearray(data)
        for _ in range(rng.randrange(3)):
            place = rng.randrange(len(mutant))
            mutant[place : place + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        some = fds[: rng.randrange(len(fds) + 1)] if rng.random() < 0.3 else fds
        peer.sendmsg([mutant], rights(*some) if some else [])
        try:
            [message] = channel.receive()
        except m.BadMessage:
            outcomes["bad"] += 1
        else:
            outcomes["good"] += 1
            for fd in m.encode(message)[1]:
                os.close(fd)
    assert min(outcomes.values()) > 1000


# --- waiting ---------------------------------------------------------------------------


def test_waiting_ends_with_a_message_or_the_deadline(ends):
    """`wait` returns one message, or None when its time is over and not before."""
    one, other = ends
    began = time.monotonic()
    assert other.wait(0.05) is None
    assert 0.05 <= time.monotonic() - began < 1
    assert other.wait(0) is None
    one.send(m.Hello(1))
    one.send(m.Hello(2))
    assert other.wait(None) == m.Hello(1)
    assert other.wait(5.0) == m.Hello(2)


@pytest.mark.parametrize("timeout", [3.6e6, 1e12, float("inf")])
def test_waiting_may_be_as_long_as_it_likes(ends, timeout):
    """poll's int of milliseconds ends at 24.8 days."""
    one, other = ends
    late = threading.Timer(0.02, one.send, (m.Hello(1),))
    late.start()
    assert other.wait(timeout) == m.Hello(1)
    late.join()


def test_waiting_sends_what_is_queued(ends):
    """Two ends that only wait do not wait for each other's outbox for ever."""
    one, other = ends
    taken = fill(one)
    got: list[m.Message | None] = []
    while len(got) < len(taken):
        got.append(other.wait(0))
        if got[-1] is None:
            got.pop()
            assert one.wait(0.0001) is None
    assert got == taken


def test_waiting_goes_on_after_a_signal(ends):
    """A signal whose handler returns neither ends the wait nor makes it longer."""
    one, other = ends
    kill = f"for i in 1 2 3 4 5; do kill -USR2 {os.getpid()}; done"
    before = signal.signal(signal.SIGUSR2, lambda *_: None)
    try:
        child = os.posix_spawn("/bin/sh", ["sh", "-c", kill], os.environ)
        began = time.monotonic()
        assert other.wait(0.2) is None
        assert 0.2 <= time.monotonic() - began < 2
        os.waitpid(child, 0)
        # And what a handler sends while we wait is what we waited for.
        signal.signal(signal.SIGUSR2, lambda *_: one.send(m.Hello(1)))
        child = os.posix_spawn("/bin/sh", ["sh", "-c", kill], os.environ)
        assert other.wait(10) == m.Hello(1)
        os.waitpid(child, 0)
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_other_ancillary_data_is_no_descriptor(raw):
    """Credentials that the kernel puts beside a message are passed over."""
    channel, peer = raw
    channel._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    data, _ = m.encode(m.Fork(1, 2, 1, 3, channel=(m.Descriptor(0),)))
    peer.sendmsg([data], rights(0))
    [message] = channel.receive()
    assert isinstance(message, m.Fork)
    os.close(message.channel[0])


def test_waiting_raises_for_rubbish(raw):
    """As `receive` does, and what comes behind it is not lost."""
    channel, peer = raw
    peer.send(b"rubbish")
    peer.send(m.encode(m.Hello(1))[0])
    with pytest.raises(m.BadMessage):
        channel.wait(1)
    assert channel.wait(1) == m.Hello(1)


# --- the ends themselves ---------------------------------------------------------------


def test_both_ends_are_private_and_never_block(ends):
    """Close-on-exec and non-blocking, whatever they were before."""
    for end in ends:
        assert not os.get_inheritable(end.fileno())
        assert not os.get_blocking(end.fileno())
    fd = ends[0].detach()
    os.set_inheritable(fd, True)
    os.set_blocking(fd, True)
    again = Channel(fd)
    assert not os.get_inheritable(fd)
    assert not os.get_blocking(fd)
    again.send(m.Hello(1))
    again.close()
    assert ends[1].receive() == [m.Hello(1)]


def test_the_peer_is_named(ends):
    """pid, uid and gid of who made the other end."""
    assert ends[0].peer() == (os.getpid(), os.getuid(), os.getgid())


def test_only_seqpacket_sockets_are_channels():
    """Anything else is refused and stays open, the caller's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        with pytest.raises(ValueError):
            Channel(sock)
        with pytest.raises(ValueError):
            Channel(sock.fileno())
        assert stat.S_ISSOCK(os.fstat(sock.fileno()).st_mode)
    with pytest.raises(OSError):
        Channel(memfd_number := memfd("no socket", b""))
    os.close(memfd_number)


def test_readability_tells_that_there_is_something_to_receive(ends):
    """A channel works in a poll set: readable after a send and at the end."""
    one, other = ends
    poll = select.poll()
    poll.register(other, select.POLLIN)
    assert poll.poll(0) == []
    one.send(m.Hello(1))
    assert poll.poll(1000)
    other.receive()
    assert poll.poll(0) == []
    one.close()
    assert poll.poll(1000)
