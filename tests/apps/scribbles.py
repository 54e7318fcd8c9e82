"""Writes over the memory of its worker's log ring, as native code with a wild pointer does."""

import gc
import logging
import os
import struct

import tornado.web

from leeward._sys.ring import TABLED, RingWriter
from leeward._sys.rings import HEAD_BYTES

LOGGER = logging.getLogger("scribbles")


class Log(tornado.web.RequestHandler):
    def get(self, number: str) -> None:
        LOGGER.info("line %s of %d", number, os.getpid())
        self.write(str(os.getpid()))


class Scribble(tornado.web.RequestHandler):
    def get(self) -> None:
        (ring,) = (it for it in gc.get_objects() if type(it) is RingWriter)
        ring._map[HEAD_BYTES : HEAD_BYTES + 4] = struct.pack("<I", 0xFFFFFFFF)
        ring.words[TABLED] = 2
        self.write(str(os.getpid()))


def make_app() -> tornado.web.Application:
    return tornado.web.Application([(r"/(\d+)", Log), (r"/scribble", Scribble)])
