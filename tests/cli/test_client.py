"""leeward.cli.client: asks once, hears progress, and never waits without end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli.supervising import supervisor

from leeward._core.messages import Answer, Progress, PsRequest, ReloadRequest
from leeward._sys.channel import Channel
from leeward.cli.client import Client, ProcessEnd
from leeward.cli.instances import Instance
from leeward.errors import LeewardError, NoInstanceError


@contextmanager
def mute(path: Path) -> Iterator[Client]:
    """A client of one that hears what it is asked, and says nothing."""
    gone = threading.Event()
    with (
        supervisor(path, lambda channel: bool(gone.wait(10)) and None) as instance,
        Client(instance) as client,
    ):
        yield client
        gone.set()


def test_progress_comes_as_it_happens_and_then_the_answer(tmp_path: Path) -> None:
    def behave(channel: Channel) -> None:
        assert channel.wait(5) == ReloadRequest(wait=True)
        channel.send(Progress("loading"))
        channel.send(Progress("rolling"))
        channel.send(Answer(0, "done"))

    said: list[str] = []
    with supervisor(tmp_path / "chat.sock", behave) as instance, Client(instance) as client:
        assert client.pid == os.getpid()
        assert client.ask(ReloadRequest(wait=True), 5, said.append) == Answer(0, "done")
    assert said == ["loading", "rolling"]


def test_a_supervisor_that_keeps_silent_is_named_with_what_to_do(tmp_path: Path) -> None:
    with (
        mute(tmp_path / "chat.sock") as client,
        pytest.raises(LeewardError, match=r"did not answer within 0\.05 s.*\nkill -CONT"),
    ):
        client.ask(PsRequest(), 0.05)


def test_one_that_is_no_supervisor_yet_is_not_to_be_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It listens before it has read its settings: a slow start is no reason for kill -KILL."""
    import leeward._sys.procfs

    words = ["python3", "/srv/bin/leeward", "serve", "shop:make_app"]
    monkeypatch.setattr(leeward._sys.procfs, "cmdline", lambda pid: words)
    with (
        mute(tmp_path / "chat.sock") as client,
        pytest.raises(LeewardError, match=r"is starting: it answers when") as told,
    ):
        client.ask(PsRequest(), 0.05)
    assert "kill" not in str(told.value)


@pytest.mark.parametrize(
    ("lives", "said"),
    [
        (True, r"closed the connection before it answered\nleeward ps chat "),
        (False, "ended before it answered\nits log says why"),
    ],
    ids=["it lives", "it has ended"],
)
def test_a_supervisor_that_closes_before_its_answer_is_told(
    tmp_path: Path, lives: bool, said: str
) -> None:
    """And whether it has ended: who is told so looks for a crash."""

    def behave(channel: Channel) -> None:
        channel.wait(5)

    with (
        supervisor(tmp_path / "chat.sock", behave) as instance,
        Client(instance) as client,
        subprocess.Popen(["true"]) as ended,
    ):
        ended.wait(10)
        if not lives:
            client.pid = ended.pid
        with pytest.raises(LeewardError, match=said):
            client.ask(PsRequest(), 5)


def test_why_it_has_closed_before_it_was_asked_is_read(tmp_path: Path) -> None:
    """Too many others ask: the request cannot be sent any more."""
    refused = Answer(1, "too many others are asking\nAsk again")
    closed = threading.Event()

    def behave(channel: Channel) -> None:
        channel.send(refused)
        channel.close()
        closed.set()

    for ask in (Client.ask, Client.data):
        closed.clear()
        path = tmp_path / f"{ask.__name__}.sock"
        with supervisor(path, behave) as instance, Client(instance) as client:
            assert closed.wait(10)
            if ask is Client.ask:
                assert client.ask(PsRequest(), 5) == refused
            else:
                with pytest.raises(LeewardError, match="too many others are asking"):
                    client.data(PsRequest(), {})


def test_an_answer_in_another_language_is_told(tmp_path: Path) -> None:
    def behave(channel: Channel) -> None:
        channel.wait(5)
        channel.send(PsRequest())

    with (
        supervisor(tmp_path / "chat.sock", behave) as instance,
        Client(instance) as client,
        pytest.raises(LeewardError, match="answered PsRequest"),
    ):
        client.ask(PsRequest(), 5)


def test_nobody_at_the_socket_is_no_instance(tmp_path: Path) -> None:
    with pytest.raises(NoInstanceError):
        Client(Instance("chat", str(tmp_path / "gone.sock")))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.bind(str(tmp_path / "dead.sock"))
    with pytest.raises(NoInstanceError):
        Client(Instance("dead", str(tmp_path / "dead.sock")))


def test_the_end_of_a_process_that_is_not_our_child_is_seen() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert child.stdin is not None
    end = ProcessEnd(child.pid)
    assert end.wait(0.01) is False
    child.stdin.close()
    assert end.wait(10) is True
    end.close()
    child.wait(10)
    assert ProcessEnd(child.pid).wait(0) is True
    assert ProcessEnd(0).wait(0) is True
