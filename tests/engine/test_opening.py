"""`on_close` comes once for every WebSocket, also for one whose `open()` fails."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import Any

import pytest
from engine.test_pings import Client, run, served
from tornado import gen
from tornado.web import Application
from tornado.websocket import WebSocketHandler

both = pytest.mark.parametrize("by", ["leeward", "tornado"])
TOLD: list[Any] = []
HANDSHAKE = (
    b"GET /?how=%b HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Opening(WebSocketHandler):
    how = ""

    def open(self) -> Any:
        TOLD.append("open")
        return getattr(self, self.get_query_argument("how"))()

    def raises(self) -> None:
        raise ValueError("in open")

    async def raises_later(self) -> None:
        await asyncio.sleep(0.05)
        raise ValueError("in open")

    @gen.coroutine
    def raises_in_a_generator(self) -> Any:
        yield gen.sleep(0.05)
        raise ValueError("in open")

    async def is_cancelled(self) -> None:
        raise asyncio.CancelledError

    async def writes_to_who_has_left(self) -> None:
        TOLD.append("waits")
        while not self.ws_connection.stream.closed():
            with contextlib.suppress(Exception):
                await self.write_message("still there?")
            await asyncio.sleep(0.01)
        await self.write_message("hello")

    async def goes_well(self) -> None:
        await asyncio.sleep(0.05)

    def goes_well_at_once(self) -> None:
        pass

    def closes(self) -> None:
        self.close(4001)

    async def closes_and_raises(self) -> None:
        self.close(4001)
        raise ValueError("after close")

    def on_close(self) -> None:
        TOLD.append("close")
        if self.get_query_argument("cleanup", ""):
            raise ValueError("in on_close")


class Preparing(Opening):
    """Comes to its `open` when its client has left."""

    async def prepare(self) -> None:
        TOLD.append("prepare")
        while "close" not in TOLD:
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def opened(by: str, how: str) -> Any:
    """A client that has connected, and the server."""
    TOLD.clear()
    application = Application([("/", Opening)], log_function=lambda handler: None)
    async with served(by, application=application) as it:
        yield it, await it.client(f"how={how}")


@both
@pytest.mark.parametrize(
    "how",
    ["raises", "raises_later", "raises_in_a_generator", "is_cancelled", "closes_and_raises"],
)
def test_open_fails(by: str, how: str) -> None:
    """The connection is cut, as ever, and `on_close` comes."""

    async def story() -> None:
        async with opened(by, how) as (it, client):
            await client.closed()
            await it.until(lambda: "close" in TOLD and not it.made.live)
            await asyncio.sleep(0.05)
            assert TOLD == ["open", "close"]

    run(story)


@both
def test_the_client_leaves_during_open(by: str) -> None:
    """`write_message` raises in `open`, and `on_close` comes."""

    async def story() -> None:
        async with opened(by, "writes_to_who_has_left") as (it, client):
            await it.until(lambda: "waits" in TOLD)
            client.writer.transport.abort()
            await it.until(lambda: "close" in TOLD and not it.made.live)
            await asyncio.sleep(0.05)
            assert TOLD == ["open", "waits", "close"]

    run(story)


@pytest.mark.parametrize("interval", [0.0, 0.2])
@pytest.mark.parametrize("how", ["goes_well", "goes_well_at_once", "raises", "raises_later"])
def test_the_client_leaves_before_open(how: str, interval: float) -> None:
    """`on_close` comes, then `open`: what that registers is to be taken back.

    And nobody is asked by pings any more, nor would be if there were any.
    """

    async def story() -> None:
        TOLD.clear()
        application = Application([("/", Preparing)], log_function=lambda handler: None)
        async with served("leeward", interval=interval, application=application) as it:
            with socket.create_connection(it.path) as client:
                client.sendall(HANDSHAKE % how.encode())
                await it.until(lambda: "prepare" in TOLD)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await it.until(lambda: len(TOLD) >= 4)
            await asyncio.sleep(0.05)
            assert TOLD == ["prepare", "close", "open", "close"]
            assert not any(peers._resting for peers in it.made.pings._ruled.values())

    run(story)


@both
@pytest.mark.parametrize("how", ["goes_well", "goes_well_at_once", "closes"])
def test_open_goes_well(by: str, how: str) -> None:
    """Then it is Tornado that calls `on_close`, once."""

    async def story() -> None:
        async with opened(by, how) as (it, client):
            assert isinstance(client, Client)
            client.send(8, b"\x03\xe8")
            await client.closed()
            await it.until(lambda: "close" in TOLD and not it.made.live)
            await asyncio.sleep(0.05)
            assert TOLD == ["open", "close"]

    run(story)


@both
def test_a_clean_up_that_raises_is_logged(by: str, caplog: pytest.LogCaptureFixture) -> None:
    """And it is not called again."""

    async def story() -> None:
        async with opened(by, "raises&cleanup=1") as (it, client):
            await client.closed()
            await it.until(lambda: "close" in TOLD and not it.made.live)
            await asyncio.sleep(0.05)
            assert TOLD == ["open", "close"]

    run(story)
    assert "in on_close" in caplog.text
