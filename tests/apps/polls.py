"""Handlers that wait for something that does not come, and say what becomes of them."""

import asyncio
import gc
import os
import socket
import sys

import tornado.gen
import tornado.locks
import tornado.web
import tornado.websocket

NEWS = tornado.locks.Condition()


class Waits(tornado.web.RequestHandler):
    def say(self, what: str) -> None:
        print(f"{self.request.method} {self.request.path} {what}", file=sys.stderr, flush=True)

    def on_connection_close(self) -> None:
        self.say("left")

    def on_finish(self) -> None:
        self.say(f"finished {self.get_status()}")


class Poll(Waits):
    async def get(self) -> None:
        try:
            self.say("waits")
            await NEWS.wait()
        finally:
            await asyncio.sleep(0)  # clean-up that waits is finished as well
            self.say("over")

    post = get


class OldPoll(Waits):
    @tornado.gen.coroutine
    def get(self):
        try:
            self.say("waits")
            yield NEWS.wait()
        finally:
            self.say("over")


class Stream(Waits):
    """Sends a first piece and waits: of what type, the path says."""

    async def get(self, kind: str) -> None:
        self.set_header("Content-Type", f"text/{kind}")
        self.write("data: 1\n\n")
        await self.flush()
        try:
            self.say("waits")
            await NEWS.wait()
        finally:
            self.say("over")


class Download(Waits):
    """Sends and sends."""

    async def get(self) -> None:
        self.set_header("Content-Type", "application/octet-stream")
        self.say("waits")
        while True:
            self.write(b"x" * 1000)
            await self.flush()
            await asyncio.sleep(0.01)


class Work(Waits):
    """Writes what matters once its gate is opened, whether anybody waits for it or not."""

    async def post(self, port: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(f"{os.getpid()}\n".encode())
        await reader.read()
        writer.close()
        self.say("written")


class Block(Waits):
    """Does what it has to do without a wait, and the loop stands still."""

    def get(self, port: str) -> None:
        with socket.create_connection(("127.0.0.1", int(port))) as gate:
            gate.sendall(f"{os.getpid()}\n".encode())
            gate.recv(1)
        self.write("done")


class Tell(tornado.web.RequestHandler):
    """How many handlers wait."""

    def get(self) -> None:
        gc.collect()
        waiting = [it for it in gc.get_objects() if isinstance(it, Waits)]
        tasks = [it for it in asyncio.all_tasks() if "_execute" in repr(it.get_coro())]
        self.write({"pid": os.getpid(), "handlers": len(waiting), "tasks": len(tasks) - 1})


def make_app() -> tornado.web.Application:
    return tornado.web.Application(
        [
            ("/", Tell),
            ("/poll", Poll),
            ("/old", OldPoll),
            ("/stream/(.*)", Stream),
            ("/download", Download),
            ("/work/(.*)", Work),
            ("/block/(.*)", Block),
        ],
        log_function=lambda handler: None,
    )


async def main() -> None:
    """As Tornado's documentation has it."""
    print(make_app().listen(0, "127.0.0.1")._sockets.popitem()[1].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
