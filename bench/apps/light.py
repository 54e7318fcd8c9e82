"""An application for all contenders: the same work as a Tornado and as an ASGI application.

    /       the pid of the worker that answers, and some work before
    /pid    the pid alone
    /block  the same after half a second in which the worker does nothing else
    /gc     a full garbage collection first, and a pause, so that others take what comes next
    /echo   a WebSocket (Tornado only)

With ``BENCH_BIRTHS`` in the environment each birth of a worker adds a byte to
that file, and while a file of that name with ``.die`` behind it exists, a worker
ends the moment it is born.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import tornado.web
import tornado.websocket


def work() -> str:
    """What a request to / does; `heavy` has more to do."""
    return str(os.getpid())


def answer(path: str) -> str:
    if path == "/pid":
        return str(os.getpid())
    if path == "/block":
        time.sleep(0.5)
        return str(os.getpid())
    if path == "/gc":
        gc.collect()
        time.sleep(0.05)
    return work()


class Answer(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write(answer(self.request.path))


class Echo(tornado.websocket.WebSocketHandler):
    def on_message(self, message: str | bytes) -> None:
        self.write_message(message)


def born() -> None:
    """A worker begins.  Called by the factory, at import, or by a hook after a fork."""
    births = os.environ.get("BENCH_BIRTHS")
    if births:
        with open(births, "ab", buffering=0) as file:
            file.write(b".")
        if os.path.exists(births + ".die"):
            os._exit(1)


def make_app() -> tornado.web.Application:
    born()
    return plain_app()


def plain_app() -> tornado.web.Application:
    """Without counting: for masters that load the application before they fork."""
    return tornado.web.Application(
        [("/echo", Echo), ("/.*", Answer)], log_function=lambda handler: None
    )


Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def asgi(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        born()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = answer(scope["path"]).encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
