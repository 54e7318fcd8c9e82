"""Resources that tell of their lives on stderr, and misbehave as the environment says.

OPENING, CLOSING: raise, exit, block, block on, hang, or wait (while the file $HOLD is there).
"""

import asyncio
import json
import os
import sys
import time

import tornado.web

import leeward


def say(words: str) -> None:
    # One write: lines of several processes do not mix.
    os.write(2, f"{words} {os.getpid()}\n".encode())


async def misbehave(when: str) -> None:
    how = os.environ.get(when)
    if how == "raise":
        raise ConnectionRefusedError("no such database")
    if how == "exit":
        sys.exit("no such database")
    if how == "block":
        time.sleep(60)
    if how == "block on":  # and hold the loop for a while when it is interrupted
        try:
            time.sleep(60)
        finally:
            time.sleep(0.2)
    if how == "hang":
        await asyncio.Event().wait()
    while how == "wait" and os.path.exists(os.environ["HOLD"]):
        await asyncio.sleep(0.01)


@leeward.per_worker
def file():
    say("open file")
    yield os.getpid()
    say("close file")


@leeward.per_worker
async def db():
    file()
    say("open db")
    yield os.getpid()
    await asyncio.sleep(0)
    say("close db")


@leeward.per_worker
async def faulty():
    db()
    say("opening faulty")
    await misbehave("OPENING")
    say("open faulty")
    yield os.getpid()
    say("closing faulty")
    await misbehave("CLOSING")
    say("close faulty")


@leeward.per_worker
async def top():
    faulty()
    say("open top")
    yield os.getpid()
    say("close top")


@db.check(every="100ms")
async def ails(value):
    if os.path.exists(path := os.environ.get("AILS", "/no/such/file")):
        with open(path) as file:
            if file.read() == "cancelled":
                raise asyncio.CancelledError("it ails")
        raise AssertionError("it ails")


if os.environ.get("EARLY"):
    db()


class Values(tornado.web.RequestHandler):
    async def get(self):
        values = {"file": file(), "db": db(), "awaited": await db, "top": top()}
        self.write(values | {"pid": os.getpid()})


class Held(tornado.web.RequestHandler):
    """In flight until its gate, a test's, lets it go."""

    async def get(self, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(f"{os.getpid()}\n".encode())
        await reader.read()
        writer.close()
        found = {"db": db()}
        say("answers")
        self.write(found)


class Fork(tornado.web.RequestHandler):
    """What a forked child finds, as it tells it itself."""

    def get(self):
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                found = f"has {db()}"
            except leeward.NotOpen as error:
                found = str(error)
            os.write(writer, json.dumps({"found": found, "pid": os.getpid()}).encode())
            sys.exit(0)
        os.close(writer)
        self.write(os.read(reader, 65536))
        os.close(reader)
        os.waitpid(pid, 0)


def make_app():
    say(f"factory has {db()}")
    return tornado.web.Application([("/", Values), ("/held/(.*)", Held), ("/fork", Fork)])


async def serve_by_run():
    tornado.web.Application([("/", Values)]).listen(8765)
    say(f"main has {await db}")
    await asyncio.Event().wait()


if __name__ == "__main__":
    import tornado.ioloop

    if sys.argv[1:] == ["run"]:
        asyncio.run(serve_by_run())
    else:
        tornado.web.Application([("/", Values)]).listen(8765)
        tornado.ioloop.IOLoop.current().start()
