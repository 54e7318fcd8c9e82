"""Logs lines longer than a pipe takes at once, short ones between them.

HOW: own (leeward prints them), basic (basicConfig), print (neither long nor by logging, in a
thread: it cuts in where it can), or the path of a FIFO.
"""

import logging
import os
import sys
import threading
import zlib

import tornado.web

HOW = os.environ["HOW"]
LOGGER = logging.getLogger("long")
COUNTS = {"lines": 0}

if HOW == "basic":
    logging.basicConfig(format="%(message)s", level=logging.INFO)
elif HOW.startswith("/"):
    LOGGER.addHandler(logging.FileHandler(HOW))
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False


def say(octets: int) -> None:
    number = COUNTS["lines"]
    COUNTS["lines"] += 1
    body = f"{os.getpid()} {number} " + "ü" * (octets // 2)
    LOGGER.info("<%s %08x>", body, zlib.crc32(body.encode()))


def mutter() -> None:
    for _ in range(300):
        sys.stderr.write("muttering\n")


class Long(tornado.web.RequestHandler):
    def get(self, many: str) -> None:
        thread = threading.Thread(target=mutter if os.environ.get("MUTTER") else int)
        thread.start()
        for n in range(int(many)):
            say(20 if n % 3 else 9000 + 1000 * (n % 7))
        thread.join(20)  # who is stopped after the answer is not to be cut short
        self.write(str(os.getpid()))


class Raises(tornado.web.RequestHandler):
    def get(self) -> None:
        def deeper(depth: int) -> None:
            if depth:
                deeper(depth - 1)
            raise ValueError("x" * 500)

        try:
            deeper(60)
        except ValueError:
            LOGGER.exception("failed %s", "y" * 9000)


class Stderr(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write(type(getattr(sys.stderr.buffer, "raw", sys.stderr.buffer)).__name__)


def make_app() -> tornado.web.Application:
    return tornado.web.Application([(r"/(\d+)", Long), ("/raises", Raises), ("/stderr", Stderr)])
