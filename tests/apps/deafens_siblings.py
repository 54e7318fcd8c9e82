"""A wrong start, and an end that looks right: a process that stops takes its siblings along.

    deafens_siblings.py PORT

`listen()` makes the loop before `start(2)` forks.  On Python 3.11 both processes poll one
epoll set, and the one that closes its listener strikes it off for the other as well.
"""

import os
import signal
import sys
from types import FrameType

from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop, PeriodicCallback
from tornado.web import Application, RequestHandler

LEAVING = False


class Hello(RequestHandler):
    def get(self) -> None:
        self.write(str(os.getpid()))


def on_term(number: int, frame: FrameType | None) -> None:
    global LEAVING
    LEAVING = True


def leave_if_told() -> None:
    """Not in the signal handler, as the loop may be anywhere then."""
    if LEAVING:
        server.stop()
        IOLoop.current().stop()


signal.signal(signal.SIGTERM, on_term)
server = HTTPServer(Application([("/", Hello)], log_function=lambda handler: None))
server.listen(int(sys.argv[1]), "127.0.0.1")
print("listening", flush=True)
server.start(2)
PeriodicCallback(leave_if_told, 50).start()
IOLoop.current().start()
