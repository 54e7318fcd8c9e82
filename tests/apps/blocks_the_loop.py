"""Each way in which a handler can keep its loop from turning; $LOOP chooses the loop.

A handler tells its worker's pid to a gate first, by /…/PORT, so that a test knows
when it is in there.
"""

import asyncio
import ctypes
import os
import re
import socket
import threading
import time
import warnings

import tornado.web

if os.environ.get("LOOP") == "uvloop":
    import uvloop

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

LOCK = threading.Lock()


def tell(port: str) -> None:
    with socket.create_connection(("127.0.0.1", int(port))) as gate:
        gate.sendall(f"{os.getpid()}\n".encode())


class Who(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write({"pid": os.getpid(), "release": ""})


class Asleep(tornado.web.RequestHandler):
    def get(self, port: str, seconds: str) -> None:
        tell(port)
        slowly(float(seconds))
        self.write(str(os.getpid()))


class Held(tornado.web.RequestHandler):
    """Blocks until the gate lets it go."""

    def get(self, port: str) -> None:
        wait_for(port)
        self.write(str(os.getpid()))


def wait_for(port: str) -> None:
    with socket.create_connection(("127.0.0.1", int(port))) as gate:
        gate.sendall(f"{os.getpid()}\n".encode())
        gate.recv(1)


class Locked(tornado.web.RequestHandler):
    """A deadlock: nobody ever releases it."""

    def get(self, port: str) -> None:
        tell(port)
        LOCK.acquire()
        with LOCK:
            self.write("never")


class Burning(tornado.web.RequestHandler):
    def get(self, port: str, seconds: str) -> None:
        tell(port)
        end = time.monotonic() + float(seconds)
        while time.monotonic() < end:
            pass
        self.write(str(os.getpid()))


class Backtracking(tornado.web.RequestHandler):
    """In C, with the interpreter's lock held."""

    def get(self, port: str, length: str) -> None:
        tell(port)
        re.match(r"(a+)+$", "a" * int(length) + "b")
        self.write(str(os.getpid()))


class Foreign(tornado.web.RequestHandler):
    """The same, asleep: a C library that was called without releasing the lock."""

    def get(self, port: str, seconds: str) -> None:
        tell(port)
        libc, end = ctypes.PyDLL(None), time.monotonic() + float(seconds)
        while time.monotonic() < end:
            libc.usleep(900_000)
        self.write(str(os.getpid()))


class Waiting(tornado.web.RequestHandler):
    """Blocks nothing."""

    async def get(self, seconds: str) -> None:
        await asyncio.sleep(float(seconds))
        self.write(str(os.getpid()))


class InTurn(tornado.web.RequestHandler):
    """Blocks `times` times, with a turn of the loop between two."""

    async def get(self, times: str, seconds: str) -> None:
        for _ in range(int(times)):
            slowly(float(seconds))
            await asyncio.sleep(0)
        self.write(str(os.getpid()))


def slowly(seconds: float) -> None:
    time.sleep(seconds)


def make_app() -> tornado.web.Application:
    return tornado.web.Application(
        [
            ("/", Who),
            ("/asleep/(.*)/(.*)", Asleep),
            ("/held/(.*)", Held),
            ("/locked/(.*)", Locked),
            ("/burning/(.*)/(.*)", Burning),
            ("/backtracking/(.*)/(.*)", Backtracking),
            ("/foreign/(.*)/(.*)", Foreign),
            ("/waiting/(.*)", Waiting),
            ("/in-turn/(.*)/(.*)", InTurn),
        ],
        log_function=lambda handler: None,
    )
