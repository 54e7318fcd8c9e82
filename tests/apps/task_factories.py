"""Each of its factories sets a task factory, which not every loop may be able to call."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import tornado.web

TaskFactory = Callable[..., Any]


def takes_two(loop, coro):  # type: ignore[no-untyped-def]
    return asyncio.Task(coro, loop=loop)


def documented(loop, coro, context=None):  # type: ignore[no-untyped-def]
    return asyncio.Task(coro, loop=loop, context=context)


def willing(loop, coro, **kwargs):  # type: ignore[no-untyped-def]
    return asyncio.Task(coro, loop=loop, **kwargs)


def unable(loop, coro, **kwargs):  # type: ignore[no-untyped-def]
    raise RuntimeError("no tasks today")


class Hello(tornado.web.RequestHandler):
    async def get(self) -> None:
        await asyncio.create_task(asyncio.sleep(0))
        self.write("ok")


class Break(tornado.web.RequestHandler):
    def get(self) -> None:
        asyncio.get_running_loop().set_task_factory(unable)
        self.write("broken")


def setting(factory: TaskFactory | None) -> Callable[[], Awaitable[tornado.web.Application]]:
    async def make() -> tornado.web.Application:
        asyncio.get_running_loop().set_task_factory(factory)
        return tornado.web.Application([("/", Hello), ("/break", Break)])

    return make


two, document, will, none = map(setting, (takes_two, documented, willing, None))
cannot = setting(unable)
eager = setting(getattr(asyncio, "eager_task_factory", None))  # from Python 3.12 on


async def at_once() -> tornado.web.Application:
    """Needs a task of its own right away."""
    asyncio.get_running_loop().set_task_factory(takes_two)
    await asyncio.gather(asyncio.sleep(0))
    return tornado.web.Application()
