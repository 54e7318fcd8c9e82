"""Who may ask at the control socket, how many at a time, and what becomes of what they send."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterator

import pytest

from leeward._core import messages as m
from leeward._supervisor.control import Client, Control
from leeward._supervisor.guard import Guard
from leeward._supervisor.loop import Loop
from leeward._supervisor.say import Voice
from leeward._sys.channel import Channel
from leeward._sys.procfs import fd_count
from leeward.errors import ChannelClosed


class Room:
    """A control socket, its loop, and what was asked."""

    def __init__(self) -> None:
        self.loop = Loop(Guard(Voice("pretty", "info", -1), time.monotonic))
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.bind("")  # the kernel finds a name
        self.sock.listen(512)
        self.asked: list[tuple[Client, m.Message]] = []
        self.clients: list[Channel] = []
        self.control = Control(self.sock, self.loop, self.take, time.monotonic)

    def take(self, client: Client, message: m.Message) -> None:
        self.asked.append((client, message))
        if isinstance(message, m.PsRequest):
            self.control.answer(client, m.Answer(0, "", "{}"))

    def connect(self) -> Channel:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(self.sock.getsockname())
        self.clients.append(Channel(sock))
        return self.clients[-1]

    def turn(self) -> None:
        """Until nothing is left to be done."""
        while select.select([self.loop._epoll], [], [], 0)[0]:
            self.loop.turn(0.0)

    def close(self) -> None:
        self.control.close()
        self.loop.close()
        for client in self.clients:
            client.close()


@pytest.fixture
def room() -> Iterator[Room]:
    made = Room()
    yield made
    made.close()


def closed(client: Channel) -> bool:
    try:
        while client.receive():
            pass
    except ChannelClosed:
        return True
    return False


@pytest.mark.parametrize("late", [False, True], ids=["in one go", "while the first waits"])
def test_what_comes_behind_a_request_is_closed(room: Room, late: bool) -> None:
    """One connection asks one thing; a second one ends it, and leaves no descriptor open."""
    before = fd_count(os.getpid())
    client = room.connect()
    client.send(m.ReloadRequest(True))
    if late:
        room.turn()
        assert len(room.asked) == 1
    for _ in range(5):
        client.send(m.Renew((m.Descriptor(0),) * 7))
    room.turn()
    assert closed(client)
    assert [type(message) for _, message in room.asked] == [m.ReloadRequest]
    client.close()
    assert fd_count(os.getpid()) == before


def words(client: Channel) -> tuple[int, str]:
    """Of the answer that has come."""
    message = client.wait(5)
    assert isinstance(message, m.Answer)
    return message.code, message.text


def waiting(room: Room, count: int) -> list[Channel]:
    clients = []
    for _ in range(count):
        clients.append(room.connect())
        clients[-1].send(m.ReloadRequest(True))
        room.turn()
    return clients


def test_who_waits_for_an_outcome_keeps_nobody_out(room: Room) -> None:
    """40 CI jobs in `leeward reload`: `ps` is answered, and each job hears how its own ends."""
    jobs = waiting(room, 40)
    for _ in range(3):
        ps = room.connect()
        ps.send(m.PsRequest())
        room.turn()
        assert words(ps)[0] == 0
    for client, message in room.asked:
        if isinstance(message, m.ReloadRequest):
            room.control.answer(client, m.Answer(0, "generation 2 serves"))
    assert [words(job) for job in jobs] == [(0, "generation 2 serves")] * 40


@pytest.mark.parametrize(("descriptors", "most"), [(-1, 256), (1 << 20, 256), (64, 16)])
def test_one_too_many_does_not_wait_and_is_told_so(
    room: Room, monkeypatch: pytest.MonkeyPatch, descriptors: int, most: int
) -> None:
    """What it asked for goes on; most of our descriptors are for our own work."""
    monkeypatch.setattr(os, "sysconf", lambda name: descriptors)
    jobs = waiting(room, most + 1)
    assert len(room.asked) == most + 1
    code, text = words(jobs[-1])
    assert code == 1 and text.startswith(f"{most} others wait already; what was asked for goes on")
    assert closed(jobs[-1])
    assert not any(closed(job) for job in jobs[:-1])
    for client, _ in room.asked:
        room.control.answer(client, m.Answer(0, "generation 2 serves"))
    assert [words(job)[0] for job in jobs[:-1]] == [0] * most


def test_who_gives_up_his_place_is_told_why(room: Room) -> None:
    """The oldest who has asked nothing; it may be one that was just about to."""
    silent = [room.connect() for _ in range(32)]
    room.turn()
    ps = room.connect()
    ps.send(m.PsRequest())
    room.turn()
    assert words(ps)[0] == 0
    code, text = words(silent[0])
    assert code == 1 and text.startswith("too many others are asking")
    assert closed(silent[0])
    assert not any(closed(client) for client in silent[1:])


def test_who_has_its_answer_gives_up_its_place_first(room: Room) -> None:
    """It loses nothing: the answer is on its way, even if nobody reads it yet."""
    told = []
    for _ in range(31):
        told.append(room.connect())
        told[-1].send(m.PsRequest())
    silent = room.connect()
    room.turn()
    late = room.connect()
    late.send(m.StopRequest(now=False))
    room.turn()
    assert isinstance(room.asked[-1][1], m.StopRequest)
    assert not closed(silent)
    assert [words(client)[0] for client in told] == [0] * 31


def test_rubbish_is_all_that_its_client_may_say(room: Room) -> None:
    """It is answered, and ended if it goes on."""
    client = room.connect()
    os.write(client.fileno(), b"rubbish")
    room.turn()
    assert words(client)[0] == 2
    client.send(m.PsRequest())
    room.turn()
    assert closed(client) and not room.asked
