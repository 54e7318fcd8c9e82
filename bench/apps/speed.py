"""The same answers in every framework: hello, JSON, a body, an echo.  Tornado's streams too.

    python speed.py KIND PORT       for those that have no server of their own

`application()` is Tornado's, `asgi` Starlette's.  `/cpu` answers with the seconds of CPU
that the answering process has used, so that a client can take the difference.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any

LOG = bool(os.environ.get("BENCH_ACCESS_LOG"))


def application() -> Any:
    import logging

    from tornado.web import Application, RequestHandler, stream_request_body
    from tornado.websocket import WebSocketHandler

    class Hello(RequestHandler):
        def get(self) -> None:
            self.write("Hello, world")

    class Json(RequestHandler):
        def post(self) -> None:
            found = json.loads(self.request.body)
            self.write({"user": found["user"], "items": len(found["items"])})

    class Body(RequestHandler):
        def post(self) -> None:
            self.write(str(len(self.request.body)))

    class Echo(WebSocketHandler):
        def on_message(self, message: str | bytes) -> None:
            self.write_message(message)

    class Cpu(RequestHandler):
        def get(self) -> None:
            self.write(str(time.process_time()))

    @stream_request_body
    class Upload(RequestHandler):
        def initialize(self) -> None:
            self.came = 0

        def prepare(self) -> None:
            self.request.connection.set_max_body_size(1 << 40)

        def data_received(self, chunk: bytes) -> None:
            self.came += len(chunk)

        def put(self) -> None:
            self.write(str(self.came))

    class Download(RequestHandler):
        async def get(self, size: str) -> None:
            self.set_header("Content-Length", size)
            piece = bytes(64 * 1024)
            for _ in range(int(size) // len(piece)):
                self.write(piece)
                await self.flush()

    rules = [("/", Hello), ("/json", Json), ("/body", Body), ("/echo", Echo), ("/cpu", Cpu)]
    rules += [("/upload", Upload), (r"/download/(\d+)", Download)]
    if LOG and "LEEWARD_SLOT" in os.environ:
        return Application(rules)  # which it logs in its own way, to the same kind of file
    if LOG:
        log = logging.getLogger("tornado.access")
        log.addHandler(logging.StreamHandler(sys.stderr))
        log.setLevel(logging.INFO)
        log.propagate = False
        return Application(rules)
    return Application(rules, log_function=lambda handler: None)


def starlette() -> Any:
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse, PlainTextResponse
    from starlette.routing import Route, WebSocketRoute
    from starlette.websockets import WebSocketDisconnect

    async def hello(request: Any) -> Any:
        return PlainTextResponse("Hello, world")

    async def take_json(request: Any) -> Any:
        found = await request.json()
        return JSONResponse({"user": found["user"], "items": len(found["items"])})

    async def take_body(request: Any) -> Any:
        return PlainTextResponse(str(len(await request.body())))

    async def cpu(request: Any) -> Any:
        return PlainTextResponse(str(time.process_time()))

    async def echo(socket: Any) -> None:
        await socket.accept()
        try:
            while True:
                await socket.send_text(await socket.receive_text())
        except WebSocketDisconnect:
            pass

    return Starlette(
        routes=[
            Route("/", hello),
            Route("/json", take_json, methods=["POST"]),
            Route("/body", take_body, methods=["POST"]),
            Route("/cpu", cpu),
            WebSocketRoute("/echo", echo),
        ]
    )


def __getattr__(name: str) -> Any:
    if name == "asgi":
        return starlette()
    raise AttributeError(name)


async def tornado(port: int) -> None:
    tls = os.environ.get("BENCH_TLS")  # CERTIFICATE:KEY
    files = dict(zip(("certfile", "keyfile"), tls.split(":"), strict=True)) if tls else None
    application().listen(port, "127.0.0.1", ssl_options=files)
    await asyncio.Event().wait()


async def aiohttp(port: int) -> None:
    from aiohttp import WSMsgType, web

    async def hello(request: Any) -> Any:
        return web.Response(text="Hello, world")

    async def take_json(request: Any) -> Any:
        found = await request.json()
        return web.json_response({"user": found["user"], "items": len(found["items"])})

    async def take_body(request: Any) -> Any:
        return web.Response(text=str(len(await request.read())))

    async def cpu(request: Any) -> Any:
        return web.Response(text=str(time.process_time()))

    async def echo(request: Any) -> Any:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type == WSMsgType.TEXT:
                await socket.send_str(message.data)
        return socket

    app = web.Application(client_max_size=2**24)
    app.add_routes(
        [
            web.get("/", hello),
            web.post("/json", take_json),
            web.post("/body", take_body),
            web.get("/cpu", cpu),
            web.get("/echo", echo),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


class Floor(asyncio.Protocol):
    """No HTTP at all: what the loop and the kernel cost."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        body = b"Hello, world"
        if data.startswith(b"GET /cpu"):
            body = str(time.process_time()).encode()
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nServer: floor\r\nContent-Type: text/html; charset=UTF-8\r\n"
            b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body)
        )


async def floor(port: int) -> None:
    await asyncio.get_running_loop().create_server(Floor, "127.0.0.1", port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    kind, loop, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if loop == "uvloop":
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run({"tornado": tornado, "aiohttp": aiohttp, "floor": floor}[kind](number))
