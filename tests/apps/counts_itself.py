"""Clients of every kind, and /counts: what this worker has of whom at the moment."""

import asyncio
import contextlib
import gc
import os
from collections import Counter

import tornado.locks
import tornado.web
import tornado.websocket
from held import Held

NEWS = tornado.locks.Condition()
OURS = ("leeward.", "tornado.", "held", __name__)


def descriptors() -> list[str]:
    """What each is, but for the one that looks, and for libuv's /dev/null, opened when first needed."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}")
    return [it for it in found if not it.endswith(" /dev/null")]


class Hello(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write("here you are")

    def post(self) -> None:
        self.write(str(len(self.request.body)))


class Poll(tornado.web.RequestHandler):
    async def get(self) -> None:
        await NEWS.wait()


class Socket(tornado.websocket.WebSocketHandler):
    """An echo, behind a first message.  Its client may have left before."""

    async def open(self) -> None:
        await self.on_message("{}")

    async def on_message(self, message) -> None:
        with contextlib.suppress(tornado.websocket.WebSocketClosedError):
            await self.write_message(message)


class Counts(tornado.web.RequestHandler):
    """It counts itself, and its own task, each time."""

    def get(self) -> None:
        gc.collect()
        kinds = Counter(
            f"{type(it).__module__}.{type(it).__qualname__}"
            for it in gc.get_objects()
            if type(it).__module__.startswith(OURS)
        )
        found = [it for it in gc.get_objects() if isinstance(it, tornado.web.RequestHandler)]
        self.write(
            {
                "pid": os.getpid(),
                "handlers": len(found),
                "tasks": len(asyncio.all_tasks()),
                "descriptors": len(fds := descriptors()),
                "open": fds,
                "kinds": kinds,
            }
        )


def make_app() -> tornado.web.Application:
    return tornado.web.Application(
        [
            ("/", Hello),
            ("/ws", Socket),
            ("/held/(.*)", Held),
            ("/poll", Poll),
            ("/counts", Counts),
        ],
        log_function=lambda handler: None,
    )
