"""leeward.engine.unserved: one line for many connections that cannot be served."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from engine.hall import engine
from tornado.web import Application

from leeward.engine.unserved import Unserved


def test_a_swarm_is_said_once_a_second_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    now = 100.0
    unserved = Unserved(lambda: now)
    for at in (100.0, 100.5, 100.9, 101.0, 102.0):
        now = at
        unserved(RuntimeError("no tasks"))
    said = "closed a connection that cannot be served"
    assert [it.getMessage() for it in caplog.records] == [
        f"{said}: RuntimeError: no tasks",
        f"{said} (and 2 more since the last such line): RuntimeError: no tasks",
        f"{said}: RuntimeError: no tasks",
    ]
    assert unserved.count == 5


class Awkward:
    """What a task factory gives that is no task."""


@pytest.mark.parametrize("makes", ["raises", "no task"])
@pytest.mark.filterwarnings("error")
def test_accept_never_raises_and_keeps_nothing(makes: str) -> None:
    async def left() -> tuple[int, bytes, int]:
        made = engine(Application())
        ours, theirs = socket.socketpair()

        def factory(loop: Any, work: Any, **kwargs: Any) -> Any:
            if makes == "raises":
                raise KeyError("of the factory")
            work.close()
            return Awkward()

        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        with ours:
            made.accept(theirs, ("127.0.0.1", 1))
            loop.set_task_factory(None)  # asyncio's own end needs tasks
            return made.open(), ours.recv(1), made.unserved.count

    assert asyncio.run(left()) == (0, b"", 1)


def test_what_fails_behind_the_task_s_start_is_said_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def left() -> tuple[int, bytes]:
        made = engine(Application())
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()

        async def fails(*args: Any) -> Any:
            raise ValueError("of the loop")

        loop.connect_accepted_socket = fails  # type: ignore[method-assign]
        ours.setblocking(False)
        with ours:
            made.accept(theirs, ("127.0.0.1", 1))
            async with asyncio.timeout(5):
                return made.open(), await loop.sock_recv(ours, 1)

    assert asyncio.run(left()) == (1, b"")
    [line] = [it.getMessage() for it in caplog.records]
    assert "cannot be served: ValueError: of the loop (" in line


def test_a_broken_connection_is_not_worth_a_line(caplog: pytest.LogCaptureFixture) -> None:
    async def left() -> int:
        made = engine(Application())
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        made.closed = ended.set

        async def fails(*args: Any) -> Any:
            raise ConnectionResetError

        loop.connect_accepted_socket = fails  # type: ignore[method-assign]
        with ours:
            made.accept(theirs, ("127.0.0.1", 1))
            async with asyncio.timeout(5):
                await ended.wait()
        return made.open()

    assert asyncio.run(left()) == 0
    assert not caplog.records
