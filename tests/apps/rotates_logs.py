"""Four processes write one log file that rotates, each COUNT lines, once the file GATE is there.

HANDLER says which handler, and WHERE it is made: at import or in the factory.  `python
rotates_logs.py` is the bare program, of as many processes, without a server.
"""

import asyncio
import atexit
import gzip
import logging
import logging.handlers
import os
import queue
import shutil
import time

import tornado.process
import tornado.web

HANDLER = os.environ.get("HANDLER", "rotating")
PATH = os.environ.get("LOG_FILE", "")
GATE = os.environ.get("GATE", "")
COUNT = int(os.environ.get("COUNT", "500"))
PAUSE = float(os.environ.get("PAUSE", "0.002"))
log = logging.getLogger("shop")


def compress(source: str, target: str) -> None:
    with open(source, "rb") as plain, gzip.open(target, "wb") as packed:
        shutil.copyfileobj(plain, packed)
    os.remove(source)


class Slow(logging.handlers.RotatingFileHandler):
    """Slower than its lines come: they wait in the listener's queue."""

    def handle(self, record: logging.LogRecord) -> bool:
        time.sleep(0.0005)
        return super().handle(record)


class Counted(logging.handlers.RotatingFileHandler):
    """A subclass that decides for itself when it is time."""

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        return super().shouldRollover(record)


def make() -> logging.Handler:
    rotating = logging.handlers.RotatingFileHandler
    timed = logging.handlers.TimedRotatingFileHandler
    if HANDLER == "rotating":
        return rotating(PATH, maxBytes=45_000, backupCount=3)
    if HANDLER == "subclass":
        return Counted(PATH, maxBytes=45_000, backupCount=3)
    if HANDLER == "gzip":
        handler = rotating(PATH, maxBytes=45_000, backupCount=3)
        handler.namer = lambda name: f"{name}.gz"
        handler.rotator = compress
        return handler
    if HANDLER == "timed":
        return timed(PATH, when="S", interval=1, backupCount=3 if os.environ.get("FEW") else 0)
    if HANDLER == "midnight":
        return timed(PATH, when="midnight", delay=bool(os.environ.get("DELAY")))
    if HANDLER == "mode-w":
        return logging.FileHandler(PATH, "w")
    if HANDLER == "plain":
        return logging.FileHandler(PATH)
    if HANDLER in ("queue", "queue-stopped"):
        lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        target = Slow(PATH, maxBytes=45_000, backupCount=3)
        target.setFormatter(logging.Formatter("%(message)s"))
        listener = logging.handlers.QueueListener(lines, target)
        listener.start()
        if HANDLER == "queue-stopped":
            atexit.register(listener.stop)  # by itself
        return logging.handlers.QueueHandler(lines)
    raise ValueError(HANDLER)


def configure() -> None:
    if HANDLER.startswith("loguru"):
        from loguru import logger

        logger.remove()
        how = {"compression": lambda it: compress(it, f"{it}.gz")} if HANDLER[6:] else {}
        logger.add(PATH, rotation=45_000, retention=3, format="{message}", **how)
        vars(log)["info"] = logger.info
        return
    handler = make()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


def line(who: int, number: int) -> str:
    return f"{who}:{number}:{'x' * (20 + number % 60)}."


async def write(who: int) -> None:
    while not os.path.exists(GATE):
        await asyncio.sleep(0.01)
    for number in range(COUNT):
        log.info(line(who, number))
        if number % 20 == 19:
            await asyncio.sleep(PAUSE)
    os.write(2, f"written by {who}\n".encode())  # in one: siblings write too


def make_app() -> tornado.web.Application:
    if os.environ.get("WHERE") == "factory":
        configure()
    app = tornado.web.Application()
    app.writing = asyncio.get_running_loop().create_task(write(tornado.process.task_id() or 0))
    return app


if os.environ.get("WHERE") != "factory":
    configure()

if __name__ == "__main__":
    who = tornado.process.fork_processes(4)
    if os.environ.get("WHERE") == "factory":
        configure()
    asyncio.run(write(who))
    time.sleep(0.2)  # for a thread of its own, if there were one
    os._exit(0)
