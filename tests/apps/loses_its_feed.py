"""A feed that its own scope ends while it is open, and a database that it has nothing to do with.

$HOW: group (one of its tasks fails when $PLACE/fails is there) or time-out (0.2 s).  Who opens
it after the first waits while $PLACE/hold is there.
"""

import asyncio
import os

import tornado.web

import leeward

PLACE = os.environ["PLACE"]


def say(words):
    os.write(2, f"{words} {os.getpid()}\n".encode())


async def exists(name, there=True):
    while os.path.exists(f"{PLACE}/{name}") != there:
        await asyncio.sleep(0.01)


async def listen():
    await exists("fails")
    raise ConnectionResetError("no line")


@leeward.per_worker
async def db():
    say("open db")
    yield os.getpid()
    say("close db")


@leeward.per_worker
async def feed():
    try:
        os.close(os.open(f"{PLACE}/first", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        say("second feed")
        await exists("hold", there=False)
    if os.environ["HOW"] == "group":
        async with asyncio.TaskGroup() as group:
            group.create_task(listen())
            yield os.getpid()
    else:
        async with asyncio.timeout(0.2):
            yield os.getpid()
    say("close feed")


@feed.check(every="50ms")
async def answers(value):
    assert value == os.getpid()


class Values(tornado.web.RequestHandler):
    def get(self):
        try:
            found = feed()
        except leeward.NotOpen as error:
            found = str(error)
        self.write({"db": db(), "feed": found, "pid": os.getpid()})


def make_app():
    return tornado.web.Application([("/", Values)])


async def main():
    make_app().listen(8765)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
