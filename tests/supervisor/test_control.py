"""Who may ask at the control socket, how many at a time, and what becomes of what they send."""

from __future__ import annotations

import os
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
        for _ in range(8):
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
