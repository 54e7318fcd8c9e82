"""Reload after reload under every kind of client at once: no socket error, no 1006.

RELOADS=100 in the environment makes the long run of it; `make test` does 20.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from process.clients import address_of
from process.crowd import Crowd
from process.releases import deploy, served
from process.support import PATIENCE, in_some_try
from tornado.websocket import WebSocketClientConnection, websocket_connect

from leeward.testing import Service

RELOADS = int(os.environ.get("RELOADS", "20"))
#: How long WebSockets are spread over in these tests.
WINDOW = 0.3


class Tabs:
    """Browser tabs: each keeps a WebSocket and comes back whenever it is closed.

    ends:  (seconds on the loop's clock, close code) of each close; the code is
           None where a browser would say 1006.
    """

    def __init__(self, address: tuple[str, int], count: int) -> None:
        self.ends: list[tuple[float, int | None]] = []
        self.errors: list[BaseException] = []
        self.open: set[WebSocketClientConnection] = set()
        self._url = f"ws://{address[0]}:{address[1]}/ws"
        self._news = asyncio.Event()
        self._tasks = [asyncio.ensure_future(self._keep()) for _ in range(count)]

    async def all_open(self) -> None:
        """Returns once each tab has a WebSocket that has echoed."""
        async with asyncio.timeout(PATIENCE):
            while len(self.open) < len(self._tasks):
                assert not self.errors, self.errors
                self._news.clear()
                await self._news.wait()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks, timeout=PATIENCE)

    async def _keep(self) -> None:
        try:
            while True:
                await self._once()
        except Exception as error:
            self.errors.append(error)
            self._news.set()

    async def _once(self) -> None:
        socket = await websocket_connect(self._url)
        message: str | bytes | None = ""
        try:
            await socket.write_message("hello")
            # It may be closed before it could echo, by a worker on its way out.
            message = await socket.read_message()
            if message == "hello":
                self.open.add(socket)
                self._news.set()
                message = await socket.read_message()
            assert message is None
            self.ends.append((asyncio.get_running_loop().time(), socket.close_code))
        finally:
            self.open.discard(socket)
            socket.close()
            while message is not None:  # the stream closes when the server has answered
                message = await socket.read_message()


@contextlib.asynccontextmanager
async def tabs(address: tuple[str, int], count: int) -> AsyncIterator[Tabs]:
    them = Tabs(address, count)
    try:
        await them.all_open()
        yield them
    finally:
        await them.close()


def gone(service: Service, generation: int, workers: int = 2) -> None:
    for slot in range(workers):
        service.wait_line(rf"worker={slot} gen={generation} pid=\d+ gone$")


def drain(window: float) -> tuple[str, ...]:
    return ("--drain-window", f"{int(window * 1000)}ms")


@pytest.mark.timeout(60 + 3 * RELOADS)
def test_no_client_notices_twenty_reloads(tmp_path: Path) -> None:
    """Keep-alive and new connections get every answer; WebSockets get 1012, each and every time."""
    deploy(tmp_path, "0")

    async def scene(service: Service) -> Tabs:
        async with tabs(address_of(service), 30) as them:
            for reload in range(1, RELOADS + 1):
                deploy(tmp_path, str(reload))
                done = await asyncio.to_thread(service.leeward, "reload")
                assert done.returncode == 0, done
            await asyncio.to_thread(gone, service, RELOADS)
            await them.all_open()
        return them

    with served(tmp_path, *drain(WINDOW)) as service:
        with Crowd(address_of(service)) as crowd:
            them = asyncio.run(scene(service))
            crowd.all_answered()
        assert not them.errors, them.errors
        assert {code for _, code in them.ends} == {1012}, Counter(code for _, code in them.ends)
        assert len(them.ends) >= RELOADS
        assert set(crowd.seen) == {str(reload) for reload in range(RELOADS + 1)}
        assert crowd.slowest < 3.0
        print(f"{crowd.answers} answers, {len(them.ends)} closes, {crowd.slowest:.3f} s at most")


def test_websockets_are_closed_evenly_over_the_window(tmp_path: Path) -> None:
    """Forty on one worker and a window of a second: neither at once nor all at its end."""
    deploy(tmp_path, "one")

    generations = itertools.count(1)

    async def closed(service: Service) -> list[float]:
        async with tabs(address_of(service), 40) as them:
            done = await asyncio.to_thread(service.leeward, "reload")
            assert done.returncode == 0, done
            await asyncio.to_thread(gone, service, next(generations), 1)
            await them.all_open()
            assert Counter(code for _, code in them.ends) == {1012: 40}
            return [at for at, _ in them.ends]

    def scene() -> str:
        times = sorted(asyncio.run(closed(service)))
        # One in each fortieth of the second.
        half, whole = times[20] - times[0], times[-1] - times[0]
        return "" if whole > 0.8 and 0.35 < half < 0.8 else f"not evenly: {times}"

    with served(tmp_path, *drain(1.0), workers=1) as service:
        in_some_try(scene)


def test_a_stop_does_not_spread(tmp_path: Path) -> None:
    """A stop tells all WebSockets at once, with 1001, whatever the window."""
    deploy(tmp_path, "one")

    async def scene(service: Service) -> tuple[list[int | None], list[float]]:
        them = Tabs(address_of(service), 20)
        await them.all_open()
        opened = set(them.open)
        await asyncio.to_thread(service.stop)
        await them.close()
        return [it.close_code for it in opened], [at for at, _ in them.ends]

    with served(tmp_path, *drain(10)) as service:
        codes, times = asyncio.run(scene(service))
    # Not all ends: a tab that comes back at once may find one that has not heard of the stop.
    assert Counter(codes) == {1001: 20}
    times = sorted(times)[:20]
    assert times[-1] - times[0] < 5.0


# --- programs that nobody here wrote --------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ["ab", "-q", "-l", "-k", "-c", "4", "-n", "8000"],
        ["ab", "-q", "-l", "-c", "4", "-n", "3000"],
        # It counts what takes longer than 2 s as an error, if it is not told otherwise.
        ["wrk", "-t", "1", "-c", "8", "-d", "3s", "--latency", "--timeout", "20s"],
    ],
    ids=["ab keep-alive", "ab new connections", "wrk"],
)
def test_ab_and_wrk_see_no_error(tmp_path: Path, command: list[str]) -> None:
    """As fast as they can, while reload follows reload: nothing failed, nothing was not 200."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    deploy(tmp_path, "one")
    with served(tmp_path, *drain(WINDOW)) as service:
        host, port = address_of(service)
        reloads = 0
        while reloads < 3:  # a fast machine has answered everything before the third
            with subprocess.Popen(
                [*command, f"http://{host}:{port}/"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            ) as load:
                while load.poll() is None:
                    assert service.leeward("reload").returncode == 0
                    reloads += 1
                assert load.stdout is not None
                check_sound(command, load.returncode, load.stdout.read())


def check_sound(command: list[str], code: int, said: str) -> None:
    """Nothing that either program could complain of."""
    assert code == 0, said
    assert "Non-2xx" not in said and "Socket errors" not in said, said
    if command[0] == "ab":
        assert re.search(r"Failed requests: +0$", said, re.MULTILINE), said
        assert re.search(rf"Complete requests: +{command[-1]}$", said, re.MULTILINE), said
    else:
        # wrk mentions errors only if there are any.
        assert "requests in" in said, said
