"""Long answers of every kind: a wait, a WebSocket, a stream, a blocked loop."""

import asyncio
import os
import time

import tornado.web
import tornado.websocket


class Pid(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write(str(os.getpid()))


class Wait(tornado.web.RequestHandler):
    async def get(self, seconds: str) -> None:
        await asyncio.sleep(float(seconds))
        self.write(str(os.getpid()))


class Block(tornado.web.RequestHandler):
    def get(self, seconds: str) -> None:
        time.sleep(float(seconds))
        self.write(str(os.getpid()))


class Echo(tornado.websocket.WebSocketHandler):
    def open(self) -> None:
        self.write_message(str(os.getpid()))

    def on_message(self, message) -> None:
        self.write_message(message)


def make_app() -> tornado.web.Application:
    return tornado.web.Application(
        [("/", Pid), ("/wait/(.*)", Wait), ("/block/(.*)", Block), ("/ws", Echo)]
    )
