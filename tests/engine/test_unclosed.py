"""A WebSocket's handler that hangs when its client goes: `on_close` comes once, by the policy."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Generator
from typing import Any

import pytest
from engine.hall import serving
from engine.test_leaving import LOOPS, WAYS, Client, Notes, run
from tornado import gen
from tornado.web import Application
from tornado.websocket import WebSocketHandler

import leeward

HANDSHAKE = (
    b"GET /%s HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
AFTER = 0.3


def frame(opcode: int, payload: bytes) -> bytes:
    mask = os.urandom(4)
    body = bytes(it ^ mask[at % 4] for at, it in enumerate(payload))
    return bytes((0x80 | opcode, 0x80 | len(payload))) + mask + body


class Hangs(WebSocketHandler):
    def initialize(self, notes: Notes) -> None:
        self.notes = notes

    async def on_message(self, message: str | bytes) -> None:
        self.notes.add("waits")
        try:
            await self.notes.condition.wait()
        finally:
            self.notes.add("over")

    def on_close(self) -> None:
        self.notes.add("closed")


class Old(Hangs):
    @gen.coroutine
    def on_message(self, message: str | bytes) -> Generator[Any, Any, None]:
        self.notes.add("waits")
        try:
            yield self.notes.condition.wait()
        finally:
            self.notes.add("over")


class Opens(Hangs):
    async def open(self) -> None:
        await super().on_message("")


class Stubborn(Hangs):
    async def on_message(self, message: str | bytes) -> None:
        while not self.notes.seen["let go"]:
            self.notes.add("waits")
            try:
                await self.notes.condition.wait()
            except asyncio.CancelledError:
                self.notes.add("cancelled")


class Anyway(Hangs):
    @leeward.finish_anyway
    async def on_message(self, message: str | bytes) -> None:
        await super().on_message(message)


class Raises(Hangs):
    def on_close(self) -> None:
        super().on_close()
        raise RuntimeError("clean-up fails")


class Works(Hangs):
    async def on_message(self, message: str | bytes) -> None:
        self.notes.add("message")
        await asyncio.sleep(AFTER / 3)
        self.notes.add("done")


KINDS = (Hangs, Old, Opens, Stubborn, Anyway, Raises, Works)


def application(notes: Notes) -> Application:
    return Application([(f"/{it.__name__}", it, {"notes": notes}) for it in KINDS])


async def hanging(port: int, notes: Notes, name: str, *frames: bytes) -> Client:
    client = Client(port, HANDSHAKE % name.encode())
    await client.read(b"\r\n\r\n")
    for it in frames or (frame(1, b"hang"),):
        client.sock.sendall(it)
    await notes.until("message" if name == "Works" else "waits")
    return client


HOW = [
    *[("Hangs", by, loop) for by in WAYS for loop in LOOPS],
    *[("Old", by, "asyncio") for by in WAYS],
    ("Opens", "engine", "asyncio"),
    ("Raises", "engine", "uvloop"),
]


@pytest.mark.parametrize(("name", "by", "loop"), HOW)
def test_what_hangs_is_ended_and_told(
    name: str, by: str, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    """After --abandon-after, not before; once; and no task is left."""
    caplog.set_level(logging.INFO)

    async def main() -> None:
        notes = Notes()
        before = len(asyncio.all_tasks())
        # Tornado's server reads nothing while a handler hangs: it sees the end by a ping.
        settings: dict[str, Any] = {"ws_ping_interval": 0.2} if by == "adapter" else {}
        settings["abandon_after"] = AFTER
        async with serving(application(notes), by, **settings) as (port, server):
            client = await hanging(port, notes, name)
            client.leave("reset")
            while not server.orphans():
                await asyncio.sleep(0.01)
            assert not notes.seen["closed"] and server.orphans()[0]["method"] == "GET"
            await notes.until("closed")
            await notes.until("over")
            await asyncio.sleep(0.02)
            assert server.leaving.ended == 1 and not server.orphans() and not server.open()
            assert not notes.condition._waiters
            while not any("ended 1 handler" in it.getMessage() for it in caplog.records):
                await asyncio.sleep(0.02)
        assert notes.seen["closed"] == notes.seen["over"] == 1
        assert len(asyncio.all_tasks()) <= before

    run(loop, main)
    errors = [it for it in caplog.records if it.levelno >= logging.ERROR]
    assert len(errors) == (1 if name == "Raises" else 0), errors


@pytest.mark.parametrize("how", ["close", "half"])
def test_a_close_frame_that_nobody_has_read(how: str) -> None:
    """It lies behind the message that hangs, and the FIN behind it."""

    async def main() -> None:
        notes = Notes()
        async with serving(application(notes), "engine", abandon_after=AFTER) as (port, server):
            said = (frame(1, b"hang"), frame(8, b"\x03\xe8"))
            client = await hanging(port, notes, "Hangs", *said)
            client.leave(how)
            await notes.until("closed")
            while server.open():
                await asyncio.sleep(0.01)
            client.sock.close()
        assert notes.seen["closed"] == 1

    run("asyncio", main)


@pytest.mark.parametrize(("policy", "ended"), [("cancel", 1), ("notify", 0)])
def test_by_policy(policy: str, ended: int) -> None:
    """Ended at once; or not at all, and told nevertheless."""

    async def main() -> None:
        notes = Notes()
        after = 60.0 if ended else AFTER
        settings: dict[str, Any] = {"on_disconnect": policy, "abandon_after": after}
        async with serving(application(notes), "engine", **settings) as (port, server):
            (await hanging(port, notes, "Hangs")).leave("reset")
            await notes.until("closed")
            assert notes.seen["over"] == ended
            notes.condition.notify_all()
            await notes.until("over")
            await asyncio.sleep(0.02)
            assert server.leaving.ended == ended
        assert notes.seen["closed"] == 1

    run("asyncio", main)


@pytest.mark.parametrize("name", ["Stubborn", "Anyway"])
def test_who_is_not_to_be_ended_or_cannot_is_told_all_the_same(name: str) -> None:
    """And is an orphan until it ends by itself."""

    async def main() -> None:
        notes = Notes()
        async with serving(application(notes), "engine", abandon_after=AFTER) as (port, server):
            (await hanging(port, notes, name)).leave("reset")
            await notes.until("closed")
            assert len(server.orphans()) == 1
            notes.add("let go")
            while server.orphans():
                notes.condition.notify_all()
                await asyncio.sleep(0.01)
            assert notes.seen["cancelled"] <= 1
        assert notes.seen["closed"] == 1

    run("asyncio", main)


def test_what_came_before_the_end_is_worked_through() -> None:
    """Each message of a client that has said all and left is handled, however long all take."""

    async def main() -> None:
        notes = Notes()
        async with serving(application(notes), "engine", abandon_after=AFTER) as (port, _):
            client = await hanging(port, notes, "Works", *[frame(1, b"message")] * 8)
            client.leave("close")
            await notes.until("closed")
            assert notes.seen["done"] == 8

    run("asyncio", main)
