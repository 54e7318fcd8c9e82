"""Looking at a coroutine's variables changes nothing and keeps nothing alive."""

from __future__ import annotations

import asyncio
import gc
import weakref
from types import FrameType
from typing import Any

from leeward.engine.peeking import local


class Thing:
    pass


def frame_of(coroutine: Any) -> FrameType:
    frame: FrameType = coroutine.cr_frame
    return frame


def test_what_was_looked_at_may_go() -> None:
    """A loop that serves one thing after the other: none but the present one is kept."""

    async def body() -> None:
        served: list[weakref.ref[Thing]] = []
        step = asyncio.Event()

        async def serve() -> None:
            while True:
                thing = Thing()
                served.append(weakref.ref(thing))
                await step.wait()
                step.clear()

        coroutine = serve()
        task = asyncio.create_task(coroutine)
        for _ in range(3):
            await asyncio.sleep(0)
            assert local(frame_of(coroutine), "thing") is served[-1]()
            assert local(frame_of(coroutine), "nothing") is None
            step.set()
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        gc.collect()
        assert [it() for it in served[:-1]] == [None] * (len(served) - 1)
        assert isinstance(local(frame_of(coroutine), "thing"), Thing), "the variable is as it was"
        task.cancel()

    asyncio.run(body())


def test_a_modules_variables_stay() -> None:
    """Its `f_locals` are no copy."""
    names: dict[str, Any] = {"inspect": __import__("inspect")}
    exec("frame = inspect.currentframe()\nname = 1", names)
    assert local(names["frame"], "name") == 1
    assert names["name"] == 1
