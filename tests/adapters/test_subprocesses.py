"""leeward.adapters.subprocesses: a child's exit is told on both loops, whoever reaped it."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from tornado.process import CalledProcessError, Subprocess

from leeward.adapters import subprocesses
from leeward.engine.accelerate import pristine as knowledge
from leeward.engine.accelerate.pristine import pristine

ORIGINAL = {name: vars(Subprocess)[name] for name in subprocesses.REPLACED}
LOOPS = ["asyncio", *(["uvloop"] if importlib.util.find_spec("uvloop") else [])]
PATIENCE = 20

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs a coroutine on a loop of this kind, with Subprocess as workers have it."""
    subprocesses.install()
    made: Any = asyncio
    if request.param == "uvloop":
        import uvloop

        made = uvloop

    def run(work: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=made.new_event_loop) as runner:
            return runner.run(asyncio.wait_for(work, PATIENCE))

    yield run
    Subprocess.uninitialize()
    for name, function in ORIGINAL.items():
        setattr(Subprocess, name, function)
    assert not Subprocess._waiting
    assert not subprocesses._watched


def shell(script: str, **kwargs: Any) -> Subprocess:
    return Subprocess(["/bin/sh", "-c", script], **kwargs)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# --- as Tornado has it -----------------------------------------------------------------------


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", -9)])
def test_the_code_is_told(run: Run, script: str, code: int) -> None:
    async def work() -> None:
        child = shell(script)
        assert await child.wait_for_exit(raise_error=False) == code
        assert child.returncode == child.proc.returncode == code

    run(work())


def test_an_error_is_raised_if_wanted(run: Run) -> None:
    async def work() -> None:
        with pytest.raises(CalledProcessError) as caught:
            await shell("exit 3").wait_for_exit()
        assert caught.value.returncode == 3

    run(work())


def test_a_callback_comes_later_even_if_the_exit_came_first(run: Run) -> None:
    """Never before set_exit_callback returns: Tornado tells it in another turn."""

    async def work() -> None:
        child = shell("exit 5")
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        told: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        child.set_exit_callback(told.set_result)
        assert not told.done() and child.returncode is None
        assert await told == 5

    run(work())


def test_the_last_callback_is_the_one(run: Run) -> None:
    async def work() -> None:
        child = shell("read line; exit 4", stdin=Subprocess.STREAM)
        heard: list[int] = []
        child.set_exit_callback(heard.append)
        waiting = child.wait_for_exit(raise_error=False)
        child.stdin.close()
        assert await waiting == 4
        assert heard == []

    run(work())


def test_many_at_once(run: Run) -> None:
    """Each has its own code, and nothing is left open."""

    async def work() -> None:
        before = descriptors()
        children = [shell(f"exit {code}") for code in range(60)]
        codes = await asyncio.gather(*(it.wait_for_exit(False) for it in children))
        assert codes == list(range(60))
        assert descriptors() == before

    run(work())


def test_streams_end_and_so_does_the_child(run: Run) -> None:
    async def work() -> None:
        child = shell("cat; echo end >&2", **dict.fromkeys(("stdin", "stdout"), Subprocess.STREAM))
        await child.stdin.write(b"hello")
        child.stdin.close()
        assert await child.stdout.read_until_close() == b"hello"
        await child.wait_for_exit()

    run(work())


def test_uninitialize_tells_no_more_until_initialize(run: Run) -> None:
    async def work() -> None:
        child = shell("read line; exit 2", stdin=subprocess.PIPE)
        before = descriptors()
        heard: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        child.set_exit_callback(heard.set_result)
        Subprocess.uninitialize()
        assert not Subprocess._initialized
        assert descriptors() == before
        child.stdin.close()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        await asyncio.sleep(0)
        assert not heard.done()
        Subprocess.initialize()
        assert await heard == 2

    run(work())


# --- hard places -----------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 6])
def test_one_that_was_polled_is_told_with_its_code(run: Run, code: int) -> None:
    """Tornado would never call back."""

    async def work() -> None:
        early, late = shell(f"exit {code}"), shell(f"read line; exit {code}", stdin=subprocess.PIPE)
        early.proc.wait()
        assert await early.wait_for_exit(raise_error=False) == code
        waiting = late.wait_for_exit(raise_error=False)
        late.stdin.close()
        late.proc.wait()
        assert await waiting == code

    run(work())


def test_a_thread_that_waits_gets_the_code_too(run: Run) -> None:
    async def work() -> None:
        child = shell("read line; exit 9", stdin=subprocess.PIPE)
        codes: list[int] = []
        thread = threading.Thread(target=lambda: codes.append(child.proc.wait()))
        thread.start()
        waiting = child.wait_for_exit(raise_error=False)
        child.stdin.close()
        assert await waiting == 9
        await asyncio.to_thread(thread.join, PATIENCE)
        assert codes == [9]

    run(work())


def test_one_whose_status_is_lost_is_told_as_unknown(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        early, late = shell("exit 0"), shell("read line; exit 0", stdin=subprocess.PIPE)
        os.waitpid(early.pid, 0)
        assert await early.wait_for_exit(raise_error=False) == subprocesses.UNKNOWN
        waiting = late.wait_for_exit(raise_error=False)
        late.stdin.close()
        os.waitpid(late.pid, 0)
        assert await waiting == subprocesses.UNKNOWN

    with caplog.at_level(logging.WARNING, "leeward"):
        run(work())
    assert len(caplog.records) == 2


def test_children_that_the_kernel_reaps_are_told(run: Run) -> None:
    """SIGCHLD ignored: nobody ever learns their status."""

    async def work() -> None:
        child = shell("read line", stdin=subprocess.PIPE)
        before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        try:
            waiting = child.wait_for_exit(raise_error=False)
            child.stdin.close()
            assert await waiting == subprocesses.UNKNOWN
        finally:
            signal.signal(signal.SIGCHLD, before)

    run(work())


def test_without_descriptors_it_is_looked_at(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        child = shell("read line; exit 8", stdin=subprocess.PIPE)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            with pytest.raises(OSError):
                os.pidfd_open(child.pid)
            waiting = child.wait_for_exit(raise_error=False)
            child.stdin.close()
            assert await waiting == 8
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    monkeypatch.setattr(subprocesses, "LOOK", 0.01)
    run(work())


def test_a_forked_process_leaves_the_watch_alone(run: Run) -> None:
    """It has the parent's epoll set: what it takes out of it would be out of the parent's."""

    async def work() -> None:
        child = shell("read line; exit 1", stdin=subprocess.PIPE)
        waiting = child.wait_for_exit(raise_error=False)
        pid = os.fork()
        if not pid:
            Subprocess.uninitialize()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        child.stdin.close()
        assert await waiting == 1

    run(work())


def test_from_another_thread_it_is_told_on_its_loop(run: Run) -> None:
    async def work() -> None:
        child = shell("exit 3")
        told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def tell(code: int) -> None:
            told.set_result((code, threading.current_thread()))

        await asyncio.to_thread(child.set_exit_callback, tell)
        assert await told == (3, threading.current_thread())

    run(work())


def test_asyncio_s_own_children_are_left_to_it(run: Run) -> None:
    async def work() -> None:
        async def theirs(code: int) -> int:
            process = await asyncio.create_subprocess_exec("/bin/sh", "-c", f"exit {code}")
            return await process.wait()

        ours = [shell(f"exit {code}").wait_for_exit(raise_error=False) for code in range(10)]
        found = await asyncio.gather(*(theirs(code) for code in range(10)), *ours)
        assert found == [*range(10), *range(10)]

    run(work())


# --- the guard -------------------------------------------------------------------------------


def test_this_tornado_is_known() -> None:
    assert [it for it in subprocesses.NEEDS if not pristine(it)] == []


@pytest.mark.parametrize("path", subprocesses.NEEDS)
def test_an_unknown_tornado_is_left_alone(
    path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    table = {python: {**rows, path: frozenset()} for python, rows in knowledge.KNOWN.items()}
    monkeypatch.setattr(knowledge, "KNOWN", table)
    with caplog.at_level(logging.WARNING, "leeward"):
        subprocesses.install()
    assert {name: vars(Subprocess)[name] for name in ORIGINAL} == ORIGINAL
    assert len(caplog.records) == 1 and f"{path} of Tornado" in caplog.text


def test_tornado_s_own_tests_of_it_pass(tmp_path: Any) -> None:
    """tornado.test.process_test, with ours in place, on each loop."""
    code = (
        "import asyncio, sys, unittest\n"
        "if sys.argv.pop() == 'uvloop':\n"
        "    import uvloop; asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())\n"
        "from leeward.adapters import subprocesses\n"
        "import tornado.test.runtests\n"
        "subprocesses.install()\n"
        "unittest.main('tornado.test.process_test', argv=['', 'SubprocessTest'])\n"
    )
    for loop in LOOPS:
        done = subprocess.run(
            [sys.executable, "-c", code, loop], capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 0 and "OK" in done.stderr, done.stderr
