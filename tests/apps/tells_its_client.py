"""Tells who asks, by what, and how much was sent; or, as a program, with arguments of its own."""

import sys

from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.web import Application, RequestHandler


class Client(RequestHandler):
    def get(self) -> None:
        request = self.request
        self.write(f"{request.remote_ip} {request.protocol} {len(request.body)}")

    post = get


def make_app() -> Application:
    return Application([("/", Client)])


def main() -> None:
    server = HTTPServer(make_app(), xheaders=True, max_body_size=10)
    server.listen(int(sys.argv[1]), "127.0.0.1")
    IOLoop.current().start()


if __name__ == "__main__":
    main()
