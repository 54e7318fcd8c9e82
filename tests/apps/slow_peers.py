"""What slow clients, and patient ones, ask for."""

import asyncio
import os

from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

import leeward


class Hello(RequestHandler):
    def get(self) -> None:
        self.write("x" * int(self.get_argument("size", "5")))

    def post(self) -> None:
        self.write(str(len(self.request.body)))


class Wait(RequestHandler):
    """A long-poll, or an event a time."""

    async def get(self) -> None:
        for _ in range(int(self.get_argument("events", "1"))):
            await asyncio.sleep(float(self.get_argument("seconds")))
            self.write("data: event\n\n")
            if self.get_argument("events", ""):
                await self.flush()


@leeward.deadlines(handler=0.5)
class Impatient(Wait):
    pass


class Echo(WebSocketHandler):
    def on_message(self, message: str | bytes) -> None:
        self.write_message(message, binary=isinstance(message, bytes))


def make_app() -> Application:
    assert os.getpid()
    return Application(
        [("/", Hello), ("/wait", Wait), ("/impatient", Impatient), ("/echo", Echo)],
        log_function=lambda handler: None,
    )


async def main() -> None:
    """By Tornado's own server, as its documentation has it."""
    print(make_app().listen(0, "127.0.0.1")._sockets.popitem()[1].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
