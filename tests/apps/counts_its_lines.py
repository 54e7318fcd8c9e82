"""Each worker logs numbered lines to LOG_FILE, once the file GATE is there, and says how many it
has in a file of its own, COUNTED/PID, which outlives it: mapped, so that it is current when the
worker is killed.  HANDLER says how.
"""

import asyncio
import logging
import logging.handlers
import mmap
import os
import struct

import tornado.web

HANDLER, PATH = os.environ["HANDLER"], os.environ["LOG_FILE"]


class Mine(logging.handlers.RotatingFileHandler):
    def rotation_filename(self, default_name: str) -> str:
        return super().rotation_filename(default_name) + ".old"


if HANDLER.startswith("loguru"):
    from loguru import logger

    logger.remove()
    how = {"gz": {"compression": "gz"}, "own": {"compression": lambda path: None}}
    logger.add(PATH, rotation=50_000, format="{message}", **how.get(HANDLER[7:], {}))
    log = logger.warning
else:
    handler = Mine(PATH, maxBytes=50_000, backupCount=9999)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger("counted").addHandler(handler)
    logging.getLogger("counted").propagate = False
    log = logging.getLogger("counted").warning


async def write() -> None:
    while not os.path.exists(os.environ["GATE"]):
        await asyncio.sleep(0.01)
    fd = os.open(f"{os.environ['COUNTED']}/{os.getpid()}", os.O_CREAT | os.O_RDWR)
    os.ftruncate(fd, 8)
    counted, number = mmap.mmap(fd, 8), 0
    while True:
        for _ in range(100):
            log(f"{os.getpid()}:{number}:{'x' * (20 + number % 80)}.")
            number += 1
            counted[:] = struct.pack("<Q", number)
        await asyncio.sleep(0.005)


def make_app() -> tornado.web.Application:
    app = tornado.web.Application()
    app.writing = asyncio.get_running_loop().create_task(write())
    return app
