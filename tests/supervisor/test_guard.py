"""Whatever is raised inside the supervisor ends one event, and not the service."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from leeward._core import commands as c
from leeward._core import messages as m
from leeward._core.config import Config
from leeward._core.generation import Limits
from leeward._core.roster import Process
from leeward._core.sinks import Spec
from leeward._core.worker import State
from leeward._supervisor.children import Children
from leeward._supervisor.control import Client, Control
from leeward._supervisor.guard import Guard
from leeward._supervisor.loop import Loop
from leeward._supervisor.processes import Processes
from leeward._supervisor.reloads import Resolver
from leeward._supervisor.requests import Requests
from leeward._supervisor.rings import Rings
from leeward._supervisor.say import Voice
from leeward._sys.channel import Channel
from leeward._sys.posix import POSIX
from leeward._sys.procfs import fd_count
from leeward._sys.ring import RingWriter


class Said(Voice):
    """Keeps what was said."""

    def __init__(self) -> None:
        super().__init__("pretty", "info", -1)
        self.lines: list[tuple[str, str]] = []

    def say(self, text: str, level: str = "info", **identity: object) -> None:
        self.lines.append((level, text))


@pytest.fixture
def voice() -> Said:
    return Said()


@pytest.fixture
def loop(voice: Said) -> Iterator[Loop]:
    made = Loop(Guard(voice, time.monotonic))
    yield made
    made.close()


def fails(*args: object) -> None:
    raise RuntimeError("no such luck")


def test_a_callback_that_raises_is_told_with_its_place(loop: Loop, voice: Said) -> None:
    """And the others are called all the same; the same again is not told at once."""
    calls: list[int] = []
    pairs = [os.pipe() for _ in range(2)]
    for (reader, writer), callback in zip(pairs, (fails, calls.append), strict=True):
        os.write(writer, b"!")
        loop.watch(reader, callback)
    for turn in range(1, 4):
        loop.turn(0.0)
        assert len(calls) == turn
    [(level, text)] = voice.lines
    assert level == "error" and "RuntimeError: no such luck (test_guard.py:" in text
    for fd in sum(pairs, ()):
        os.close(fd)


def test_what_fails_each_time_does_not_spin(loop: Loop) -> None:
    """Its descriptor stays readable: 20 turns a second, and no processor time."""
    reader, writer = os.pipe()
    os.write(writer, b"!")
    turns = 0

    def look(events: int) -> None:
        nonlocal turns
        turns += 1
        fails()

    loop.watch(reader, look)
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        loop.turn(0.3)
    assert turns <= 7
    os.close(reader)
    os.close(writer)


def test_not_even_saying_so_may_fail(monkeypatch: pytest.MonkeyPatch, voice: Said) -> None:
    """What cannot be said is not said, and nothing is raised."""
    monkeypatch.setattr(voice, "say", fails)
    Guard(voice, time.monotonic).run(fails)


# --- the control socket -----------------------------------------------------------------


class Full(socket.socket):
    """A socket of a process without a free descriptor."""

    tried = 0
    full = True

    def accept(self) -> Any:
        self.tried += 1
        if self.full:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


@pytest.fixture
def listening() -> Iterator[Full]:
    with Full(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.bind("")  # the kernel finds a name
        sock.listen()
        yield sock


def connected(sock: socket.socket) -> Channel:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.connect(sock.getsockname())
    return Channel(client)


def test_a_request_that_fails_is_answered(loop: Loop, voice: Said, listening: Full) -> None:
    """The asker gets the reason, the log too, and the next asker is served."""
    listening.full = False
    control = Control(listening, loop, fails, time.monotonic)
    for _ in range(2):
        asker = connected(listening)
        asker.send(m.PsRequest())
        for _ in range(3):
            loop.turn(0.1)
        (answer,) = asker.receive()
        assert isinstance(answer, m.Answer) and answer.code == 1
        assert "RuntimeError: no such luck" in answer.text
        asker.close()
    assert [level for level, _ in voice.lines] == ["error"]
    control.close()


def test_without_a_descriptor_nobody_is_accepted_for_a_second(loop: Loop, listening: Full) -> None:
    """The queue stays readable: the loop is not woken by it, turn by turn."""
    now = 100.0
    control = Control(listening, loop, fails, lambda: now)
    asker = connected(listening)
    for _ in range(5):
        loop.turn(0.0)
    assert listening.tried == 1 and control.next_deadline() == 101.0
    control.expire(100.9)
    loop.turn(0.0)
    assert listening.tried == 1
    listening.full = False
    control.expire(101.0)
    loop.turn(0.0)
    assert listening.tried == 2 and control.next_deadline() == 110.0  # it is a client now
    asker.close()
    control.close()


# --- a room that is not there -----------------------------------------------------------


def test_without_the_room_for_output_it_is_not_captured(
    monkeypatch: pytest.MonkeyPatch, loop: Loop, voice: Said
) -> None:
    """The worker is started all the same; said for the first one only."""
    monkeypatch.setitem(sys.modules, "leeward._supervisor.capturing", None)
    config = Config(target="chat:app", capture_output="on")
    rings = Rings(Children(POSIX, {}, "/c.sock"), loop, POSIX, voice, lambda: config)
    for worker in (1, 2):
        fork, ends = rings.order(c.StartWorker(worker, 0, 1, worker, 0, None, False))
        assert (fork.worker, fork.stdout, fork.stderr, ends) == (worker, (), (), ())
    [(level, text)] = voice.lines
    assert level == "warning" and "what workers print is not captured" in text
    rings.finish()


def test_without_the_words_for_hazards_they_are_counted(
    monkeypatch: pytest.MonkeyPatch, voice: Said
) -> None:
    """What is done about them has been decided elsewhere."""
    monkeypatch.setitem(sys.modules, "leeward._supervisor.hazards", None)
    processes = Processes.__new__(Processes)
    processes._voice = voice
    it = Process(1, "zygote", 1, Limits(), State.STARTING, 0.0)
    message = m.Loaded("Tornado application", "app", 1, (), findings=("one", "two"))
    assert processes._tell_hazards(it, message) == "in spite of what was found"
    assert "2 hazards found, which cannot be told" in voice.lines[0][1]


def test_what_came_with_refused_settings_is_closed(voice: Said) -> None:
    """The settings of another leeward: its certificate would stay open for ever."""
    refused: list[str] = []
    resolver = Resolver.__new__(Resolver)
    resolver._config = Config(target="chat:app", root="/venv/lib")
    resolver._on_failure = refused.append
    fd = os.dup(0)
    resolver._judge(m.Resolved('{"target":"chat:app","of_tomorrow":1}', (m.Descriptor(fd),)))
    assert "another version of leeward is installed in /venv/lib" in refused[0]
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)


def test_what_came_with_a_message_that_is_no_request_is_closed() -> None:
    """Else anybody at the control socket could use up our descriptors."""
    answers: list[m.Answer] = []
    control = SimpleNamespace(answer=lambda client, answer: answers.append(answer))
    requests = Requests.__new__(Requests)
    vars(requests).update(
        parts=SimpleNamespace(control=control), roll_out=SimpleNamespace(config=None)
    )
    fd = os.dup(0)
    requests.take(Client.__new__(Client), m.Renew((m.Descriptor(fd),)))
    assert [it.code for it in answers] == [2]
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)


def test_what_comes_behind_the_resolvers_word_is_closed() -> None:
    """It says one thing; whoever writes into its channel says more, or another."""
    said: list[str] = []
    fd = os.dup(0)
    for kinds in (
        (m.Unresolved("no"), m.Resolved("{}", (m.Descriptor(fd),))),
        (m.Watched(m.Descriptor(fd)),),
    ):
        ours, theirs = Channel.pair()
        resolver = Resolver.__new__(Resolver)
        resolver._loop = Loop.__new__(Loop)
        resolver._loop._callbacks = {}
        resolver._channel, resolver._on_failure = ours, said.append
        for message in kinds:
            theirs.send(message)
        before = fd_count(os.getpid())
        resolver._receive(0)
        assert fd_count(os.getpid()) == before - 1, "the channel, and nothing more"
        theirs.close()
    assert said == ["no"]
    os.close(fd)


def test_what_came_with_a_word_that_is_not_a_workers_is_closed(voice: Said) -> None:
    """It is told, and no descriptor stays."""
    processes = Processes.__new__(Processes)
    processes._voice, processes._posix = voice, POSIX
    fd = os.dup(0)
    it = Process(1, "zygote", 1, Limits(), State.STARTING, 0.0)
    processes._heard(it, m.Renew((m.Descriptor(fd),)))
    assert "said Renew, which is not its to say" in voice.lines[0][1]
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)


def test_without_the_collectors_room_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, loop: Loop, voice: Said
) -> None:
    """Said once, by its name; tried again later; until then rings of the dead keep their lines."""
    monkeypatch.setitem(sys.modules, "leeward._supervisor.collecting", None)
    children = Children(POSIX, {}, "/c.sock")
    config = Config(target="chat:app")
    rings = Rings(children, loop, POSIX, voice, lambda: config)
    for worker in (1, 2):
        writer = RingWriter(*rings.ring(worker, 0, 1))
        writer.write(writer.sink(Spec("stderr").to_json()), 20, b"a line\n")
        rings.bell.ring()
        loop.turn(0.0)
        rings.ended(worker)
        rings.tick(time.monotonic())
    assert all(it.ended for it in rings.held.values()) and len(rings.held) == 2
    [(level, text)] = voice.lines
    assert level == "warning" and "the log collector cannot be started" in text
    assert "ModuleNotFoundError" in text and "leeward stop, then serve" in text
    again = rings.next_deadline()
    assert again is not None and again > time.monotonic()
    rings.finish()
    assert not rings.held
    assert voice.lines[1:] == [
        ("error", "64 octets of log lines are lost: no log collector takes them")
    ]
