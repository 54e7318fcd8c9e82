"""From a request to its handler, without what stands between them in Tornado.

Tornado goes through a routing delegate, the router, a handler delegate and a task that
starts in the loop's next turn.  `Dispatch` does the same steps in one object, for
applications and routers that are Tornado's own and unchanged; whatever is overridden
or replaced anywhere on the way is served by Tornado's own path.

The handler starts at once, inside the connection's `data_received`, in a task of its own
(docs/explanation/speed.md).
"""

from __future__ import annotations

import asyncio
import sys
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from tornado import gen
from tornado.httputil import HTTPMessageDelegate, RequestStartLine
from tornado.web import Application, RequestHandler, _HandlerDelegate

from leeward.engine import request as requests
from leeward.engine.accelerate.pristine import pristine
from leeward.engine.declared import Declared, declared
from leeward.engine.routes import Routes
from leeward.limits import ATTRIBUTE, DECLARED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from tornado.httputil import HTTPHeaders, HTTPServerRequest, ResponseStartLine

    from leeward.engine.engine import ServerConnection
    from leeward.engine.exchange import Exchange

#: Before 3.12.5, Task.get_coro() of an eager task that is done crashes the interpreter
#: (python/cpython#122332).
EAGER = sys.version_info >= (3, 12, 5)

#: What `Dispatch` takes the place of.
REPLACED = (
    *requests.REPLACED,
    "tornado.httpserver:HTTPServer.start_request",
    "tornado.routing:Router.start_request",
    "tornado.routing:RuleRouter.find_handler",
    "tornado.routing:RuleRouter.get_target_delegate",
    "tornado.routing:PathMatches.match",
    "tornado.routing:AnyMatches.match",
    *(
        f"tornado.routing:_RoutingDelegate.{name}"
        for name in (
            "__init__",
            "headers_received",
            "data_received",
            "finish",
            "on_connection_close",
        )
    ),
    "tornado.web:Application.find_handler",
    "tornado.web:Application.get_handler_delegate",
    "tornado.web:_ApplicationRouter.get_target_delegate",
    *(
        f"tornado.web:_HandlerDelegate.{name}"
        for name in (
            "__init__",
            "headers_received",
            "data_received",
            "finish",
            "execute",
            "on_connection_close",
        )
    ),
    "tornado.web:_has_stream_request_body",
)

#: Of an application, by its class or by itself.
SKIPPED = ("start_request", "find_handler", "get_handler_delegate", "__call__")


class Dispatch:
    """One application's requests.

    loop:     the running one.
    running:  where tasks are kept until they end: one set for a server.
    """

    def __init__(
        self,
        application: Application,
        loop: asyncio.AbstractEventLoop,
        exits: Callable[[BaseException], None],
        running: set[asyncio.Future[Any]],
    ) -> None:
        self.application = application
        self._exits = exits
        self._running = running
        self.routes = Routes(application)
        self._loop = loop
        self._eager = EAGER and _makes_plain_tasks(loop)
        #: Until 6.4 the delegate parses the body, since 6.5 `RequestHandler._execute`.
        self.parses = "_parse_body" in _HandlerDelegate.finish.__code__.co_names

    def ordinary(self) -> bool:
        """Do templates and static files stay as they are?  In debug mode they do not."""
        get = self.application.settings.get
        return bool(get("compiled_template_cache", True) and get("static_hash_cache", True))

    def start(self, work: Coroutine[Any, Any, Any], exchange: Exchange) -> None:
        """Run `work` in a task; what escapes it is logged as Tornado's delegate does.

        One that has to wait is kept as the exchange's `task`.
        """
        task: asyncio.Future[Any]
        if self._eager and type(work) is CoroutineType and self._loop.get_task_factory() is None:
            try:
                task = asyncio.Task(work, loop=self._loop, eager_start=True)  # type: ignore[call-arg]
            except (SystemExit, KeyboardInterrupt) as error:
                self._exits(error)
                return
            if task.done() and not task.cancelled() and task.exception() is None:
                return
        else:
            task = gen.convert_yielded(work)
        # asyncio itself knows a task by a weak reference only: one that waits for a reader
        # of its own was collected in the middle (seen with StreamReader, on both loops).
        self._running.add(task)
        exchange.task = task
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Future[Any]) -> None:
        self._running.discard(task)
        _look_at(task)


def dispatch(
    application: object,
    loop: asyncio.AbstractEventLoop,
    exits: Callable[[BaseException], None],
    running: set[asyncio.Future[Any]],
) -> Dispatch | None:
    """None if only Tornado's own path does for this application.

    exits:  given the `sys.exit` or Ctrl-C that a handler ran into before its first wait.
    """
    if not isinstance(application, Application):
        return None
    kind = type(application)
    if any(getattr(kind, it) is not getattr(Application, it) for it in SKIPPED):
        return None
    if not _SKIPPED_BY_INSTANCE.isdisjoint(vars(application)):
        return None
    known = all(map(pristine, REPLACED))
    return Dispatch(application, loop, exits, running) if known else None


_SKIPPED_BY_INSTANCE = frozenset(SKIPPED)


class Handling(HTTPMessageDelegate):
    """One request on its way through its handler."""

    _handler: type[RequestHandler]
    _request: HTTPServerRequest

    def __init__(self, dispatch: Dispatch, server: ServerConnection, exchange: Exchange) -> None:
        self._dispatch = dispatch
        self._server_connection = server
        self._exchange = exchange
        #: Tornado's delegate, for what is not ours to serve.
        self._other: HTTPMessageDelegate | None = None
        self._body: bytes | bytearray = b""

    @property
    def handler_class(self) -> type[RequestHandler] | None:
        """None if `_other` knows."""
        return getattr(self, "_handler", None)

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        dispatch = self._dispatch
        assert type(start_line) is RequestStartLine
        request = requests.make(self._exchange, self._server_connection, start_line, headers)
        self._request = request
        route = dispatch.routes.known(request.path)
        if route is not None and dispatch.ordinary():
            rule, self._args, self._kwargs = route
            handler = rule.target
            if DECLARED:
                self._exchange.own = getattr(handler, ATTRIBUTE, None)
            if not handler._stream_request_body:
                self._handler, self._keywords = handler, rule.target_kwargs
                return None
        found: Any = dispatch.application.find_handler(request)
        if DECLARED:
            self._exchange.own = declared(found)
            if self._exchange.own is None and type(found) is not _HandlerDelegate:
                found = Declared(found, self._exchange)
        if (
            type(found) is not _HandlerDelegate
            or found.stream_request_body
            or not dispatch.ordinary()
        ):
            other: HTTPMessageDelegate = found
            self._other = other
            return other.headers_received(start_line, headers)
        dispatch.routes.learn(request)
        self._handler, self._keywords = found.handler_class, found.handler_kwargs
        self._args, self._kwargs = found.path_args, found.path_kwargs
        return None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        if self._other is not None:
            return self._other.data_received(chunk)
        if not self._body:
            self._body = chunk  # the only one, as a rule: not copied
        else:
            if type(self._body) is not bytearray:
                self._body = bytearray(self._body)
            self._body += chunk
        return None

    def finish(self) -> None:
        if self._other is not None:
            self._other.finish()
            return
        dispatch, request = self._dispatch, self._request
        application = dispatch.application
        request.body = bytes(self._body)
        if dispatch.parses:
            request._parse_body()
        handler = self._handler(application, request, **self._keywords)
        transforms = [transform(request) for transform in application.transforms]
        work = handler._execute(transforms, *self._args, **self._kwargs)
        dispatch.start(work, self._exchange)

    def on_connection_close(self) -> None:
        if self._other is not None:
            self._other.on_connection_close()
        self._body = b""


def _makes_plain_tasks(loop: asyncio.AbstractEventLoop) -> bool:
    """Is `loop.create_task` one of those that make an `asyncio.Task` and nothing else?"""
    found = type(loop).create_task
    if found is asyncio.BaseEventLoop.create_task:
        return True
    return type(loop).__module__ == "uvloop" and "create_task" not in vars(type(loop))


def _look_at(future: asyncio.Future[Any]) -> None:
    """Have the loop's exception handler log what escaped, as it logs Tornado's callback."""
    if not future.cancelled():
        future.result()
