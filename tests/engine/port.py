"""A worker's server behind a real port, in this process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from leeward._core.config import Config
from leeward.adapters.serving import server
from leeward.engine.accelerate.install import installed

#: Seconds that a whole test may wait.
PATIENCE = 40.0

#: What serves, on which loop.
EVERY_SERVER = [("leeward", "asyncio"), ("leeward", "uvloop"), ("tornado", "asyncio")]


class Counters:
    open = requests = in_flight = brief = 0


def run(main: Coroutine[Any, Any, Any], loop: str = "asyncio") -> Any:
    factory = asyncio.new_event_loop
    if loop == "uvloop":
        factory = pytest.importorskip("uvloop").new_event_loop
    errors: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.get_loop().set_exception_handler(lambda _, error: errors.append(error))
        result = runner.run(asyncio.wait_for(main, PATIENCE))
        assert not errors, errors  # the runner's own end cancels what is left
    return result


class Port:
    """server:  what serves.  address:  to connect to, a path for a Unix socket."""

    def __init__(self, listener: socket.socket) -> None:
        self.server: Any = None
        self.address = listener.getsockname()
        self.emptied = asyncio.Event()

    async def connect(self, **how: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.address, str):
            return await asyncio.open_unix_connection(self.address, **how)
        return await asyncio.open_connection(*self.address[:2], **how)

    async def ask(self, request: bytes, **how: Any) -> bytes:
        """Send `request` and read until the server closes."""
        reader, writer = await self.connect(**how)
        writer.write(request)
        answer = b""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            answer = await reader.read()
        writer.close()
        return answer

    async def gone(self) -> None:
        """Until the last connection has ended."""
        while self.server.live:
            self.emptied.clear()
            await self.emptied.wait()


@contextlib.asynccontextmanager
async def serving(
    application: Any, config: Config, tls: ssl.SSLContext | None = None, at: Any = ("127.0.0.1", 0)
) -> AsyncIterator[Port]:
    family = socket.AF_UNIX if isinstance(at, str) else socket.AF_INET
    if ":" in at[0]:
        family = socket.AF_INET6
    with socket.socket(family) as listener:
        listener.bind(at)
        listener.listen()
        listener.setblocking(False)
        port = Port(listener)
        port.server = server(application, config, Counters(), port.emptied.set, tls)
        loop = asyncio.get_running_loop()
        loop.add_reader(listener.fileno(), lambda: port.server.accept(*listener.accept()))
        try:
            yield port
        finally:
            loop.remove_reader(listener.fileno())
            port.server.close_rest()
            await port.gone()
            installed.remove()
