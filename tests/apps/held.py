"""Answers when the client lets it: each held request calls back and waits for its gate.

Also marks each end: $MARKS/atexit.PID gets a line per run of the exit function that
was registered by the import, $MARKS/factory-atexit.PID of the factory's.
"""

import asyncio
import atexit
import json
import os
import socket

import tornado.web
import tornado.websocket


def mark(name: str) -> None:
    directory = os.environ.get("MARKS")
    if directory:
        with open(os.path.join(directory, f"{name}.{os.getpid()}"), "a") as file:
            file.write("once\n")


def who() -> str:
    names = {"pid": os.getpid(), "generation": os.environ["LEEWARD_GENERATION"]}
    return json.dumps(names | {"slot": os.environ["LEEWARD_SLOT"]})


class Who(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write(who())


class Held(tornado.web.RequestHandler):
    """In flight: nothing has been answered yet."""

    async def get(self, port: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(f"{os.getpid()}\n".encode())
        await reader.read()
        writer.close()
        self.write(who())


class Blocked(tornado.web.RequestHandler):
    """In flight, and the loop does not turn."""

    def get(self, port: str) -> None:
        with socket.create_connection(("127.0.0.1", int(port))) as gate:
            gate.sendall(f"{os.getpid()}\n".encode())
            gate.recv(1)
        self.write(who())


class Threaded(tornado.web.RequestHandler):
    """Waits for a thread, which nothing ends."""

    async def get(self, port: str) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.work, port)
        self.write(who())

    def work(self, port: str) -> None:
        with socket.create_connection(("127.0.0.1", int(port))) as gate:
            gate.sendall(f"{os.getpid()}\n".encode())
            gate.recv(1)


class Stubborn(tornado.web.RequestHandler):
    """Never ends, not even when it is cancelled."""

    async def get(self, port: str) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(f"{os.getpid()}\n".encode())
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass


class Socket(tornado.websocket.WebSocketHandler):
    """Says who it is, then what it is told."""

    def open(self) -> None:
        self.write_message(who())

    def on_message(self, message) -> None:
        self.write_message(message)


class Room(Socket):
    """Its clients know codes of their own."""

    def close(self, code=None, reason=None) -> None:
        if code in (1001, 1012):
            code, reason = code + 3000, f"{reason}, in our words"
        super().close(code, reason)


def make_app() -> tornado.web.Application:
    atexit.register(mark, "factory-atexit")
    return tornado.web.Application(
        [
            ("/", Who),
            ("/held/(.*)", Held),
            ("/blocked/(.*)", Blocked),
            ("/stubborn/(.*)", Stubborn),
            ("/threaded/(.*)", Threaded),
            ("/ws", Socket),
            ("/room", Room),
        ],
        log_function=lambda handler: None,
    )


atexit.register(mark, "atexit")
