"""A program's own `main` functions, named as factories."""

import asyncio

from tornado.ioloop import IOLoop
from tornado.web import Application


def main() -> None:
    Application().listen(0, "127.0.0.1")
    IOLoop.current().start()


def runs() -> None:
    asyncio.run(waits())


async def waits() -> None:
    Application().listen(0, "127.0.0.1")
    await forever()


async def forever() -> None:
    await asyncio.Event().wait()
