"""Logs LINES lines as fast as the loop allows, a warning behind them, and answers meanwhile."""

import asyncio
import logging
import os

import tornado.web

LOGGER = logging.getLogger("flood")
LINES = int(os.environ["LINES"])
OVER = asyncio.Event()


async def flood():
    for n in range(LINES):
        LOGGER.info("line %d %s", n, "x" * 100)
        if n % 100 == 0:
            await asyncio.sleep(0)
    for n in range(20):
        LOGGER.error("error %d", n)
    LOGGER.warning("that was all")
    OVER.set()


class Begin(tornado.web.RequestHandler):
    def get(self):
        self.application.task = asyncio.create_task(flood())
        self.write(str(os.getpid()))


class Over(tornado.web.RequestHandler):
    async def get(self):
        await OVER.wait()
        self.write(str(os.getpid()))


def make_app():
    return tornado.web.Application([("/begin", Begin), ("/over", Over)])
