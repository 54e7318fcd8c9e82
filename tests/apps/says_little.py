"""/events sends a few bytes every `each` seconds, for ever."""

import asyncio

from tornado import web


class Events(web.RequestHandler):
    async def get(self) -> None:
        self.set_header("Content-Type", "text/event-stream")
        each = float(self.get_argument("each"))
        while True:
            self.write("data: x\n\n")
            await self.flush()
            await asyncio.sleep(each)


class Plain(web.RequestHandler):
    def get(self) -> None:
        self.write("plain")


def make_app() -> web.Application:
    rules = [("/events", Events), ("/", Plain)]
    return web.Application(rules, log_function=lambda handler: None)
