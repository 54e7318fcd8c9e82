"""Answers GET / with how many of Leeward's audit hooks this process carries."""

from __future__ import annotations

import gc
from types import FunctionType

from tornado.web import Application, RequestHandler


def hooks() -> int:
    """A hook cannot be asked for, but it is a function, and so known to the collector."""
    gc.unfreeze()  # what a zygote shares with its workers is not listed
    return sum(
        isinstance(it, FunctionType) and it.__qualname__ == "Watch.arm.<locals>.hook"
        for it in gc.get_objects()
    )


class Count(RequestHandler):
    def get(self) -> None:
        self.write({"hooks": hooks()})


def make_app() -> Application:
    return Application([("/", Count)])
