"""Closes whatever it may have inherited, as old recipes for daemons do: where WHERE says."""

import os

import tornado.ioloop
import tornado.web


def close_all(where):
    if os.environ["WHERE"] == where:
        os.closerange(3, 1024)
    elif os.environ["WHERE"] == f"{where}, one by one":
        for fd in range(3, 1024):
            try:
                os.close(fd)
            except OSError:
                pass


close_all("import")


class Hello(tornado.web.RequestHandler):
    def get(self):
        self.write("hello")


def make_app():
    close_all("factory")
    return tornado.web.Application([("/", Hello)])


if __name__ == "__main__":
    close_all("main")
    make_app().listen(0, "127.0.0.1")
    tornado.ioloop.IOLoop.current().start()
