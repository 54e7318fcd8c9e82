"""leeward._worker.tasks: a task factory is tried before anything is served."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest

from leeward._worker import tasks
from leeward.errors import TargetError


def able(loop: Any, coro: Any, **kwargs: Any) -> Any:
    return asyncio.Task(coro, loop=loop, **kwargs)


def unable(loop: Any, coro: Any, *more: Any, **kwargs: Any) -> Any:
    raise LookupError("away")


class Callable:
    def __call__(self, loop: Any, coro: Any, **kwargs: Any) -> Any:
        return None


def found(factory: Any) -> str:
    """What is said of it; "" if it suits."""

    async def check() -> None:
        asyncio.get_running_loop().set_task_factory(factory)
        tasks.check(asyncio.get_running_loop())

    with asyncio.Runner() as runner:
        try:
            runner.run(check())
        except TargetError as error:
            runner.get_loop().set_task_factory(None)
            return str(error)
    return ""


@pytest.mark.parametrize("factory", [None, able, functools.partial(able, name="mine")])
def test_one_that_makes_tasks_suits(factory: Any) -> None:
    assert found(factory) == ""


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("factory", "why", "name"),
    [
        (unable, "LookupError: away", "test_tasks:unable ("),
        (functools.partial(unable, 1), "LookupError: away", "test_tasks:unable ("),
        (Callable(), "AttributeError: ", "test_tasks:Callable\n"),
    ],
)
def test_one_that_does_not_is_named(factory: Any, why: str, name: str) -> None:
    said = found(factory)
    assert f"makes no task when asyncio calls it: {why}" in said
    assert name in said
    assert len(said.split("\n")) == 3
