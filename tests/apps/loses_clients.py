"""Knows of each client until somebody tells it that it is gone: KIND/WAY.

    loses_clients.py HOST PORT      bare

/count tells how many it still has of each.  What it does when a client goes is what
Tornado's documentation says: `on_close`, `on_connection_close`, or a write that raises.
"""

import asyncio
import sys
from collections import defaultdict

from tornado import ioloop, web, websocket

HERE = defaultdict(set)
PREPARING = 1.0


class Socket(websocket.WebSocketHandler):
    kind = "ws"

    async def open(self, way):
        self.mine = HERE[f"{self.kind}/{way}"]
        self.mine.add(self)
        if way == "leaves":
            await asyncio.sleep(PREPARING)
        await self.write_message("here you are")
        if way == "raises":
            raise ValueError("a user's callback")

    def on_message(self, message):
        self.write_message(message)

    def on_close(self):
        self.mine.discard(self)


class Session(Socket):
    """Its server pings all, and asks nobody for an answer."""

    kind = "session"

    @staticmethod
    def keep_alive():
        for sessions in HERE.values():
            for session in list(sessions):
                if isinstance(session, Session):
                    session.ping()


class Poll(web.RequestHandler):
    def initialize(self):
        self.left = asyncio.Event()

    async def get(self, way):
        mine = HERE[f"poll/{way}"]
        mine.add(self)
        try:
            if way == "leaves":
                await asyncio.sleep(PREPARING)
            if way == "raises":
                raise ValueError("a user's callback")
            await self.left.wait()
        finally:
            mine.discard(self)

    def on_connection_close(self):
        self.left.set()


class Events(web.RequestHandler):
    async def get(self, way):
        mine = HERE[f"events/{way}"]
        mine.add(self)
        self.set_header("Content-Type", "text/event-stream")
        try:
            if way == "leaves":
                await asyncio.sleep(PREPARING)
            while True:
                self.write("data: " + "x" * 100_000 + "\n\n")
                await self.flush()
                if way == "raises":
                    raise ValueError("a user's callback")
                await asyncio.sleep(0.05)
        finally:
            mine.discard(self)


class Count(web.RequestHandler):
    def get(self):
        self.write({name: len(clients) for name, clients in HERE.items()})


def make_app():
    rules = [
        (r"/ws/(\w+)", Socket),
        (r"/session/(\w+)", Session),
        (r"/poll/(\w+)", Poll),
        (r"/events/(\w+)", Events),
        ("/count", Count),
    ]
    ioloop.PeriodicCallback(Session.keep_alive, 500).start()
    return web.Application(rules, log_function=lambda handler: None)


async def main():
    make_app().listen(int(sys.argv[2]), sys.argv[1])
    print("listening", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
