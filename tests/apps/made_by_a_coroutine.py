"""Its factory is a coroutine that needs the running loop: opens, awaits, leaves a task behind."""

import asyncio
import json
import os

import tornado.ioloop
import tornado.web

if os.environ.get("POLICY") == "uvloop":
    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

BEATS: list[float] = []


async def beat() -> None:
    while True:
        BEATS.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0.01)


class Loop(tornado.web.RequestHandler):
    def get(self) -> None:
        loop = asyncio.get_running_loop()
        self.write(
            json.dumps(
                {
                    "kind": type(loop).__module__,
                    "same": loop is self.settings["loop"],
                    "tornado": tornado.ioloop.IOLoop.current().asyncio_loop is loop,
                    "made_in": self.settings["made_in"],
                    "pid": os.getpid(),
                    "beats": len(BEATS),
                }
            )
        )


async def make_app() -> tornado.web.Application:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    background = asyncio.create_task(beat())
    return tornado.web.Application(
        [("/", Loop)],
        loop=asyncio.get_running_loop(),
        made_in=os.getpid(),
        kept=(server, background),
    )
