"""The same service with its handlers put right; leeward opens the port.

    leeward serve examples/wrong_start/handlers.py -w 2

* `Report` is asynchronous and ends its work when its client leaves.
* `Totals` asks a database that knows no asyncio: in a thread of a pool, which each
  worker makes for itself after it was born.
"""

import asyncio
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor

from tornado import web

STEPS, PAUSE = 300, 0.1


class Report(web.RequestHandler):
    work = None

    async def post(self):
        self.work = asyncio.create_task(make_report())
        try:
            self.write(await self.work)
        except asyncio.CancelledError:
            if not self.request.connection.stream.closed():
                raise  # not the client: the worker itself is leaving

    def on_connection_close(self):
        if self.work is not None:
            self.work.cancel()


async def make_report():
    for _ in range(STEPS):
        await asyncio.sleep(PAUSE)
    return "done\n"


class Totals(web.RequestHandler):
    async def get(self):
        loop = asyncio.get_running_loop()
        total = await loop.run_in_executor(self.application.settings["pool"], read_total)
        self.write({"total": total})


def read_total():
    """What any driver that blocks looks like; a thread's connection is its own."""
    with sqlite3.connect(":memory:") as database:
        return database.execute("SELECT 40 + 2").fetchone()[0]


class Hello(web.RequestHandler):
    def get(self):
        self.write(f"hello from process {os.getpid()}\n")


def make_app():
    """Called in each worker, with its loop running: what it makes here is not shared."""
    handlers = [("/", Hello), ("/report", Report), ("/totals", Totals)]
    return web.Application(handlers, pool=ThreadPoolExecutor(4))
