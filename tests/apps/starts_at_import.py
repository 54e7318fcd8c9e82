"""Starts helpers when it is imported, each of which leaves its parent."""

import os
import subprocess

import tornado.web
from starts_children import daemon

SHELL = "sleep 3600 >/dev/null 2>&1 & echo $!"

helpers = [
    int(subprocess.check_output(SHELL, shell=True)),
    daemon(["sleep", "3600"]),
    daemon([]),
]
with open(os.environ["STARTED"], "a") as file:
    file.write("".join(f"{pid}\n" for pid in helpers))


class Hello(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write("hello")


def make_app() -> tornado.web.Application:
    return tornado.web.Application([("/", Hello)])
