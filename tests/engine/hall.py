"""A connection of the engine without a socket, and Tornado's own server for comparison."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.web import Application

from leeward._core.config import Config
from leeward.adapters.tornado import TornadoServer
from leeward.engine.accelerate.install import ACCELERATIONS, Acceleration, installed
from leeward.engine.connection import Connection
from leeward.engine.engine import Engine


class Counters:
    open = requests = in_flight = new = upgraded = closing = 0


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False
        self.ended = False  # we have said FIN
        self.protocol: Any = None  # another than the connection: it lingers

    def receives(self, data: bytes, member: Connection) -> None:
        """Bytes come, for `member` or who has taken its place."""
        if self.protocol is None:
            member.data_received(data)
            return
        for at in range(0, len(data), 65536):
            piece = data[at : at + 65536]
            self.protocol.get_buffer(len(piece))[: len(piece)] = piece
            self.protocol.buffer_updated(len(piece))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close


def connection(engine: Engine) -> tuple[Connection, Transport]:
    member, transport = Connection(engine, ("127.0.0.1", 1)), Transport()
    engine.add(member)
    member.connection_made(transport)
    return member, transport


def engine(application: Any, accelerate: bool = True) -> Engine:
    return Engine(application, Config("", accelerate=accelerate), Counters(), lambda: None)


@contextlib.contextmanager
def accelerated(*which: Acceleration) -> Iterator[None]:
    """`which` accelerations, or all, and no others."""
    installed.remove()
    installed.install(which or ACCELERATIONS)
    try:
        yield
    finally:
        installed.remove()


@contextlib.asynccontextmanager
async def served(application: Application, by: str) -> AsyncIterator[int]:
    """The port at which `application` is served by: tornado, leeward, or leeward plain."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    loop = asyncio.get_running_loop()
    installed.remove()
    if by == "tornado":
        server = HTTPServer(application)
        server.add_sockets([listener])
        end = server.stop
    else:
        made = engine(application, accelerate=by == "leeward")

        def accept() -> None:
            client, address = listener.accept()
            client.setblocking(False)
            made.accept(client, address)

        loop.add_reader(listener.fileno(), accept)

        def end() -> None:
            loop.remove_reader(listener.fileno())
            listener.close()
            made.close_rest()

    try:
        yield listener.getsockname()[1]
    finally:
        end()
        installed.remove()
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def serving(
    application: Any, by: str, **settings: Any
) -> AsyncIterator[tuple[int, Engine | TornadoServer]]:
    """Port and server; by: engine, engine plain (Tornado's path to handlers), adapter."""
    installed.remove()
    config = Config("", accelerate=by == "engine", **settings)
    kind = TornadoServer if by == "adapter" else Engine
    server = kind(application, config, Counters(), lambda: None)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    loop = asyncio.get_running_loop()

    def accept() -> None:
        client, address = listener.accept()
        client.setblocking(False)
        server.accept(client, address)

    loop.add_reader(listener.fileno(), accept)
    try:
        yield listener.getsockname()[1], server
    finally:
        loop.remove_reader(listener.fileno())
        listener.close()
        server.close_rest()
        installed.remove()
        await asyncio.sleep(0)


async def ask(port: int, request: bytes) -> bytes:
    """Send `request` and read until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer
