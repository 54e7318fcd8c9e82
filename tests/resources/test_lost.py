"""A resource that its own scope ends is lost, and no other; all of them end with `asyncio.run`."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from resources.test_alone import nothing_stays, program, recording, run, said
from tornado.testing import AsyncTestCase, gen_test

import leeward
from leeward import opening
from leeward._core.messages import Leaving
from leeward._sys.signals import LATE
from leeward._worker.resources import Resources, _ails, interrupting
from leeward.resources import Held, Resource
from leeward.testing import opened

__all__ = ["nothing_stays", "said"]  # fixtures


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.ERROR, "leeward")
    return lambda: [record.getMessage() for record in caplog.records]


async def closed(resource: Resource[Any]) -> None:
    while resource.held is not None:
        await asyncio.sleep(0)


def feed_of(said: list[str], fails: asyncio.Event, scope: str) -> Resource[Any]:
    """One whose scope ends it as soon as `fails` is set."""

    async def listen() -> None:
        await fails.wait()
        raise ConnectionResetError("no line")

    async def by_timer(timer: asyncio.Timeout) -> None:
        await fails.wait()
        timer.reschedule(0)

    async def feed() -> AsyncIterator[str]:
        said.append("+feed")
        if scope == "group":
            async with asyncio.TaskGroup() as group:
                group.create_task(listen())
                yield "feed"
        elif scope == "time-out":
            async with asyncio.timeout(None) as timer:
                waits.append(asyncio.create_task(by_timer(timer)))
                yield "feed"
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None) as timer:
                    waits.append(asyncio.create_task(by_timer(timer)))
                    yield "feed"
        said.append("-feed")

    waits: list[asyncio.Task[None]] = []
    return leeward.per_worker(feed)


@pytest.mark.parametrize(
    ("scope", "error"),
    [("group", ExceptionGroup), ("time-out", TimeoutError), ("quiet", None)],
)
def test_its_own_scope_ends_this_one_alone(
    scope: str, error: type[Exception] | None, said: list[str], told: Callable[[], list[str]]
) -> None:
    """The others stay open; it is told, not a pass for its check, and opened again by `await`."""
    db, fails = recording(said, "db"), asyncio.Event()
    feed = feed_of(said, fails, scope)
    feed.check(lambda value: True)
    top = recording(said, "top", lambda: db)

    async def main() -> None:
        assert (await db, await feed, await top) == ("db", "feed", "top")
        assert await _ails(feed) == ""
        fails.set()
        await closed(feed)
        assert (db(), top()) == ("db", "top")
        assert said == ["+db", "+feed", "+top", *(["-feed"] if error is None else [])]
        assert await _ails(feed) == "it is not open any more"
        with pytest.raises(leeward.NotOpen, match=r"feed .* has closed by itself") as raised:
            feed()
        assert "await feed" in str(raised.value)
        fails.clear()
        assert await feed == feed() == "feed"
        said.clear()

    run(main)
    assert said == ["-feed", "-top", "-db"]
    first = [] if error is None else [f"closing {feed} failed"]
    assert told() == [*first, f"{feed} is lost: it has closed by itself"]


def test_its_error_is_that_of_its_scope(said: list[str], caplog: pytest.LogCaptureFixture) -> None:
    fails = asyncio.Event()
    feed = feed_of(said, fails, "group")

    async def main() -> None:
        await feed
        fails.set()
        await closed(feed)

    run(main)
    assert "ConnectionResetError: no line" in caplog.text and "in listen" in caplog.text


@pytest.mark.parametrize("count", [1, 2], ids=["one", "two in one turn"])
def test_where_nothing_else_runs_it_is_not_taken_for_the_end(
    count: int, said: list[str], told: Callable[[], list[str]]
) -> None:
    """A program of `IOLoop.start()` has no main task that would tell it."""

    @leeward.per_worker
    def file() -> Iterator[str]:
        yield "file"
        said.append("-file")

    fails = asyncio.Event()
    feeds = [feed_of(said, fails, "group") for _ in range(count)]
    loop = asyncio.new_event_loop()

    async def begin() -> None:
        assert file() == "file"
        for feed in feeds:
            await feed

    def look() -> None:
        if any(feed.held for feed in feeds):
            loop.call_soon(look)
        else:
            loop.stop()

    try:
        loop.run_until_complete(begin())
        fails.set()
        loop.call_soon(look)
        loop.call_later(20, loop.stop)
        loop.run_forever()
        assert ([feed.held for feed in feeds], file()) == ([None] * count, "file")
        loop.run_until_complete(opening.here().close(5))
    finally:
        loop.close()
    assert said == [*["+feed"] * count, "-file"]
    lost = {f"{feed} is lost: it has closed by itself" for feed in feeds}
    assert {it for it in told() if "is lost" in it} == lost


def test_in_a_test_it_is_raised_behind_the_block(said: list[str]) -> None:
    """And what was open before the block stays open, whichever is lost in it."""
    db, fails, quiet = recording(said, "db"), asyncio.Event(), asyncio.Event()
    feed, other = feed_of(said, fails, "group"), feed_of(said, quiet, "quiet")

    async def main() -> None:
        assert await other == "feed"
        with pytest.raises(ExceptionGroup) as raised:
            async with opened(db, feed):
                fails.set()
                quiet.set()
                await closed(feed)
                await closed(other)
                assert db() == "db"
        assert {type(it) for it in raised.value.exceptions} == {ExceptionGroup, RuntimeError}
        assert said == ["+feed", "+db", "+feed", "-feed", "-db"]

    run(main)


def test_one_that_does_not_end_is_told_and_given_up(
    said: list[str], told: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    @leeward.per_worker
    async def feed() -> AsyncIterator[str]:
        try:
            async with asyncio.timeout(0):
                yield "feed"
        finally:
            await asyncio.Event().wait()

    async def main() -> None:
        monkeypatch.setattr(opening.here().teller, "patience", lambda: 0.05)
        await feed
        await closed(feed)

    run(main)
    late = f"{feed} did not close within 0.05 s"
    assert told() == [late, f"{feed} is lost: it has closed by itself"]


def test_one_that_is_being_lost_is_closed_once(
    said: list[str], told: Callable[[], list[str]]
) -> None:
    """Whoever closes all meanwhile waits for it, in its place of the order."""
    db = recording(said, "db")

    @leeward.per_worker(needs=[db])
    async def feed() -> AsyncIterator[str]:
        try:
            async with asyncio.timeout(0):
                yield "feed"
        finally:
            ending.set()
            await going_on.wait()
            said.append("-feed")

    ending, going_on = asyncio.Event(), asyncio.Event()

    async def main() -> None:
        await feed
        await ending.wait()
        closing = asyncio.create_task(opening.here().close(5))
        await asyncio.sleep(0)
        assert db() == "db"
        going_on.set()
        await closing

    run(main)
    assert said == ["+db", "-feed", "-db"]
    assert told() == [f"closing {feed} failed"]


@pytest.mark.parametrize("again", [False, True])
def test_what_was_lost_before_the_worker_serves_is_said_when_it_does(
    again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it was opened again."""

    @leeward.per_worker
    async def feed() -> AsyncIterator[str]:
        yield "feed"

    log, told = Log(), list[Any]()
    resources = Resources(log, told.append, lambda: 5.0, lambda: False)  # type: ignore[arg-type]
    resources.lost(feed, ExceptionGroup("", [ExceptionGroup("", [OSError("no line")])]))
    assert log.said == [f"error {feed} is lost: it has closed by itself: OSError: no line"]
    assert told == []
    if again:
        monkeypatch.setattr(feed, "held", Held("feed"))
    resources.watch()
    assert told == ([] if again else [Leaving(f"lost {feed}: OSError: no line", limit=True)])


class Log:
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, level: str, text: str) -> None:
        self.said.append(f"{level} {text}")


def test_of_two_that_overlap_one_is_interrupted() -> None:
    """The first to end would else take the handler away from the second, whose signal kills."""
    loop = asyncio.new_event_loop()
    before = signal.getsignal(LATE)
    try:
        first, second = (interrupting(60.0, loop, lambda task: False) for _ in range(2))
        first.__enter__()
        armed = signal.getsignal(LATE)
        second.__enter__()
        assert signal.getsignal(LATE) is armed is not before
        first.__exit__(None, None, None)
        second.__exit__(None, None, None)
        assert signal.getsignal(LATE) is before
    finally:
        loop.close()


# --- the end of all -----------------------------------------------------------------------

ENDS = """
import asyncio, sys, leeward

@leeward.per_worker
async def db():
    yield "db"
    print("close db", flush=True)

@leeward.per_worker
async def feed():
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(60))
        yield "feed"
        [task.cancel() for task in group._tasks]
    print("close feed", flush=True)

async def later():
    await asyncio.sleep(0)

async def begins_another():
    try:
        await asyncio.sleep(60)
    finally:
        asyncio.create_task(later())

tasks = []

async def main():
    print(await db, await feed, flush=True)
    tasks.append(asyncio.create_task(begins_another()))
    await asyncio.sleep(0)
"""


@pytest.mark.parametrize("runs", ["asyncio.run(main())", "uvloop.run(main())"])
def test_the_end_of_a_run_closes_all_in_order(runs: str) -> None:
    """Even if a task that is cancelled begins another, which is not."""
    if "uvloop" in runs and importlib.util.find_spec("uvloop") is None:
        pytest.skip("uvloop is not installed")
    module = runs.partition(".")[0]
    assert program(f"{ENDS}\nimport {module}\n{runs}") == (0, "db feed\nclose feed\nclose db\n")


def test_the_end_of_a_run_closes_one_that_is_alone(
    said: list[str], told: Callable[[], list[str]]
) -> None:
    """Nothing else is there to be cancelled; but the loop stands still."""
    a = recording(said, "a")

    async def main() -> None:
        await a

    asyncio.run(main())
    assert (said, told()) == (["+a", "-a"], [])


def test_a_shutdown_of_the_program_s_own_closes_all_in_order(
    said: list[str], told: Callable[[], list[str]]
) -> None:
    """It cancels all tasks but itself, while the loop runs."""
    a, b = recording(said, "a"), recording(said, "b")

    async def main() -> None:
        await a
        await b
        me = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not me]
        for task in others:
            task.cancel()
        await asyncio.wait(others, timeout=10)
        assert said == ["+a", "+b", "-b", "-a"]

    asyncio.run(main())
    assert told() == []


def test_a_shutdown_one_by_one_skips_no_closer(said: list[str]) -> None:
    """Each is cancelled and waited for before the next: of the first nobody can tell why."""
    a, b = recording(said, "a"), recording(said, "b")

    async def main() -> None:
        await a
        await b
        me, idle = asyncio.current_task(), asyncio.create_task(asyncio.sleep(100))
        for task in asyncio.all_tasks() - {me}:
            task.cancel()
            await asyncio.wait({task}, timeout=10)
        assert idle.cancelled()

    asyncio.run(main())
    assert sorted(said) == ["+a", "+b", "-a", "-b"]


def test_a_shutdown_with_nobody_else_there_is_no_loss(
    said: list[str], told: Callable[[], list[str]]
) -> None:
    """A program whose callbacks do the work, and one of them the end."""
    a = recording(said, "a")
    loop = asyncio.new_event_loop()

    async def shutdown() -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.wait(others, timeout=10)
        loop.stop()

    async def begin() -> None:
        await a

    with contextlib.closing(loop):
        loop.run_until_complete(begin())
        loop.call_soon(lambda: ends.append(loop.create_task(shutdown())))
        ends: list[asyncio.Task[None]] = []
        loop.run_forever()
    assert (said, told()) == (["+a", "-a"], [])


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks come with Python 3.12")
def test_eager_tasks(said: list[str], told: Callable[[], list[str]]) -> None:
    """One that opens without waiting is open before its task is known."""
    a = recording(said, "a")

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        await a

    asyncio.run(main())
    assert (said, told()) == (["+a", "-a"], [])


def test_the_end_of_a_test_of_tornado_s_closes_all_in_order(
    said: list[str], told: Callable[[], list[str]]
) -> None:
    a, b = recording(said, "a"), recording(said, "b")

    class Case(AsyncTestCase):
        @gen_test
        async def runTest(self) -> None:
            await a
            await b

    result = Case().run()
    assert result is not None and result.wasSuccessful(), result.errors
    assert said == ["+a", "+b", "-b", "-a"]
    assert told() == []
