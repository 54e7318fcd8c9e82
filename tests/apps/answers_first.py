"""Handlers that answer, and go on: what they store then is in $PLACE."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tornado.gen
import tornado.web

PLACE = Path(os.environ["PLACE"])
EXECUTOR = ThreadPoolExecutor(1)


def gate() -> None:
    """Until somebody opens it."""
    with open(PLACE / "gate", "rb") as file:
        file.read()


class First(tornado.web.RequestHandler):
    def answer(self) -> None:
        self.finish("queued")

    def store(self) -> None:
        (PLACE / "stored").write_text(self.request.body.decode())


class Native(First):
    async def post(self) -> None:
        self.answer()
        await asyncio.get_running_loop().run_in_executor(EXECUTOR, gate)
        self.store()


class Generator(First):
    @tornado.gen.coroutine
    def post(self):
        self.answer()
        yield tornado.gen.convert_yielded(
            asyncio.get_running_loop().run_in_executor(EXECUTOR, gate)
        )
        self.store()


class Endless(First):
    async def post(self) -> None:
        self.answer()
        try:
            await asyncio.Event().wait()
        finally:
            self.store()


class Detached(tornado.web.RequestHandler):
    """Its stream is its own, and so is its end."""

    async def post(self) -> None:
        stream = self.detach()
        await stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        stream.close()
        await asyncio.Event().wait()


def make_app() -> tornado.web.Application:
    rules = [("/native", Native), ("/generator", Generator), ("/endless", Endless)]
    return tornado.web.Application([*rules, ("/detached", Detached)])
