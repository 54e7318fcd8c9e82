"""leeward.cli.asking: what a worker has told counts, though it has ended since."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli.supervising import supervisor

from leeward._core.messages import Answer, ConnsRequest, Piece
from leeward._sys.channel import Channel
from leeward.cli.asking import Gathered, gather
from leeward.cli.client import Client


@contextmanager
def answering(path: Path, behave: Callable[[Channel], None]) -> Iterator[Client]:
    """A client of something that reads one request and does `behave`, until the client goes."""
    gone = threading.Event()

    def serve(channel: Channel) -> None:
        assert isinstance(channel.wait(10), ConnsRequest)
        behave(channel)
        gone.wait(20)

    with supervisor(path, serve) as instance:
        try:
            with Client(instance) as client:
                yield client
        finally:
            gone.set()


def dead() -> int:
    """The pid of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(20)
    return process.pid


def asked(*pids: int) -> Answer:
    workers = [
        {"worker": number, "slot": number, "pid": pid, "asked": True}
        for number, pid in enumerate(pids)
    ]
    return Answer(0, "", json.dumps({"workers": workers}))


@pytest.mark.parametrize("others", [0, 3])
def test_a_worker_that_told_all_and_ended(tmp_path: Path, others: int) -> None:
    """`kill` cuts the last connection that it has: a draining worker goes at once."""
    pids = [dead() for _ in range(1 + others)]

    def behave(channel: Channel) -> None:
        channel.send(asked(*pids))
        for number in range(len(pids)):
            channel.send(Piece(number, "", last=True))

    with answering(tmp_path / "chat.sock", behave) as client:
        assert gather(client, ConnsRequest("{}"), 5.0) == Gathered([], 1 + others, [])


def test_a_worker_that_ended_in_silence(tmp_path: Path) -> None:
    pid = dead()
    with answering(tmp_path / "chat.sock", lambda it: it.send(asked(pid))) as client:
        found = gather(client, ConnsRequest("{}"), 5.0)
    assert found == Gathered([], 0, [f"slot 0 (pid {pid}) ended meanwhile"])
