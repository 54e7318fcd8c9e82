"""Applications for the worker's tests; each factory is named for what it does."""

import asyncio
import atexit
import concurrent.futures
import contextlib
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import tornado.httpserver
import tornado.ioloop
import tornado.process
import tornado.web
import tornado.websocket


class Hello(tornado.web.RequestHandler):
    def get(self):
        self.write(f"hello from {tornado.process.task_id()}")


class Slow(tornado.web.RequestHandler):
    """Answers after `s` seconds; writes the headers first if asked to."""

    async def get(self):
        if self.get_argument("early", ""):
            self.write("part one, ")
            await self.flush()
        await asyncio.sleep(float(self.get_argument("s")))
        self.write("slow")

    def on_connection_close(self):
        print("client went", file=sys.stderr, flush=True)


class Hold(tornado.web.RequestHandler):
    """A long poll: answers when /release is asked for."""

    waiting = []

    async def get(self):
        future = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        await future
        self.write("released")


class Release(tornado.web.RequestHandler):
    def get(self):
        for future in Hold.waiting:
            future.set_result(None)
        self.write(f"released {len(Hold.waiting)}")
        Hold.waiting.clear()


class Echo(tornado.websocket.WebSocketHandler):
    async def prepare(self):
        await asyncio.sleep(float(self.get_argument("s", "0")))

    def on_message(self, message):
        self.write_message(message)

    def on_close(self):
        print(f"websocket closed {self.close_code}", file=sys.stderr, flush=True)


class Tunnel(tornado.web.RequestHandler):
    """Takes the stream over and speaks a protocol of its own."""

    def get(self):
        stream = self.detach()
        stream.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: own\r\n\r\nhi")


class Exit(tornado.web.RequestHandler):
    def get(self):
        sys.exit(int(self.get_argument("code")))


class Last(tornado.web.RequestHandler):
    """Answers, and ends the process in the same turn."""

    def get(self):
        self.finish("last words")
        sys.exit(3)


class Stop(tornado.web.RequestHandler):
    def get(self):
        self.write("stopping")
        tornado.ioloop.IOLoop.current().stop()


class Block(tornado.web.RequestHandler):
    """Holds the event loop's thread for ever."""

    def get(self):
        print("blocking", file=sys.stderr, flush=True)
        threading.Event().wait()


class Thread(tornado.web.RequestHandler):
    """Starts a thread that never ends, and an executor's."""

    def get(self):
        threading.Thread(target=threading.Event().wait, name="stuck").start()
        asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
        self.write("stuck")


def _report(write):
    """In a child: its open sockets by number of listeners, and its signals."""
    import ctypes

    signum = ctypes.c_int()
    ctypes.CDLL(None).prctl(2, ctypes.byref(signum), 0, 0, 0)
    term = signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    listening = Path("/proc/net/tcp").read_text().split("\n")[1:-1]
    inodes = {line.split()[9] for line in listening if line.split()[3] == "0A"}
    held = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            name = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        held += name.startswith("socket:[") and name[8:-1] in inodes
    maps = Path("/proc/self/maps").read_text()
    write(f"listeners={held} pdeathsig={signum.value} term_default={term} page={'leeward' in maps}")


def _mp_child(queue):
    _report(queue.put)


class Fork(tornado.web.RequestHandler):
    """Forks by `how` and answers with what the child says of itself."""

    async def get(self):
        how = self.get_argument("how")
        if how == "fork":
            self.write(self.fork(how))
        elif how == "thread":
            self.write(await asyncio.get_running_loop().run_in_executor(None, self.fork, how))
        elif how == "forgotten":
            if pid := os.fork():
                _, status = await asyncio.to_thread(os.waitpid, pid, 0)
                self.write(f"status={os.waitstatus_to_exitcode(status)}")
            else:
                await asyncio.sleep(0)
                self.write("from the child")
        elif how == "subprocess":
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", "print('from a subprocess')", stdout=subprocess.PIPE
            )
            self.write((await process.communicate())[0])
        else:
            context = multiprocessing.get_context(how.removeprefix("mp-"))
            queue = context.SimpleQueue()
            process = context.Process(target=_mp_child, args=(queue,))
            process.start()
            self.write(await asyncio.get_running_loop().run_in_executor(None, queue.get))
            process.join()

    def fork(self, how):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            _report(lambda text: os.write(writer, text.encode()))
            if how == "fork":
                sys.exit(7)
            os._exit(7)  # sys.exit would end an executor's thread only
        os.close(writer)
        _, status = os.waitpid(pid, 0)
        text = os.read(reader, 1000).decode() + f" status={os.waitstatus_to_exitcode(status)}"
        os.close(reader)
        return text


class Orphan(tornado.web.RequestHandler):
    """Forks a child that waits for ever and answers with its pid."""

    def get(self):
        pid = os.fork()
        if pid == 0:
            while True:
                signal.pause()
        self.write(str(pid))


class Log(tornado.web.RequestHandler):
    def get(self):
        logging.getLogger("app.sub").warning("from %s", self.get_argument("what"))
        self.write("logged")


class Environment(tornado.web.RequestHandler):
    def get(self):
        loop = asyncio.get_running_loop()
        self.write(type(loop).__module__)


ROUTES = [
    ("/", Hello),
    ("/slow", Slow),
    ("/hold", Hold),
    ("/release", Release),
    ("/ws", Echo),
    ("/tunnel", Tunnel),
    ("/exit", Exit),
    ("/last", Last),
    ("/stop", Stop),
    ("/block", Block),
    ("/thread", Thread),
    ("/fork", Fork),
    ("/orphan", Orphan),
    ("/log", Log),
    ("/loop", Environment),
]


def make_app():
    return tornado.web.Application(ROUTES)


def logs_requests_itself():
    def log_function(handler):
        print(f"mine: {handler.get_status()} {handler.request.uri}", file=sys.stderr, flush=True)

    return tornado.web.Application(ROUTES, log_function=log_function)


def overrides_log_request():
    class Own(tornado.web.Application):
        def log_request(self, handler):
            print(f"mine: {handler.get_status()} {handler.request.uri}", file=sys.stderr)
            sys.stderr.flush()

    return Own(ROUTES)


def hides_one_path():
    class Own(tornado.web.Application):
        def log_request(self, handler):
            if handler.request.path != "/loop":
                super().log_request(handler)

    return Own(ROUTES)


async def make_app_slowly():
    await asyncio.sleep(0.01)
    assert tornado.ioloop.IOLoop.current().asyncio_loop is asyncio.get_running_loop()
    return make_app()


def on_uvloop():
    return make_app()


def raises():
    raise ValueError("no database")


def exits():
    sys.exit("cannot go on")


def is_interrupted():
    raise KeyboardInterrupt


async def is_cancelled():
    raise asyncio.CancelledError


def in_no_directory():
    """As behind a deploy that has removed the release which is still served."""
    directory = tempfile.mkdtemp()
    os.chdir(directory)
    os.rmdir(directory)
    raise ValueError("no template")


def runs_a_loop():
    asyncio.run(asyncio.sleep(0))


def runs_a_loop_in_no_directory():
    with contextlib.suppress(ValueError):
        in_no_directory()
    runs_a_loop()


def wrapped_in_a_circle():
    runs_a_loop()


wrapped_in_a_circle.__wrapped__ = wrapped_in_a_circle


def needs_a_loop_in_a_thread():
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.get_running_loop).result()


def stops_the_loop():
    tornado.ioloop.IOLoop.current().stop()
    return make_app()


def gives_a_server():
    return tornado.httpserver.HTTPServer(make_app())


def gives_nothing():
    return None


def blocks():
    threading.Event().wait()


def has_no_threads():
    import faulthandler

    def refuse(*args, **kwargs):
        raise RuntimeError("unable to start watchdog thread")

    faulthandler.dump_traceback_later = refuse
    return make_app()


async def hangs():
    print("hanging", file=sys.stderr, flush=True)
    await asyncio.get_running_loop().create_future()


def says_goodbye():
    atexit.register(lambda: print("goodbye from atexit", file=sys.stderr, flush=True))

    async def background():
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            print("task cancelled", file=sys.stderr, flush=True)
            raise

    global task
    task = asyncio.ensure_future(background())
    return make_app()


def has_a_stuck_exit():
    atexit.register(threading.Event().wait)
    return make_app()


def holds_the_gil_at_exit():
    import ctypes

    atexit.register(lambda: ctypes.PyDLL(None).sleep(600))
    return make_app()


def has_a_process_pool():
    from concurrent.futures import ProcessPoolExecutor

    global pool
    pool = ProcessPoolExecutor(2)
    assert pool.submit(int, "1").result() == 1
    return make_app()


def logs_by_itself():
    logging.basicConfig(format="mine: %(message)s", level=logging.INFO)
    return make_app()


def logs_below_the_root():
    logger = logging.getLogger("app")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("below: %(message)s"))
    logger.addHandler(handler)
    return make_app()


def handles_sigterm():
    signal.signal(signal.SIGTERM, lambda *_: print("mine", file=sys.stderr, flush=True))
    return make_app()
