"""All that FORKED names, each asked by GET /module/word in the worker that answers."""

import importlib
import os

from tornado import web

MODULES = {name: importlib.import_module(name) for name in os.environ["FORKED"].split()}


class Ask(web.RequestHandler):
    def get(self, name, word):
        self.write({"answer": MODULES[name].work(word), "pid": os.getpid()})


def make_app():
    for module in MODULES.values():
        if hasattr(module, "begin"):
            module.begin()
    return web.Application([("/(.+)/(.+)", Ask)])
