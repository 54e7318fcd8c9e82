"""Keeps a MiB of each request, and measures itself more often than a real worker does."""

import json
import os

import tornado.web

import leeward._worker.limits

leeward._worker.limits.EVERY = 0.05
KEPT = []


class Leak(tornado.web.RequestHandler):
    def get(self) -> None:
        KEPT.append(bytearray(os.urandom(2**20)))
        self.write(json.dumps({"pid": os.getpid(), "release": ""}))


def make_app() -> tornado.web.Application:
    return tornado.web.Application([("/", Leak)], log_function=lambda handler: None)
