"""Handlers that wait for ever, each in its own way; /wake lets the old-style ones go."""

import asyncio
import json
import logging
import os

import leeward
import tornado.gen
import tornado.locks
import tornado.web
import tornado.websocket

bell = tornado.locks.Condition()


async def inner():
    await asyncio.sleep(3600)  # innermost


class Coroutine(tornado.web.RequestHandler):
    async def get(self, _=""):
        await inner()

    def on_connection_close(self):
        logging.warning("the client of %s has left", self.request.path)


class Generator(tornado.web.RequestHandler):
    @tornado.gen.coroutine
    def get(self):
        yield self.helper()

    @tornado.gen.coroutine
    def helper(self):
        yield bell.wait()  # old style


class Gathered(tornado.web.RequestHandler):
    async def get(self):
        await asyncio.gather(asyncio.create_task(inner()), inner())


class Timed(tornado.web.RequestHandler):
    async def get(self):
        await asyncio.wait_for(inner(), 3600)


class Streamed(tornado.web.RequestHandler):
    async def get(self):
        async for piece in self.pieces():
            self.write(piece)
            await self.flush()

    async def pieces(self):
        yield "one\n"
        await bell.wait()  # between two pieces


class Socket(tornado.websocket.WebSocketHandler):
    """Says who it is; waits for ever with the message "wait"; echoes others."""

    def open(self):
        self.write_message(str(os.getpid()))

    async def on_message(self, message):
        if message == "wait":
            await inner()
        self.write_message(message)


class Own(tornado.web.RequestHandler):
    """A protocol of its own."""

    def get(self):
        stream = self.detach()
        stream.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: own\r\n\r\n")


class Blocked(tornado.web.RequestHandler):
    def get(self, port):
        import socket

        with socket.create_connection(("127.0.0.1", int(port))) as gate:
            gate.sendall(f"{os.getpid()}\n".encode())
            gate.recv(1)


class Outward(tornado.web.RequestHandler):
    async def get(self, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(f"{os.getpid()}\n".encode())
        await reader.read()
        writer.close()


class Mine(tornado.web.RequestHandler):
    def get(self):
        mine = [(it.slot, it.id, it.peer, it.state) for it in leeward.connections()]
        self.write(json.dumps({"pid": os.getpid(), "connections": mine}))


class Plain(tornado.web.RequestHandler):
    def get(self, _=""):
        logging.getLogger("said").info("served %s", self.request.path)
        self.write(str(os.getpid()))


def make_app():
    return tornado.web.Application(
        [
            (r"/coroutine(.*)", Coroutine),
            ("/generator", Generator),
            ("/gathered", Gathered),
            ("/timed", Timed),
            ("/streamed", Streamed),
            ("/ws", Socket),
            ("/own", Own),
            (r"/blocked/(\d+)", Blocked),
            (r"/outward/(\d+)", Outward),
            ("/mine", Mine),
            (r"/(.*)", Plain),
        ],
        log_function=lambda handler: None,
    )
