"""Answers what a worker finds around itself.

MARKS at import time, in the factory and in the request: `when` says which.
"""

import asyncio
import json
import os
import signal
import sys
import threading
import time
import warnings

import tornado.process
import tornado.web


def around() -> dict[str, object]:
    try:
        loop = type(asyncio.get_running_loop()).__module__
    except RuntimeError:
        loop = ""
    return {
        "pid": os.getpid(),
        "environ": dict(os.environ),
        "argv": sys.argv,
        "path": sys.path,
        "cwd": os.getcwd(),
        "task_id": tornado.process.task_id(),
        "loop": loop,
        "dev_mode": sys.flags.dev_mode,
        "optimize": sys.flags.optimize,
        "warnoptions": sys.warnoptions,
        "xoptions": sys._xoptions,
        "executable": sys.executable,
        "threads": [thread.name for thread in threading.enumerate()],
        "time": time.time(),
        "stdin": os.readlink("/proc/self/fd/0"),
        "ignored": [s.name for s in signal.Signals if signal.getsignal(s) is signal.SIG_IGN],
        "asserts": __debug__,
        "filters": len(warnings.filters),
        "descriptors": [
            os.readlink(f"/proc/self/fd/{fd}")
            for fd in os.listdir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{fd}") or os.path.islink(f"/proc/self/fd/{fd}")
        ],
    }


IMPORTED = around()
MADE: dict[str, object] = {}


class Around(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write(json.dumps({"import": IMPORTED, "factory": MADE, "now": around()}))


async def make_app() -> tornado.web.Application:
    await asyncio.sleep(0)
    MADE.update(around())
    return tornado.web.Application([("/", Around)], log_function=lambda handler: None)
