"""Says who asks; an application by its factory, and a program that listens behind a proxy."""

import sys

from tornado.ioloop import IOLoop
from tornado.web import Application, RequestHandler


class Ip(RequestHandler):
    def get(self) -> None:
        self.write(self.request.remote_ip)


def make_app() -> Application:
    return Application([("/.*", Ip)])


if __name__ == "__main__":
    make_app().listen(int(sys.argv[1]), "127.0.0.1", xheaders=True)
    IOLoop.current().start()
