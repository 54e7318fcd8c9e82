"""What slow and greedy clients ask for, for all contenders.

    GET  /?size=N   N bytes; without it the pid of the worker
    POST /          the number of bytes that came
    /echo           a WebSocket that answers each message by itself, and awaits no write
    /feed           a WebSocket that is sent 64 KiB every millisecond, for as long as it is there

`peers.py PORT` serves it by aiohttp.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import Any
from urllib.parse import parse_qs

from tornado.ioloop import PeriodicCallback
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

PIECE = b"x" * 65536


def content(size: str) -> bytes:
    return b"x" * int(size) if size else str(os.getpid()).encode()


class Bytes(RequestHandler):
    def get(self) -> None:
        self.write(content(self.get_argument("size", "")))

    def post(self) -> None:
        self.write(str(len(self.request.body)))


class Echo(WebSocketHandler):
    def get_compression_options(self) -> dict[str, Any]:
        return {}

    def on_message(self, message: str | bytes) -> None:
        self.write_message(message, binary=isinstance(message, bytes))


class Feed(WebSocketHandler):
    def open(self, *args: str, **kwargs: str) -> None:
        self.callback = PeriodicCallback(self.publish, 1)
        self.callback.start()

    def publish(self) -> None:
        try:
            self.write_message(PIECE, binary=True)
        except WebSocketClosedError:
            self.callback.stop()

    def on_close(self) -> None:
        self.callback.stop()


def make_app() -> Application:
    return Application(
        [("/", Bytes), ("/echo", Echo), ("/feed", Feed)], log_function=lambda handler: None
    )


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await (_feed(send) if scope["path"] == "/feed" else _echo(receive, send))
    else:
        length = 0
        while True:
            message = await receive()
            length += len(message.get("body", b""))
            if not message.get("more_body"):
                break
        size = parse_qs(scope["query_string"].decode()).get("size", [""])[0]
        body = content(size) if scope["method"] == "GET" else str(length).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _echo(receive: Any, send: Any) -> None:
    tasks: set[asyncio.Task[None]] = set()
    while (message := await receive())["type"] != "websocket.disconnect":
        answer = {key: message.get(key) for key in ("bytes", "text")}
        task = asyncio.ensure_future(send({"type": "websocket.send", **answer}))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def _feed(send: Any) -> None:
    tasks: set[asyncio.Task[None]] = set()
    with contextlib.suppress(Exception):
        while True:
            task = asyncio.ensure_future(send({"type": "websocket.send", "bytes": PIECE}))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            await asyncio.sleep(0.001)


async def aiohttp(port: int) -> None:
    from aiohttp import WSMsgType, web

    async def get(request: Any) -> Any:
        return web.Response(body=content(request.query.get("size", "")))

    async def post(request: Any) -> Any:
        return web.Response(text=str(len(await request.read())))

    async def echo(request: Any) -> Any:
        socket, tasks = web.WebSocketResponse(), set()
        await socket.prepare(request)
        async for message in socket:
            if message.type == WSMsgType.BINARY:
                task = asyncio.ensure_future(socket.send_bytes(message.data))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        return socket

    async def feed(request: Any) -> Any:
        socket, tasks = web.WebSocketResponse(), set()
        await socket.prepare(request)
        while not socket.closed:
            task = asyncio.ensure_future(socket.send_bytes(PIECE))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            await asyncio.sleep(0.001)
        return socket

    app = web.Application(client_max_size=2**27)
    app.add_routes([web.get("/", get), web.post("/", post)])
    app.add_routes([web.get("/echo", echo), web.get("/feed", feed)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(aiohttp(int(sys.argv[1])))
