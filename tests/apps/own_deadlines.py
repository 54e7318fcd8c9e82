"""Each handler has a deadline of its own, and the same without is at `/plain…`."""

import asyncio
import os
import socket
from typing import Any

from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

import leeward


class Poll(RequestHandler):
    async def get(self) -> None:
        await asyncio.Event().wait()


class Upload(RequestHandler):
    def post(self) -> None:
        self.write(str(len(self.request.body)))


class Large(RequestHandler):
    def get(self) -> None:
        self.write(b"x" * 30_000_000)


def silence(stream: Any) -> str:
    """For how many seconds the kernel bears a client that takes nothing."""
    return str(stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) // 1000)


class Silence(RequestHandler):
    def get(self) -> None:
        self.write(silence(self.request.connection.stream))  # type: ignore[attr-defined]


class Socket(WebSocketHandler):
    def on_message(self, message: str | bytes) -> None:
        self.write_message(silence(self.ws_connection.stream))  # type: ignore[union-attr]


OWN: dict[str, tuple[type[RequestHandler], dict[str, float]]] = {
    "poll": (Poll, {"poll": 0.5}),
    "body": (Upload, {"body": 0.5}),
    "rate": (Upload, {"rate": 0}),
    "large": (Large, {"write": 1.0}),
    "silence": (Silence, {"write": 300.0}),
    "socket": (Socket, {"ping": 0.3}),
    "patient": (Socket, {"write": 300.0}),
}


def make_app() -> Application:
    assert os.getpid()
    rules: list[Any] = []
    for name, (kind, own) in OWN.items():
        rules.append((f"/{name}", leeward.deadlines(**own)(type(name.title(), (kind,), {}))))
        rules.append((f"/plain/{name}", kind))
    return Application(rules, log_function=lambda handler: None)
