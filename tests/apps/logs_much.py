"""Logs what it is asked for, and much of it."""

import logging
import os

import tornado.web

LOGGER = logging.getLogger("much")


class Much(tornado.web.RequestHandler):
    def get(self, number: str) -> None:
        LOGGER.info("line %s of %d %s", number, os.getpid(), "x" * (int(number) * 37 % 3000))
        self.write(str(os.getpid()))


def make_app() -> tornado.web.Application:
    return tornado.web.Application([(r"/(\d+)", Much)])
