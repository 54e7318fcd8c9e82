"""A handler that works for nobody: its client has left."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from tornado.web import RequestHandler

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Iterable


class Orphan:
    """since:  when its client left, on the loop's clock."""

    __slots__ = ("due", "handler", "method", "name", "since", "task", "threads", "tries", "url")

    def __init__(self, handler: RequestHandler, task: asyncio.Future[Any], since: float) -> None:
        kind, request = type(handler), handler.request
        self.handler = handler
        self.task = task
        self.since = since
        self.method = request.method or ""
        self.url = request.uri or ""
        self.name = f"{kind.__module__}.{kind.__qualname__}"
        #: When it is ended, if ever; how often that was tried.
        self.due = float("inf")
        self.tries = 0
        #: Work in executors, that goes on without it.
        self.threads: list[concurrent.futures.Future[Any]] = []

    def told(self, now: float) -> dict[str, Any]:
        ended = "cancelled" if self.tries else "runs"
        return {
            "url": self.url,
            "method": self.method,
            "handler": self.name,
            "age": now - self.since,
            "state": "in a thread" if self.task.done() else ended,
        }


def handlers_at_work(handlers: Iterable[RequestHandler]) -> dict[int, asyncio.Future[Any]]:
    """The task that runs each of `handlers`, by the handler's id.

    Looks at every task of the loop, once for all of them: for handlers that Tornado's own
    server started, which keeps no note of it.
    """
    wanted = {id(handler) for handler in handlers}
    found: dict[int, asyncio.Future[Any]] = {}
    for task in asyncio.all_tasks():
        with contextlib.suppress(RuntimeError):  # a task that has no coroutine
            handler = _executes(task.get_coro())
            if id(handler) in wanted:
                found[id(handler)] = task
    return found


def _executes(coroutine: Any) -> object:
    """The handler that `coroutine` runs, itself or what wraps it (instruments do)."""
    for _ in range(8):
        frame = getattr(coroutine, "cr_frame", None)
        if frame is None:
            return None
        if frame.f_code.co_name == "_execute":
            handler = frame.f_locals.get("self")
            if isinstance(handler, RequestHandler):
                return handler
        coroutine = getattr(coroutine, "cr_await", None)
    return None
