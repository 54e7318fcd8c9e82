"""/leak makes connections to `port` and keeps them; a worker looks at them more often than it does."""

import asyncio
import os

import tornado.web

import leeward._core.outbound

leeward._core.outbound.SOONEST = 0.1
KEPT = []


class Leak(tornado.web.RequestHandler):
    async def get(self) -> None:
        port, count = int(self.get_argument("port")), int(self.get_argument("count"))
        for _ in range(count):
            KEPT.append(await asyncio.open_connection("127.0.0.1", port))
        self.write({"pid": os.getpid()})


def make_app() -> tornado.web.Application:
    return tornado.web.Application([("/leak", Leak)], log_function=lambda handler: None)
