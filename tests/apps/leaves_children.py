"""Has `multiprocessing` children that nobody ends: made at import, if HAS names them, or at /?of=."""

import atexit
import sys


def say(*words):
    print(*words, file=sys.stderr, flush=True)


atexit.register(say, "registered first, run last")

import asyncio
import concurrent.futures
import multiprocessing
import os
import signal
import time

import tornado.web

fork = multiprocessing.get_context("fork")
kept = []


def deaf(started):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    started.set()
    time.sleep(3600)


def answers(asked, answered):
    asked.get()
    answered.put("the child has heard of it")


def idle():
    pool = fork.Pool(2)
    assert pool.apply(pow, (7, 2)) == 49
    return pool


def busy():
    pool = idle()
    return pool, [pool.apply_async(time.sleep, (3600,)) for _ in range(2)]


def executor():
    pool = concurrent.futures.ProcessPoolExecutor(2, mp_context=fork)
    atexit.register(pool.shutdown)  # waits
    return pool, pool.submit(time.sleep, 3600)


def manager():
    one = fork.Manager()
    return one, one.dict()


def takes_leave():
    asked, answered = fork.Queue(), fork.Queue()
    child = fork.Process(target=answers, args=(asked, answered))
    child.start()
    atexit.register(lambda: (asked.put("end"), say(answered.get(timeout=10))))
    return child


def stuck(daemon):
    started = fork.Event()
    child = fork.Process(target=deaf, args=(started,), daemon=daemon)
    child.start()
    started.wait()
    return child


MAKE = {
    "idle": idle,
    "busy": busy,
    "executor": executor,
    "manager": manager,
    "takes_leave": takes_leave,
    "deaf": lambda: stuck(False),
    "deaf_daemon": lambda: stuck(True),
}


class Make(tornado.web.RequestHandler):
    async def get(self):
        kept.append(await asyncio.to_thread(MAKE[self.get_argument("of")]))
        self.write("made")


class Hello(tornado.web.RequestHandler):
    def get(self):
        self.write("hello")


if os.environ.get("HAS"):
    kept.append(MAKE[os.environ["HAS"]]())
atexit.register(say, "registered last, run first")


def make_app():
    return tornado.web.Application([("/make", Make), ("/", Hello)])


if __name__ == "__main__":
    make_app().listen(0, "127.0.0.1")
    tornado.ioloop.IOLoop.current().start()
