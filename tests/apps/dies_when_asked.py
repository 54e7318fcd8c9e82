"""Ends in any way that a request asks for."""

import ctypes
import os
import signal
import sys
import threading

import tornado.ioloop
import tornado.web


class Die(tornado.web.RequestHandler):
    def get(self, how: str) -> None:
        if how == "exit":
            os._exit(0)
        if how == "sys.exit":
            sys.exit(3)
        if how == "segfault":
            ctypes.string_at(0)
        if how == "abort":
            os.abort()
        if how == "stop-loop":
            tornado.ioloop.IOLoop.current().stop()
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "eat":
            eaten = []
            while True:
                eaten.append(b"x" * 2**20)


class Pid(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write(str(os.getpid()))


def make_app() -> tornado.web.Application:
    if "DIES_AFTER" in os.environ:
        threading.Timer(float(os.environ["DIES_AFTER"]), os._exit, (9,)).start()
    return tornado.web.Application([("/", Pid), ("/die/(.*)", Die)])
