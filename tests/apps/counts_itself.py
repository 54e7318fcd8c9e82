"""Clients of every kind, and /counts: what this worker has of whom at the moment."""

import asyncio
import gc
import os
from collections import Counter

import tornado.web
from held import Held, Socket

from leeward._sys import procfs

OURS = ("leeward.", "tornado.", "held", __name__)


class Hello(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write("here you are")

    def post(self) -> None:
        self.write(str(len(self.request.body)))


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
                "descriptors": procfs.fd_count(os.getpid()),
                "kinds": kinds,
            }
        )


def make_app() -> tornado.web.Application:
    return tornado.web.Application(
        [
            ("/", Hello),
            ("/ws", Socket),
            ("/held/(.*)", Held),
            ("/counts", Counts),
        ],
        log_function=lambda handler: None,
    )
