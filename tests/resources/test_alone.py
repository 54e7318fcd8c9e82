"""Resources without leeward: in a test, in `python app.py`, in a fork of it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

import leeward
from leeward import jobs, opening
from leeward.resources import DECLARED, Resource, mentioned
from leeward.testing import opened, replaced

SRC = str(Path(leeward.__file__).parents[1])


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """Each test begins and ends with nothing open, and forgets what it declared."""
    before = list(DECLARED)
    yield
    assert not opening.here().lives
    DECLARED[:] = before


@pytest.fixture
def said() -> list[str]:
    return []


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), 20))


def program(code: str, *args: str, python: str = sys.executable) -> tuple[int, str]:
    """The status of a program of its own, and what it printed."""
    done = subprocess.run(
        [python, "-c", code, *args],
        env={**os.environ, "PYTHONPATH": SRC},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


# --- the four kinds ------------------------------------------------------------------------


def test_what_a_thread_is_opening_is_waited_for() -> None:
    code = """
import asyncio, threading, leeward
begun, going_on = threading.Event(), threading.Event()
@leeward.per_worker
def model():
    begun.set()
    assert going_on.wait(10)
    return "a model"
async def second():
    return await model
async def main():
    first = asyncio.create_task(asyncio.to_thread(model))
    await asyncio.to_thread(begun.wait, 10)
    other = asyncio.create_task(second())
    await asyncio.sleep(0)
    going_on.set()
    print(await first, "and", await other)
asyncio.run(main())
"""
    assert program(code) == (0, "a model and a model\n")


def test_each_kind_gives_what_it_opened(said: list[str]) -> None:
    """Generators close after their yield; what returns has nothing to close."""

    @leeward.per_worker
    async def stream() -> AsyncIterator[str]:
        yield "stream"
        await asyncio.sleep(0)
        said.append("stream")

    @leeward.per_worker
    def file() -> Iterator[str]:
        yield "file"
        said.append("file")

    @leeward.per_worker
    async def client() -> str:
        return "client"

    @leeward.per_worker
    def number() -> int:
        return 7

    class Later:
        """As asyncpg's pool: made at once, ready when it was awaited."""

        def __await__(self) -> Any:
            yield from asyncio.sleep(0).__await__()
            return "awaited"

    later: Resource[Any] = leeward.per_worker(functools.partial(Later))

    async def main() -> None:
        async with opened(stream, file, client, number, later):
            assert (stream(), file(), client(), number()) == ("stream", "file", "client", 7)
            assert later() == await later == "awaited"
            assert await stream == stream()
        assert said == ["file", "stream"]

    run(main)


def test_what_a_generator_yields_is_not_awaited(said: list[str]) -> None:
    """A task that works until it closes is itself the value, however it is asked for."""

    @leeward.per_worker
    def job() -> Iterator[asyncio.Future[str]]:
        future = asyncio.get_running_loop().create_future()
        future.set_result("done")
        yield future
        said.append("closed")

    async def main() -> None:
        async with opened(job):
            assert (job().result(), await job()) == ("done", "done")
        async with opened():
            assert job().result() == "done"
        assert said == ["closed", "closed"]

    run(main)


def test_alone_the_first_call_opens_what_is_not_asynchronous(said: list[str]) -> None:
    @leeward.per_worker
    def file() -> Iterator[list[str]]:
        said.append("open")
        yield said

    @leeward.per_worker
    async def db() -> AsyncIterator[str]:
        yield "db"

    async def main() -> None:
        async with opened():
            assert file() is file() is said and said == ["open"]
            with pytest.raises(leeward.NotOpen, match=r"`await db` opens it"):
                db()
            assert (await db, db()) == ("db", "db")

    run(main)


def test_a_function_that_yields_nothing_or_twice_is_told() -> None:
    @leeward.per_worker
    async def nothing() -> AsyncIterator[str]:
        if said_nothing:
            yield ""

    @leeward.per_worker
    def twice() -> Iterator[int]:
        yield 1
        yield 2

    said_nothing = False

    async def main() -> None:
        with pytest.raises(RuntimeError, match="nothing .* did not yield anything"):
            await nothing
        with pytest.raises(ExceptionGroup) as raised:
            async with opened(twice):
                pass
        assert "yielded twice" in str(raised.value.exceptions[0])

    run(main)


def test_a_task_group_may_stand_around_the_yield(said: list[str]) -> None:
    """Opened and closed in one task: scopes that ask for that are content."""

    @leeward.per_worker
    async def workers() -> AsyncIterator[asyncio.TaskGroup]:
        async with asyncio.TaskGroup() as group, asyncio.timeout(20):
            yield group
        said.append("all done")

    async def main() -> None:
        async with opened(workers):
            workers().create_task(asyncio.sleep(0))
        assert said == ["all done"]

    run(main)


# --- order ---------------------------------------------------------------------------------


def recording(said: list[str], name: str, *asks: Callable[[], Any]) -> Resource[Any]:
    async def factory() -> AsyncIterator[str]:
        for ask in asks:
            found = ask()
            if isinstance(found, Resource):
                await found
        said.append(f"+{name}")
        yield name
        said.append(f"-{name}")

    factory.__name__ = factory.__qualname__ = name
    return leeward.per_worker(factory)


def test_what_is_asked_for_is_opened_first_and_closed_last(said: list[str]) -> None:
    """By a call that the code shows, by await, by `needs`; declared in any order."""

    @leeward.per_worker
    async def top() -> AsyncIterator[str]:
        middle()  # no await: found by reading the code
        said.append("+top")
        yield ""
        said.append(f"-top {middle()}")

    def helper() -> str:
        return str(low())

    @leeward.per_worker
    async def middle() -> AsyncIterator[str]:
        helper()
        said.append("+middle")
        yield "is still open"
        said.append("-middle")

    low = recording(said, "low", lambda: base)
    base = recording(said, "base")

    @leeward.per_worker(needs=[base])
    def last() -> Iterator[str]:
        said.append("+last")
        yield ""
        said.append("-last")

    async def main() -> None:
        async with opened(top, last):
            assert said == ["+base", "+low", "+middle", "+top", "+last"]
            said.clear()
        assert said == ["-last", "-top is still open", "-middle", "-low", "-base"]

    run(main)


def test_a_cycle_is_told_by_its_names(said: list[str]) -> None:
    a: Resource[Any] = recording(said, "a", lambda: b)
    b: Resource[Any] = recording(said, "b", lambda: c)
    c: Resource[Any] = recording(said, "c", lambda: a)

    async def main() -> None:
        with pytest.raises(leeward.NotOpen, match=r"c \(.*\) → a \(.*\) → b \(.*\) → c \("):
            await a
        assert said == []

    run(main)


def test_a_cycle_of_calls_is_told_too() -> None:
    @leeward.per_worker
    def one() -> Any:
        return two()

    @leeward.per_worker
    def two() -> Any:
        return one()

    @leeward.per_worker
    async def three() -> Any:
        return four()

    @leeward.per_worker
    async def four() -> Any:
        return three()

    async def main() -> None:
        for it in (one, two, three, four):
            with pytest.raises(leeward.NotOpen, match="wait for each other"):
                await it
        with pytest.raises(leeward.NotOpen, match="wait for each other"):
            one()

    run(main)


def test_mentions_after_the_opening_are_no_cycle(said: list[str]) -> None:
    """Two that use each other later open in the order that works."""

    @leeward.per_worker
    async def users() -> AsyncIterator[Callable[[], str]]:
        yield lambda: str(rooms())

    @leeward.per_worker
    async def rooms() -> AsyncIterator[str]:
        await users
        yield "rooms"

    async def main() -> None:
        async with opened(users, rooms):
            assert users()() == "rooms"

    run(main)


def test_a_hidden_call_is_told_how_to_say_it() -> None:
    """What neither the code shows nor an await waits for has to be declared."""

    @leeward.per_worker
    async def db() -> AsyncIterator[str]:
        yield "db"

    by_name = {"db": db}

    def cache() -> str:
        return str(by_name["db"]())

    hidden: Resource[Any] = leeward.per_worker(cache)
    told: Resource[Any] = leeward.per_worker(needs=[db])(cache)

    async def main() -> None:
        with pytest.raises(leeward.NotOpen, match=r"needs=\[db\]"):
            await hidden
        async with opened(told):
            assert told() == "db"

    run(main)


def test_two_who_ask_at_once_open_it_once(said: list[str]) -> None:
    slow = recording(said, "slow", lambda: base)
    base = recording(said, "base")

    async def main() -> None:
        async with opened():
            assert await asyncio.gather(*[_value(slow) for _ in range(5)]) == ["slow"] * 5
            assert said == ["+base", "+slow"]

    run(main)


async def _value(resource: Resource[Any]) -> Any:
    return await resource


# --- failures ------------------------------------------------------------------------------


def test_what_fails_to_open_leaves_nothing_half_open(said: list[str]) -> None:
    first = recording(said, "first")

    @leeward.per_worker(needs=[first])
    async def broken() -> AsyncIterator[str]:
        raise ConnectionRefusedError("no database")
        yield ""

    async def main() -> None:
        with pytest.raises(ConnectionRefusedError):
            async with opened(broken):
                raise AssertionError("not reached")
        assert said == ["+first", "-first"]
        with pytest.raises(ConnectionRefusedError):
            await broken
        assert opening.here().opening == {}
        await opening.here().close(5)

    run(main)


def test_a_closer_that_raises_or_hangs_stops_none(said: list[str]) -> None:
    """Each is resumed, never thrown into: no try and no finally is needed to be closed."""
    last = recording(said, "last")

    @leeward.per_worker(needs=[last])
    async def hangs() -> AsyncIterator[str]:
        yield ""
        await asyncio.Event().wait()

    @leeward.per_worker(needs=[hangs])
    def raises() -> Iterator[str]:
        yield ""
        raise ValueError("cannot close")

    @leeward.per_worker(needs=[raises])
    async def cancels() -> AsyncIterator[str]:
        yield ""
        raise asyncio.CancelledError

    first = leeward.per_worker(needs=[cancels])(recording(said, "first").factory)

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as raised:
            async with opened(first, within=0.5):
                pass
        kinds = [type(it) for it in raised.value.exceptions]
        assert kinds == [RuntimeError, ValueError, TimeoutError]
        assert said == ["+last", "+first", "-first", "-last"]

    run(main)


# --- tests and fakes -------------------------------------------------------------------------


def test_a_fake_takes_its_place(said: list[str]) -> None:
    """Neither the replaced one nor what it needs is opened."""
    db = recording(said, "db")

    @leeward.per_worker
    async def cache() -> AsyncIterator[str]:
        yield f"cache of {db()}"

    async def main() -> None:
        with replaced(db, "fake") as fake:
            async with opened(cache):
                assert (db(), fake, cache()) == ("fake", "fake", "cache of fake")
        assert said == []
        with pytest.raises(leeward.NotOpen):
            db()

    run(main)


@pytest.mark.parametrize("stubborn", [False, True])
def test_what_was_opening_when_its_test_was_cancelled_is_not_left_open(
    stubborn: bool, said: list[str]
) -> None:
    """Its opening is cancelled too; one that opens all the same is closed."""

    @leeward.per_worker
    async def db() -> AsyncIterator[str]:
        begun.set()
        try:
            await going_on.wait()
        except asyncio.CancelledError:
            said.append("cancelled")
            if not stubborn:
                raise
        said.append("+db")
        yield "db"
        said.append("-db")

    begun, going_on = asyncio.Event(), asyncio.Event()

    async def block() -> None:
        async with opened(db):
            said.append("in it")

    async def main() -> None:
        first = asyncio.create_task(block())
        await begun.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert said == (["cancelled", "+db", "-db"] if stubborn else ["cancelled"])
        assert (opening.here().opening, opening.here().lives) == ({}, [])
        said.clear()
        going_on.set()
        await block()
        assert said == ["+db", "in it", "-db"]

    run(main)


def test_what_has_not_begun_to_open_when_the_block_ends_is_forgotten(said: list[str]) -> None:
    """A task that is cancelled before its first step never runs."""
    db = recording(said, "db")

    async def ask() -> str:
        return await db

    async def main() -> None:
        async with opened():
            asking = asyncio.create_task(ask())
            await asyncio.sleep(0)  # it has asked, and what opens has had no turn
            assert db in opening.here().opening and said == []
        assert opening.here().opening == {}
        with pytest.raises(asyncio.CancelledError):
            await asking
        async with opened(db):
            pass
        assert said == ["+db", "-db"]

    run(main)


def test_one_whose_opening_does_not_end_is_told() -> None:
    @leeward.per_worker
    async def db() -> AsyncIterator[str]:
        begun.set()
        while not going_on.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await going_on.wait()
        yield "db"

    begun, going_on = asyncio.Event(), asyncio.Event()

    async def wait() -> str:
        return await db

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as raised:
            async with opened(within=0.05):
                waiting = asyncio.create_task(wait())
                await begun.wait()
        (error,) = raised.value.exceptions
        assert isinstance(error, TimeoutError) and "its opening" in str(error)
        going_on.set()
        assert await waiting == "db"
        await opening.here().close(5)

    run(main)


def test_what_is_wrong_with_a_declaration_is_said_at_once() -> None:
    with pytest.raises(TypeError, match="per_worker decorates a function, not 7"):
        leeward.per_worker(7)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="needs names resources, and 'db' is none"):
        leeward.per_worker(needs=["db"])(lambda: 0)  # type: ignore[list-item]
    with pytest.raises(ValueError, match="expected a duration such as"):
        leeward.per_worker(lambda: 0).check(every="often")
    with pytest.raises(ValueError, match="expected a duration such as"):
        leeward.on_one_worker(every=0)
    with pytest.raises(TypeError, match="on_one_worker decorates a function"):
        leeward.on_one_worker(every=1)(7)  # type: ignore[type-var]


def test_a_job_has_the_same_key_in_every_process() -> None:
    """Whatever is called: what has no name of its own goes by its function, or its class."""

    class Purge:
        def __call__(self) -> None: ...

        def all(self) -> None: ...

    def purge(table: str) -> None: ...

    each = [
        functools.partial(purge, "sessions"),
        functools.partial(functools.partial(purge), "rooms"),
        Purge(),
        Purge().all,
        (5).__abs__,
        lambda: 1,
        lambda: 2,
    ]
    before = set(jobs.DECLARED)
    try:
        for function in each:
            leeward.on_one_worker(every=1)(function)
        made = [jobs.DECLARED[key] for key in jobs.DECLARED if key not in before]
    finally:
        for key in set(jobs.DECLARED) - before:
            del jobs.DECLARED[key]
    here = f"{__name__}:{test_a_job_has_the_same_key_in_every_process.__name__}.<locals>."
    names = ["purge", "purge#2", "Purge", "Purge.all", "<lambda>", "<lambda>#2"]
    keys = [here + name for name in names]
    assert [job.key for job in made] == [*keys[:4], "?:int.__abs__", *keys[4:]]
    assert [job.function for job in made] == each
    shown = [str(job).partition(" (")[0] for job in made]
    assert shown == ["purge", "purge#2", "Purge", "all", "__abs__", "<lambda>", "<lambda>#2"]
    assert [str(job).count("test_alone.py:") for job in made] == [1, 1, 1, 1, 0, 1, 1]


def test_mentions_are_found_without_calling_anything() -> None:
    """By global, by module, in a nested function; not by an unset name."""

    @leeward.per_worker
    def used() -> int:
        return 1

    def outer() -> Any:
        def inner() -> Any:
            return used() + unset()

        return inner()

    resource: Resource[Any] = leeward.per_worker(outer)
    assert mentioned(resource) == [used]
    unset: Resource[Any] = leeward.per_worker(lambda: 2)
    assert set(mentioned(resource)) == {used, unset}


def test_declaring_a_module_anew_replaces_its_resources() -> None:
    """importlib.reload declares once more what is opened once."""

    def make() -> int:
        return 1

    make.__qualname__ = "make"  # as at the top of a module
    before = len(DECLARED)
    first, second = leeward.per_worker(make), leeward.per_worker(make)
    assert len(DECLARED) == before + 1 and DECLARED[-1] is second is not first


# --- programs --------------------------------------------------------------------------------

PROGRAM = """
import asyncio, os, sys
import leeward

@leeward.per_worker
async def db():
    yield "db"
    await asyncio.sleep(0)
    print("close db", flush=True)

@leeward.per_worker
def cache():
    try:
        yield "cache"
        print("close cache", flush=True)
    finally:
        if os.getpid() != first:
            print("SAID GOODBYE IN A FORK", flush=True)

first = os.getpid()

async def background():
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.01)
        print("ended with", db(), flush=True)
"""


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ("asyncio.run(main())", ["ended with db", "close cache", "close db", "end"]),
        ("asyncio.new_event_loop().run_until_complete(main())", ["end", "close cache", "close db"]),
    ],
    ids=["asyncio.run", "a loop that nobody closes"],
)
def test_a_program_closes_what_it_opened(ends: str, expected: list[str]) -> None:
    """When asyncio.run ends, after the program's own tasks; else with the interpreter."""
    code = f"""{PROGRAM}
async def main():
    print(await db, cache(), flush=True)
    tasks.append(asyncio.ensure_future(background()))
    await asyncio.sleep(0)
tasks = []
{ends}
tasks[0].cancel()
print("end", flush=True)
"""
    status, text = program(code)
    assert (status, text.splitlines()[0]) == (0, "db cache"), text
    assert [it for it in text.splitlines()[1:] if it in expected] == expected, text


@pytest.mark.parametrize("how", ["os._exit(0)", "sys.exit(0)", "pass"])
def test_a_fork_has_nothing_and_closes_nothing(how: str) -> None:
    """However the child ends: NotOpen by pid, and no `finally` of its parent's generators."""
    code = f"""{PROGRAM}
async def main():
    print(await db, cache(), flush=True)
    pid = os.fork()
    if not pid:
        for it in (db, cache):
            try:
                print("HAS", it())
            except leeward.NotOpen as error:
                assert str(first) in str(error) and str(os.getpid()) in str(error), error
                print("not open", flush=True)
        {how}
        return
    os.waitpid(pid, 0)
asyncio.run(main())
print("end", flush=True) if os.getpid() == first else None
"""
    status, text = program(code)
    assert status == 0, text
    assert sorted(text.splitlines()) == sorted(
        ["db cache", "not open", "not open", "close cache", "close db", "end"]
    ), text


def test_a_fork_before_anything_was_open_opens_its_own() -> None:
    """As in a program that calls fork_processes() first."""
    code = f"""{PROGRAM}
pid = os.fork()
first = os.getpid()
if pid:
    os.waitpid(pid, 0)
print(cache(), flush=True)
"""
    status, text = program(code)
    assert (status, sorted(text.split("\n")[:-1])) == (0, ["cache"] * 2 + ["close cache"] * 2)
