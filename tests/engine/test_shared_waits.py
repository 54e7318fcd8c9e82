"""What many clients wait for outlives each that leaves, and keeps nothing of those that left."""

from __future__ import annotations

import asyncio
import datetime
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import Any

import pytest
from tornado import gen, locks, queues

from leeward.engine import onward, waits
from leeward.engine.interrupt import interrupt

LOOPS = ("asyncio", "uvloop")
HOUR = datetime.timedelta(hours=1)


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
                gc.collect()

        runner.run(timed())
        assert not complaints


async def turns(count: int = 12) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def timers() -> int:
    """Those that are still to come, as far as the loop tells (uvloop does not)."""
    scheduled = getattr(asyncio.get_running_loop(), "_scheduled", ())
    return sum(1 for it in scheduled if not it.cancelled())


def callbacks(future: asyncio.Future[Any]) -> int:
    return len(future._callbacks or ())


# --- how a handler waits for something that others have too --------------------------------------

Shared = asyncio.Future[str]


async def waits_for(shared: Shared) -> str:
    return await shared


@gen.coroutine
def yields(shared: Any) -> Generator[Any, Any, str]:
    found = yield shared
    return str(found)


async def plain(shared: Shared) -> None:
    await shared


async def shield(shared: Shared) -> None:
    await asyncio.shield(shared)


async def gather(shared: Shared) -> None:
    await asyncio.gather(shared, asyncio.sleep(3600))


async def gather_twice(shared: Shared) -> None:
    await asyncio.gather(shared, shared)


async def gather_errors(shared: Shared) -> None:
    await asyncio.gather(shared, asyncio.sleep(3600), return_exceptions=True)


async def gather_shields(shared: Shared) -> None:
    await asyncio.gather(asyncio.shield(shared), asyncio.shield(shared))


async def gather_shields_errors(shared: Shared) -> None:
    await asyncio.gather(asyncio.shield(shared), return_exceptions=True)


async def gather_gathers(shared: Shared) -> None:
    await asyncio.gather(asyncio.gather(shared, asyncio.sleep(3600)), asyncio.shield(shared))


async def gather_coroutines(shared: Shared) -> None:
    await asyncio.gather(waits_for(shared), waits_for(shared))


async def multi(shared: Shared) -> None:
    await gen.multi([shared, asyncio.sleep(3600)])


async def multi_shields(shared: Shared) -> None:
    await gen.multi({"a": asyncio.shield(shared), "b": shared})


async def wait(shared: Shared) -> None:
    await asyncio.wait([shared], timeout=3600)


async def wait_for(shared: Shared) -> None:
    await asyncio.wait_for(shared, 3600)


async def wait_for_coroutine(shared: Shared) -> None:
    await asyncio.wait_for(waits_for(shared), 3600)


async def wait_for_shield(shared: Shared) -> None:
    await asyncio.wait_for(asyncio.shield(shared), 3600)


async def wait_for_wait_for(shared: Shared) -> None:
    await asyncio.wait_for(asyncio.wait_for(asyncio.shield(shared), 3600), 3600)


async def wait_for_gather(shared: Shared) -> None:
    await asyncio.wait_for(asyncio.gather(shared, asyncio.shield(shared)), 3600)


async def timeout(shared: Shared) -> None:
    async with asyncio.timeout(3600):
        await shared


async def timeout_shield(shared: Shared) -> None:
    async with asyncio.timeout(3600):
        await asyncio.shield(shared)


async def with_timeout(shared: Shared) -> None:
    await gen.with_timeout(HOUR, shared)


async def with_timeout_shield(shared: Shared) -> None:
    await gen.with_timeout(HOUR, asyncio.shield(shared))


async def with_timeout_coroutine(shared: Shared) -> None:
    await gen.with_timeout(HOUR, waits_for(shared))


async def multi_with_timeout(shared: Shared) -> None:
    await gen.multi([gen.with_timeout(HOUR, shared), asyncio.sleep(3600)])


async def group(shared: Shared) -> None:
    async with asyncio.TaskGroup() as members:
        members.create_task(waits_for(shared))
        members.create_task(shield(shared))


async def in_group(shared: Shared) -> None:
    async with asyncio.TaskGroup() as members:
        members.create_task(waits_for(shared))
        await shared


async def group_in_group(shared: Shared) -> None:
    async with asyncio.TaskGroup() as members:
        members.create_task(group(shared))


async def group_waits_for(shared: Shared) -> None:
    async with asyncio.TaskGroup() as members:
        members.create_task(wait_for(shared))


async def told(shared: Shared) -> AsyncIterator[str]:
    while True:
        yield await asyncio.wait_for(shared, 3600)
        await asyncio.sleep(3600)


async def async_for(shared: Shared) -> None:
    async for _ in told(shared):
        return


async def old(shared: Shared) -> None:
    await yields(shared)


async def old_shield(shared: Shared) -> None:
    await yields(asyncio.shield(shared))


async def old_gather(shared: Shared) -> None:
    await yields(asyncio.gather(shared, asyncio.sleep(3600)))


async def old_list(shared: Shared) -> None:
    await yields([shared, asyncio.shield(shared), asyncio.sleep(3600)])


async def old_with_timeout(shared: Shared) -> None:
    await yields(gen.with_timeout(HOUR, shared))


async def old_wait_for(shared: Shared) -> None:
    await yields(asyncio.wait_for(shared, 3600))


KINDS = (
    *(plain, shield, gather, gather_twice, gather_errors, gather_shields, gather_shields_errors),
    *(gather_gathers, gather_coroutines, multi, multi_shields, wait, wait_for, wait_for_coroutine),
    *(wait_for_shield, wait_for_wait_for, wait_for_gather, timeout, timeout_shield, with_timeout),
    *(with_timeout_shield, with_timeout_coroutine, multi_with_timeout, group, in_group),
    *(group_in_group, group_waits_for, async_for, old, old_shield, old_gather, old_list),
    *(old_with_timeout, old_wait_for),
)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda it: it.__name__)
def test_a_future_keeps_nothing_of_who_left(loop: str, kind: Callable[[Shared], Any]) -> None:
    """Neither a callback nor a timer nor a task, and it is not cancelled."""

    async def main() -> None:
        shared: Shared = asyncio.get_running_loop().create_future()
        tasks, before = asyncio.all_tasks(), timers()
        for _ in range(3):
            mine = [asyncio.ensure_future(kind(shared)) for _ in range(20)]
            await turns()
            for it in mine:
                interrupt(it)
            await turns()
            assert all(it.cancelled() for it in mine)
            assert not shared.done()
            assert callbacks(shared) <= 1
            assert asyncio.all_tasks() == tasks
            assert timers() == before
        seen = weakref.WeakSet(mine)
        del mine, it
        gc.collect()
        assert not seen
        if kind is wait:  # asyncio's own: who waits by it looks at no error
            shared.set_result("said")
        else:
            shared.set_exception(OSError("nobody's error"))

    run(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("what", ["future", "task", "coroutine"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda it: it.__name__)
def test_who_stays_gets_it(loop: str, what: str, kind: Callable[[Shared], Any]) -> None:
    """However those who leave wait for it, and however who stays does."""

    async def main() -> None:
        source: Shared = asyncio.get_running_loop().create_future()
        shared: Any = {
            "future": lambda: source,
            "task": lambda: asyncio.ensure_future(waits_for(source)),
            "coroutine": lambda: yields(source),
        }[what]()
        await turns()
        stays = asyncio.ensure_future(kind(shared))
        await turns()
        held = callbacks(shared)
        for leaves in (kind, plain, gather):
            mine = [asyncio.ensure_future(leaves(shared)) for _ in range(5)]
            await turns()
            for it in mine:
                interrupt(it)
            await turns()
            assert all(it.cancelled() for it in mine), leaves
            assert not shared.done() and not stays.done()
            assert callbacks(shared) == held
        source.set_result("said")
        await turns()
        assert await shared == "said"
        interrupt(stays)
        await turns()
        assert stays.done()

    run(loop, main)


# --- what belongs to who waits -------------------------------------------------------------------


class Own:
    """Things that clients wait at, and how many wait at each."""

    def __init__(self) -> None:
        self.condition, self.event, self.queue = (
            asyncio.Condition(),
            asyncio.Event(),
            asyncio.Queue[str](),
        )
        self.old_queue, self.semaphore = queues.Queue[str](), asyncio.Semaphore(1)
        self.old_event, self.old_condition = locks.Event(), locks.Condition()

    async def at_condition(self) -> None:
        async with self.condition:
            await self.condition.wait()

    async def at_condition_for(self) -> None:
        async with self.condition:
            await asyncio.wait_for(self.condition.wait(), 3600)

    async def at_event(self) -> None:
        await self.event.wait()

    async def at_events(self) -> None:
        await asyncio.gather(self.event.wait(), self.old_event.wait(HOUR))

    async def at_queue(self) -> None:
        await self.queue.get()

    async def at_queue_for(self) -> None:
        await asyncio.wait_for(self.queue.get(), 3600)

    async def at_semaphore(self) -> None:
        async with self.semaphore:
            await asyncio.sleep(3600)

    async def of_queue(self) -> AsyncIterator[str]:
        while True:
            yield await self.queue.get()

    async def over_queue(self) -> None:
        async for _ in self.of_queue():
            pass

    async def over_old_queue(self) -> None:
        async for _ in self.old_queue:
            pass

    async def at_old_event(self) -> None:
        await gen.with_timeout(HOUR, self.old_event.wait())

    async def at_old_condition(self) -> None:
        await asyncio.wait_for(self.old_condition.wait(HOUR), 3600)

    async def in_group(self) -> None:
        async with asyncio.TaskGroup() as members:
            members.create_task(self.at_queue())
            members.create_task(self.at_old_event())

    def waiting(self) -> int:
        kept = (
            *(self.condition._waiters, self.event._waiters, self.queue._getters),  # type: ignore[attr-defined]
            *(self.old_queue._getters, self.semaphore._waiters or ()),  # type: ignore[attr-defined]
            self.old_event._waiters,
        )
        return sum(1 for each in kept for it in each if not it.done())


OWN = sorted(name for name in vars(Own) if name.split("_")[0] in ("at", "over", "in"))


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", OWN)
def test_its_own_waits_go_with_it(loop: str, name: str) -> None:
    async def main() -> None:
        own = Own()
        tasks, before = asyncio.all_tasks(), timers()
        for _ in range(3):
            mine = [asyncio.ensure_future(getattr(own, name)()) for _ in range(10)]
            await turns()
            for it in mine:
                interrupt(it)
            await turns(40)  # a Condition's lock is taken by each in turn
            assert all(it.cancelled() for it in mine)
            assert not own.waiting()
            assert asyncio.all_tasks() == tasks
            assert timers() == before
        own.queue.put_nowait("kept")
        assert await own.queue.get() == "kept"
        own.old_queue.put_nowait("kept")
        assert await own.old_queue.get() == "kept"
        async with own.condition, own.semaphore:
            pass

    run(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_coroutine_under_with_timeout_is_ended(loop: str) -> None:
    """What was given as a future goes on: `gen.with_timeout` does not end that either."""

    async def main() -> None:
        ends: list[str] = []

        async def work(name: str) -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                ends.append(name)

        kept = asyncio.ensure_future(work("kept"))
        for mine in (
            asyncio.ensure_future(yields(gen.with_timeout(HOUR, work("own")))),
            asyncio.ensure_future(yields(gen.with_timeout(HOUR, kept))),
        ):
            await turns()
            interrupt(mine)
            await turns()
            assert mine.cancelled()
        assert ends == ["own"] and not kept.done()
        kept.cancel()

    run(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
def test_what_timed_out_keeps_no_more_than_its_word(loop: str) -> None:
    """The copy and the timer's end are gone; that errors are logged then is Tornado's."""

    async def main() -> None:
        shared: Shared = asyncio.get_running_loop().create_future()
        for _ in range(5):
            with pytest.raises(gen.TimeoutError):
                await gen.with_timeout(datetime.timedelta(), shared)
        await turns()
        assert callbacks(shared) == 5
        shared.set_result("late")

    run(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("late", [False, True])
def test_with_timeout_is_what_it_was(loop: str, late: bool) -> None:
    async def main() -> None:
        shared: Shared = asyncio.get_running_loop().create_future()
        before = timers()
        wait = gen.with_timeout(HOUR, shared)
        if late:
            await turns()
        shared.set_result("said")
        assert await wait == "said"
        await turns()
        assert timers() == before
        assert await gen.with_timeout(HOUR, shared) == "said"

    run(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
def test_shielded_work_goes_on_and_its_failure_is_heard(loop: str) -> None:
    """As asyncio has it: nobody else would ever know."""

    async def main() -> None:
        gate = asyncio.Event()
        heard: list[str] = []
        running = asyncio.get_running_loop()
        complain = running.get_exception_handler()
        running.set_exception_handler(lambda _, it: heard.append(it["message"]))

        async def work() -> None:
            await gate.wait()
            raise OSError("the write has failed")

        async def handler() -> None:
            await asyncio.shield(work())

        mine = asyncio.ensure_future(handler())
        await turns()
        interrupt(mine)
        await turns()
        assert mine.cancelled()
        gate.set()
        await turns()
        gc.collect()
        assert heard == ["Task exception was never retrieved"]
        running.set_exception_handler(complain)

    run(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
def test_told_twice_in_a_turn(loop: str) -> None:
    """The second time it waits for nothing of its own any more, and the shared is spared."""

    async def main() -> None:
        shared: Shared = asyncio.get_running_loop().create_future()
        mine = asyncio.ensure_future(waits_for(shared))
        await turns()
        interrupt(mine)
        interrupt(mine)
        await turns()
        assert mine.cancelled() and not shared.done()

    run(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
def test_members_of_a_group_clean_up_in_peace(loop: str) -> None:
    """They are told once; and who would end a group by itself ends it as ever."""

    async def main() -> None:
        ends: list[str] = []
        shared: Shared = asyncio.get_running_loop().create_future()

        async def member(name: str) -> None:
            try:
                await shared
            finally:
                await asyncio.sleep(0.01)
                ends.append(name)

        async def fails() -> None:
            raise OSError("a member has failed")

        async def handler(fail: bool) -> None:
            async with asyncio.TaskGroup() as members:
                members.create_task(member("member"))
                if fail:
                    await asyncio.sleep(0)
                    members.create_task(fails())
            ends.append("went on")

        mine = asyncio.ensure_future(handler(False))
        await turns()
        interrupt(mine)
        with pytest.raises(asyncio.CancelledError):
            await mine
        assert ends == ["member"] and not shared.done()
        with pytest.raises(ExceptionGroup):
            await handler(True)
        assert ends == ["member", "member"] and shared.cancelled()

    run(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
def test_who_goes_on_has_its_timeouts(loop: str) -> None:
    async def main() -> None:
        shared: Shared = asyncio.get_running_loop().create_future()

        async def handler() -> str:
            try:
                await asyncio.wait_for(shared, 3600)
            except asyncio.CancelledError:
                for late in (asyncio.shield(shared), asyncio.Future[str]()):
                    with pytest.raises(TimeoutError):
                        await asyncio.wait_for(late, 0.01)
            return "went on"

        mine = asyncio.ensure_future(handler())
        await turns()
        interrupt(mine)
        assert await mine == "went on"
        assert not shared.done() and callbacks(shared) == 1  # that of who looks at its error

    run(loop, main)
