"""Its factory raises in every worker but the first, as where all want the same port."""

import os

import tornado.web


class Hello(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write("hello")


def make_app() -> tornado.web.Application:
    if os.environ["LEEWARD_SLOT"] != "0":
        raise ConnectionError("the one licence is taken")
    return tornado.web.Application([("/", Hello)])
