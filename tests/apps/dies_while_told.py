"""Its workers die at birth for as long as the file that BROKEN names exists."""

import os

import tornado.web


class Pid(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write(str(os.getpid()))


def make_app() -> tornado.web.Application:
    if os.path.exists(os.environ["BROKEN"]):
        os._exit(9)
    return tornado.web.Application([("/", Pid)], log_function=lambda handler: None)
