"""Threads and exit functions that never end."""

import atexit
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import tornado.web

MARKS = os.environ.get("MARKS", "")


class Pid(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write(str(os.getpid()))


def mark(name: str) -> None:
    if MARKS:
        with open(os.path.join(MARKS, f"{name}.{os.getpid()}"), "w"):
            pass


def make_app() -> tornado.web.Application:
    for _ in range(int(os.environ.get("STUCK_THREADS", "0"))):
        threading.Thread(target=time.sleep, args=(3600,)).start()
    if "STUCK_EXECUTOR" in os.environ:
        ThreadPoolExecutor(1).submit(time.sleep, 3600)
    if "STUCK_ATEXIT" in os.environ:
        atexit.register(time.sleep, 3600)
    atexit.register(mark, "atexit")
    return tornado.web.Application([("/", Pid)])
