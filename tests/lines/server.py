"""A server for a line protocol, whose replies the test holds back, divides and mangles."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import uvloop

from leeward import LineClient

END = b"\r\n> "
#: Longer than any test should take, on any machine.
LONG = 20.0

Answer = Callable[["Line", bytes], Awaitable[None]]


class Line:
    """One connection, seen from the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.closed = asyncio.Event()

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)


class Server:
    """`answer` is called with each request, less its end.  By default an echo."""

    def __init__(self, answer: Answer | None = None, greeting: bytes = b"") -> None:
        self.answer = answer or echo
        self.greeting = greeting
        self.lines: list[Line] = []
        self.requests: list[bytes] = []
        self.tasks: set[asyncio.Task[Any]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(reader, writer)
        self.lines.append(line)
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            if self.greeting:
                await line.send(self.greeting)
            while True:
                request = (await reader.readuntil(b"\r\n"))[:-2]
                self.requests.append(request)
                await self.answer(line, request)
        line.closed.set()
        writer.close()


async def echo(line: Line, request: bytes) -> None:
    await line.send(b"re " + request + END)


@contextlib.asynccontextmanager
async def serving(
    answer: Answer | None = None,
    *,
    greeting: bytes = b"",
    unix: str = "",
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[tuple[Server, str]]:
    server = Server(answer, greeting)
    if unix:
        listening = await asyncio.start_unix_server(server.serve, unix, limit=1 << 26)
        address = f"unix:{unix}"
    else:
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls, limit=1 << 26)
        address = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server, address
    finally:
        listening.close()
        for line in server.lines:
            line.writer.transport.abort()
        for task in server.tasks:
            task.cancel()
        await asyncio.gather(*server.tasks, return_exceptions=True)
        # Transports close in the loop's next turns: nothing may be left for the collector,
        # which would find it in the middle of another test.
        for _ in range(3):
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def client_of(address: str, **options: Any) -> AsyncIterator[LineClient]:
    async with LineClient(address, **{"end": END, "timeout": LONG, **options}) as client:
        yield client


LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def run(loop: str, main: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(LONG):
            await main

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(bounded())
