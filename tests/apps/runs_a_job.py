"""A job that tells of each run in $JOURNAL: begin and end, pid and slot; $JOB says how it is."""

import asyncio
import os
import time

import tornado.web

import leeward


def note(words: str) -> None:
    line = f"{words} {os.getpid()} {os.environ['LEEWARD_SLOT']} {time.monotonic()}\n"
    fd = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, line.encode())
    os.close(fd)


@leeward.on_one_worker(every=os.environ.get("EVERY", "100ms"))
async def tick():
    note("begin")
    how = os.environ.get("JOB", "")
    if how == "raise":
        raise ValueError("this run")
    if how == "cancelled":
        other = asyncio.ensure_future(asyncio.sleep(60))
        other.cancel()
        await other
    if how == "long":
        await asyncio.sleep(0.25)
    note("end")


@leeward.on_one_worker(every=0.2)
def tock():
    """Not asynchronous, and beside the other."""


class Hold(tornado.web.RequestHandler):
    def get(self):
        note("blocked")
        time.sleep(float(self.get_argument("s")))


def make_app():
    return tornado.web.Application([("/", Hold)], log_function=lambda handler: None)
