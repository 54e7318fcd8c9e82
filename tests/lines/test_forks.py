"""After a fork each process has its own connections, and the child none of its parent's."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from lines.server import END, LONG, LOOPS, Line, echo, run, serving

from leeward import LineClient

pytestmark = [
    pytest.mark.parametrize("loop", LOOPS),
    # Python warns of forks beside threads; here only the name resolver's could be one.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


async def forked(child: Callable[[], Coroutine[Any, Any, None]] | None) -> int:
    """The exit status of a child that runs `child`, or waits to be killed; it is reaped."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            if child is None:
                signal.pause()
            asyncio.events._set_running_loop(None)
            asyncio.run(child())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    try:
        return await asyncio.to_thread(lambda: os.waitpid(pid, 0)[1])
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_child_has_connections_of_its_own(loop: str) -> None:
    """Its parent's serve on; each sees its own counts."""

    async def main() -> None:
        async with serving() as (server, address):
            client = LineClient(address, end=END, timeout=LONG)
            assert await client.call("parent 1") == "re parent 1"

            async def child() -> None:
                assert await client.call("child") == "re child"
                assert (client.stats().calls, client.stats().pid) == (1, os.getpid())
                await client.aclose()

            assert await forked(child) == 0
            assert await client.call("parent 2") == "re parent 2"
            assert client.stats().opened == 1
            assert len(server.lines) == 2
            await client.aclose()

    run(loop, main())


def test_a_fork_in_the_middle_of_a_call_disturbs_neither(loop: str) -> None:
    """The reply comes to the parent, whatever the child asks meanwhile."""
    asked, go = asyncio.Event(), asyncio.Event()

    async def answer(line: Line, request: bytes) -> None:
        if request == b"slow":
            asked.set()
            await go.wait()
        await echo(line, request)

    async def main() -> None:
        async with serving(answer) as (_, address):
            client = LineClient(address, end=END, timeout=LONG)
            slow = asyncio.ensure_future(client.call("slow"))
            await asked.wait()

            async def child() -> None:
                replies = await asyncio.gather(*(client.call(str(n)) for n in range(20)))
                assert replies == [f"re {n}" for n in range(20)]

            assert await forked(child) == 0
            go.set()
            assert await slow == "re slow"
            await client.aclose()

    run(loop, main())


def test_a_child_that_never_calls_keeps_nothing_open(loop: str) -> None:
    """The parent closes, and the server learns it, although the child lives."""

    async def main() -> None:
        async with serving() as (server, address):
            client = LineClient(address, end=END, timeout=LONG)
            await client.call("1")
            pid = os.fork()
            if not pid:
                signal.pause()
                os._exit(0)
            try:
                await client.aclose()
                await server.lines[0].closed.wait()
                os.kill(pid, 0)  # it lives
            finally:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)

    run(loop, main())


def test_what_the_child_opens_is_not_closed_by_what_it_forgot(loop: str) -> None:
    """Descriptors' numbers are used again: the end of the parent's objects closes none."""

    async def main() -> None:
        async with serving() as (_, address):
            client = LineClient(address, end=END, timeout=LONG)
            await asyncio.gather(*(client.call(str(n)) for n in range(4)))
            gc.collect()  # what other tests have left is not what is looked for

            async def child() -> None:
                mine = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]
                client._buried.clear()
                gc.collect()
                for descriptor in mine:
                    os.fstat(descriptor)

            assert await forked(child) == 0
            await client.aclose()

    run(loop, main())
