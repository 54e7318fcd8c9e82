"""A handler that works for nobody: its client has left."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tornado.web import RequestHandler
from tornado.websocket import WebSocketHandler

from leeward._core.conns import ORPHAN, Conn, shown
from leeward.engine.peeking import local
from leeward.engine.unclosed import read

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Iterable, Iterator

    from leeward._core.conns import Identity
    from leeward.engine.standing import Standing


class Orphan:
    """since:  when its client left, or it was seen to work last, on the loop's clock."""

    __slots__ = (
        "closes",
        "due",
        "handler",
        "method",
        "name",
        "read",
        "since",
        "task",
        "threads",
        "tries",
        "url",
    )

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
        #: Of a WebSocket: when its `on_close` is called, if ever; bytes that it was given so far.
        self.closes = float("inf")
        self.read = read(handler)
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

    def tell(self, mine: Identity, standing: Standing, now: float) -> Conn:
        """As a connection that is no more: a line of its own among those that are."""
        age = max(0.0, now - self.since)
        return Conn(
            slot=mine.slot,
            id="",
            pid=mine.pid,
            generation=mine.generation,
            peer="",
            client=shown(self.handler.request.remote_ip or ""),
            state=ORPHAN,
            age=age,
            since=age,
            idle=age,
            method=shown(self.method),
            url=shown(self.url),
            handler=shown(self.name),
            waits_at=shown(standing.waits_at(self.task, self.handler)),
        )


def handlers_at_work(handlers: Iterable[RequestHandler]) -> dict[int, asyncio.Future[Any]]:
    """The task that runs each of `handlers`, by the handler's id.

    Looks at every task of the loop, once for all of them: for handlers that Tornado's own
    server started, which keeps no note of it.
    """
    wanted = {id(handler) for handler in handlers}
    found: dict[int, asyncio.Future[Any]] = {}
    for task in asyncio.all_tasks():
        handler, whole = runs(task)
        if whole and id(handler) in wanted:
            found[id(handler)] = task
    return found


def behind_answers(loop: asyncio.AbstractEventLoop) -> Iterator[asyncio.Future[Any]]:
    """What runs handlers that have given their whole answer, and work on: they store what they
    have taken, once its client knows.  Whoever has taken its stream is no such one.

    loop:  theirs, which an application may have stopped by now.
    """
    for task in asyncio.all_tasks(loop):
        handler, whole = runs(task)
        if whole and handler is not None and handler._finished:
            stream = getattr(handler.request.connection, "stream", None)
            if not isinstance(handler, WebSocketHandler) and stream is not None:
                yield task


def runs(task: asyncio.Future[Any]) -> tuple[RequestHandler | None, bool]:
    """The handler one of whose methods `task` runs, itself or in what wraps it (instruments do).

    And is it `_execute`, which serves a whole request?
    """
    found: RequestHandler | None = None
    coroutine: Any = task.get_coro() if isinstance(task, asyncio.Task) else None
    for _ in range(8):
        frame = getattr(coroutine, "cr_frame", None)
        if frame is None:
            break
        owner = local(frame, "self")
        if isinstance(owner, RequestHandler):
            if frame.f_code.co_name == "_execute":
                return owner, True
            found = owner if found is None else found
        coroutine = getattr(coroutine, "cr_await", None)
    return found, False
