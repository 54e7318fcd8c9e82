"""leeward.engine.interrupt: what waits is ended, what it waits for is spared or ended with it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import pytest
from tornado import gen, locks, queues

from leeward.engine import onward, waits
from leeward.engine.interrupt import interrupt

LOOPS = ("asyncio", "uvloop")


def run(loop: str, main: Callable[[], Awaitable[None]]) -> None:
    factory = None if loop == "asyncio" else pytest.importorskip("uvloop").new_event_loop
    waits.install()
    onward.install()
    with asyncio.Runner(loop_factory=factory) as runner:
        complaints: list[dict[str, Any]] = []

        async def timed() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, it: complaints.append(it))
            async with asyncio.timeout(10):
                await main()

        runner.run(timed())
        assert not complaints


async def turns(count: int = 6) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Ward:
    """Notes how each that waits in it has ended."""

    def __init__(self) -> None:
        self.ends: list[str] = []

    async def wait(self, for_what: Awaitable[Any], name: str = "native") -> str:
        try:
            return str(await for_what)
        except asyncio.CancelledError:
            self.ends.append(f"{name} cancelled")
            raise
        finally:
            self.ends.append(f"{name} over")

    @gen.coroutine
    def old(self, for_what: Any, name: str = "old") -> Generator[Any, Any, str]:
        try:
            found = yield for_what
            return str(found)
        except asyncio.CancelledError:
            self.ends.append(f"{name} cancelled")
            raise
        finally:
            self.ends.append(f"{name} over")


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("others", [0, 2])
@pytest.mark.parametrize("way", ["native", "old"])
def test_a_future_of_the_application_is_left_alone(loop: str, way: str, others: int) -> None:
    """Whoever else waits for it goes on, and whoever sets its result can."""

    async def main() -> None:
        ward = Ward()
        shared: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        rest = [asyncio.ensure_future(ward.wait(shared, "other")) for _ in range(others)]
        mine = asyncio.ensure_future(ward.wait(shared) if way == "native" else ward.old(shared))
        await turns()
        assert interrupt(mine) == []
        await turns()
        assert mine.cancelled() and not shared.done()
        assert ward.ends == [f"{way} cancelled", f"{way} over"]
        # Nothing of it stays behind at the future, not even if many leave.
        assert len(shared._callbacks or ()) <= max(others, 1)
        shared.set_result("said")
        assert await asyncio.gather(*rest) == ["said"] * others

    run(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
def test_failing_later_is_nobodys_error(loop: str) -> None:
    async def main() -> None:
        shared: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        for _ in range(5):
            mine = asyncio.ensure_future(Ward().wait(shared))
            await turns()
            interrupt(mine)
            await turns()
        assert len(shared._callbacks or ()) == 1
        shared.set_exception(OSError("late"))
        del shared

    run(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("outer", ["native", "old"])
@pytest.mark.parametrize("inner", ["native", "old"])
def test_coroutines_within_end_first(loop: str, outer: str, inner: str) -> None:
    """However they are nested: Tornado's Runners are ended through their generators."""

    async def main() -> None:
        ward = Ward()
        condition = locks.Condition()
        made: Any = getattr(ward, {"native": "wait", "old": "old"}[inner])
        within = made(condition.wait(), f"inner {inner}")
        if outer == "native":
            mine = asyncio.ensure_future(ward.wait(within, "outer native"))
        else:
            mine = ward.old(within, "outer old")
        await turns()
        interrupt(mine)
        await turns(10)
        assert mine.cancelled()
        assert ward.ends == [
            f"inner {inner} cancelled",
            f"inner {inner} over",
            f"outer {outer} cancelled",
            f"outer {outer} over",
        ]
        assert not condition._waiters

    run(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("way", ["native", "old"])
def test_a_queue_gives_nothing_to_who_has_left(loop: str, way: str) -> None:
    async def main() -> None:
        ward, queue, semaphore = Ward(), queues.Queue[str](), locks.Semaphore(0)
        wait: Any = ward.wait if way == "native" else ward.old
        mine = asyncio.ensure_future(wait(queue.get()))
        second = asyncio.ensure_future(wait(semaphore.acquire()))
        await turns()
        interrupt(mine)
        interrupt(second)
        await turns()
        assert mine.cancelled() and second.cancelled()
        assert not queue._getters and not semaphore._waiters
        queue.put_nowait("kept")
        assert queue.get_nowait() == "kept"
        semaphore.release()
        await semaphore.acquire()

    run(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
def test_work_that_others_wait_for_goes_on(loop: str) -> None:
    """One fetch for many clients: only a fetch that nobody waits for is ended."""

    async def main() -> None:
        ward = Ward()
        gate = asyncio.Event()

        async def fetch() -> str:
            await gate.wait()
            return "fetched"

        shared = asyncio.ensure_future(fetch())
        alone = asyncio.ensure_future(fetch())
        first = asyncio.ensure_future(ward.wait(shared))
        second = asyncio.ensure_future(ward.wait(shared))
        third = asyncio.ensure_future(ward.wait(alone))
        await turns()
        interrupt(first)
        interrupt(third)
        await turns()
        assert first.cancelled() and third.cancelled() and alone.cancelled()
        gate.set()
        assert await second == "fetched"

    run(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("how", ["sleep", "wait_for", "timeout", "gather", "group", "shield"])
def test_what_asyncio_waits_by(loop: str, how: str) -> None:
    """A future below that others wait for is spared there too."""

    async def main() -> None:
        ward = Ward()
        shared: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        rest = asyncio.ensure_future(ward.wait(shared, "other"))

        async def handler() -> None:
            if how == "sleep":
                await asyncio.sleep(60)
            elif how == "wait_for":
                await asyncio.wait_for(ward.wait(shared, "child"), 60)
            elif how == "timeout":
                async with asyncio.timeout(60):
                    await ward.wait(shared, "child")
            elif how == "gather":
                await asyncio.gather(ward.wait(shared, "child"), ward.wait(shared, "child"))
            elif how == "group":
                async with asyncio.TaskGroup() as group:
                    group.create_task(ward.wait(asyncio.sleep(60), "child"))
            else:
                await asyncio.shield(shared)

        mine = asyncio.ensure_future(handler())
        await turns()
        interrupt(mine)
        await turns(12)
        assert mine.cancelled()
        if how in ("wait_for", "timeout", "gather", "group"):
            assert "child over" in ward.ends
        assert not shared.done()
        shared.set_result("said")
        assert await rest == "said"

    run(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("together", ["list", "dict", "multi", "gather", "nested"])
@pytest.mark.parametrize("way", ["native", "old"])
@pytest.mark.parametrize("spared", [False, True])
def test_the_parts_of_a_wait_for_several_are_ended(
    loop: str, way: str, together: str, spared: bool
) -> None:
    """Each by its own rules: what others wait for too is spared, and nothing waits on."""

    async def main() -> None:
        ward, condition, event = Ward(), locks.Condition(), locks.Event()
        shared: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        rest = asyncio.ensure_future(ward.wait(shared, "other"))

        def several() -> Any:
            parts: list[Any] = [
                condition.wait(),
                ward.old(condition.wait(), "child"),
                asyncio.ensure_future(ward.wait(event.wait(), "task")),
                *([shared] if spared else []),
            ]
            if together == "nested":
                return gen.multi([parts[:2], gen.multi(dict(enumerate(parts[2:])))])
            if together == "dict":
                return gen.multi(dict(enumerate(parts)))
            return asyncio.gather(*parts) if together == "gather" else gen.multi(parts)

        if way == "old":
            mine = asyncio.ensure_future(ward.old(several()))
        else:
            mine = asyncio.ensure_future(ward.wait(several()))
        await turns()
        interrupt(mine)
        await turns(12)
        assert mine.cancelled()
        assert {f"{way} over", "child cancelled", "task cancelled"} <= set(ward.ends)
        assert not any(not it.done() for it in condition._waiters)
        assert not any(not it.done() for it in event._waiters)
        assert not shared.done()
        shared.set_result("said")
        assert await rest == "said"

    run(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("way", ["native", "old"])
def test_work_in_a_thread_is_told_of(loop: str, way: str) -> None:
    async def main() -> None:
        ward, gate = Ward(), threading.Event()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            try:
                running = asyncio.get_running_loop().run_in_executor(pool, gate.wait)
                queued = asyncio.get_running_loop().run_in_executor(pool, gate.wait)
                wait: Any = ward.wait if way == "native" else ward.old
                first = asyncio.ensure_future(wait(running))
                second = asyncio.ensure_future(wait(queued))
                await turns()
                threads = interrupt(first)
                assert [it.running() for it in threads] == [True]
                assert interrupt(second) == [], "what has not begun never will"
                await turns()
                assert first.cancelled() and second.cancelled()
                assert queued.cancelled()
            finally:
                gate.set()

    run(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("way", ["native", "old"])
def test_who_catches_it_goes_on(loop: str, way: str) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        loop = asyncio.get_running_loop()

        async def native() -> str:
            try:
                await loop.create_future()
            except asyncio.CancelledError:
                await gate.wait()
            return "went on"

        @gen.coroutine
        def old() -> Generator[Any, Any, str]:
            try:
                yield loop.create_future()
            except asyncio.CancelledError:
                yield gate.wait()
            return "went on"

        mine: Any = asyncio.ensure_future(native() if way == "native" else old())
        await turns()
        interrupt(mine)
        await turns()
        assert not mine.done()
        gate.set()
        assert await mine == "went on"

    run(loop, main)


def test_waits_in_the_middle_are_found(loop: str = "asyncio") -> None:
    """Behind one that waits on, no more than a hundred stay."""

    async def main() -> None:
        condition = locks.Condition()
        first = condition.wait()
        futures = [asyncio.ensure_future(condition.wait()) for _ in range(1000)]
        for future in futures:
            future.cancel()
        await turns()
        assert len(condition._waiters) <= 101
        condition.notify()
        assert await first is True

    run(loop, main)
