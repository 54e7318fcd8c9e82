"""A served engine with real sockets, whose buffers a test can add up."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from tornado.web import Application

from leeward._core.config import Config
from leeward.engine.engine import Engine

MIB = 1024 * 1024
PATIENCE = 60.0

UPGRADE = (
    b"GET /%s HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n%b"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Counters:
    open = requests = in_flight = 0


class Served:
    """engine:  the one that serves.   most:  the most that all its buffers have held, in bytes."""

    def __init__(self, engine: Engine, port: int, tls: ssl.SSLContext | None) -> None:
        self.engine, self.port, self.tls = engine, port, tls
        self.most = 0
        self._clients: list[Client] = []

    def held(self) -> int:
        """What the engine and its transports keep for all connections."""
        total = 0
        for member in self.engine.live:
            it: Any = member
            total += it.transport.get_write_buffer_size() + len(it._buffer)
            total += it._outbox.size if it._outbox is not None else 0
            total += len(it._stream._data) if it._stream is not None else 0
        self.most = max(self.most, total)
        return total

    async def connect(self, receive: int = 0) -> Client:
        """receive:  bytes of the client's own buffer, so that the kernel hides little."""
        client = Client(self)
        await client.open(receive)
        self._clients.append(client)
        return client

    async def until(self, true: Callable[[], bool], what: str) -> None:
        """Measure in each turn until something is the case."""
        async with asyncio.timeout(PATIENCE):
            while not true():
                self.held()
                await asyncio.sleep(0.001)
        assert true(), what

    async def steady(self) -> int:
        """What is held when nothing has moved for a while."""
        before, same = -1, 0
        async with asyncio.timeout(PATIENCE):
            while same < 30:
                now = self.held()
                moved = sum(it.sent for it in self.engine.live) + now
                same = same + 1 if moved == before else 0
                before = moved
                await asyncio.sleep(0.01)
        return self.held()


class Client:
    """Reads only when it is asked to."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def open(self, receive: int) -> None:
        sock = socket.socket()
        if receive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self._served.port))
        tls = self._served.tls
        self.reader, self.writer = await asyncio.open_connection(
            sock=sock, ssl=tls, server_hostname="localhost" if tls else None, limit=16384
        )

    async def upgrade(self, path: bytes, extra: bytes = b"") -> None:
        self.writer.write(UPGRADE % (path, extra))
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE)
        assert b" 101 " in head, head

    async def read(self, count: int) -> int:
        """Read `count` bytes; how many came before the end."""
        got = 0
        async with asyncio.timeout(PATIENCE):
            while got < count:
                piece = await self.reader.read(min(count - got, MIB))
                if not piece:
                    break
                got += len(piece)
        return got

    async def write_all(self, data: bytes, times: int) -> None:
        """Write for as long as the other side takes it."""
        for _ in range(times):
            self.writer.write(data)
            await self.writer.drain()

    def close(self) -> None:
        self.writer.transport.abort()


@contextlib.asynccontextmanager
async def served(
    application: Application,
    config: Config,
    tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
) -> AsyncIterator[Served]:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    # Little is hidden in the kernel's own buffers: connections inherit it.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    loop = asyncio.get_running_loop()
    server, client = tls or (None, None)
    engine = Engine(application, config, Counters(), lambda: None, server)

    def accept() -> None:
        sock, address = listener.accept()
        sock.setblocking(False)
        engine.accept(sock, address)

    loop.add_reader(listener.fileno(), accept)
    found = Served(engine, listener.getsockname()[1], client)
    try:
        yield found
    finally:
        loop.remove_reader(listener.fileno())
        listener.close()
        engine.close_rest()
        for it in found._clients:
            it.close()
        await asyncio.sleep(0.05)


def run(loop: str, case: Callable[[], Awaitable[None]]) -> None:
    if loop == "asyncio":
        asyncio.run(case())  # type: ignore[arg-type]
    else:
        pytest.importorskip("uvloop").run(case())


def frame(payload: bytes, opcode: int = 2, first: int = 0x80) -> bytes:
    """A masked WebSocket frame; its mask is zero."""
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 65536:
        length = b"\xfe" + size.to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(8, "big")
    return bytes([first | opcode]) + length + b"\0\0\0\0" + payload
