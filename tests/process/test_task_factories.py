"""An application's task factory that makes no tasks: said before it serves, survived after."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from pathlib import Path

import pytest
from apps import task_factories as apps
from process.clients import Http, address_of, get
from process.support import APPS, PATIENCE, links, until

from leeward.testing import Service, serve

LOOPS = ("asyncio", "uvloop")
CLIENTS = 20


def needs(loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")


def refused_by_uvloop(factory: apps.TaskFactory | None) -> None:
    """Skips where uvloop alone is able to call it: that hangs on its version and Python's."""
    uvloop = pytest.importorskip("uvloop")
    if factory is None:
        pytest.skip(f"Python {sys.version.split()[0]} has no eager_task_factory")
    loop, work = uvloop.new_event_loop(), asyncio.sleep(0)
    loop.set_task_factory(factory)
    try:
        loop.run_until_complete(loop.create_task(work))
        pytest.skip("uvloop calls this factory with what it takes")
    except TypeError:
        work.close()
    finally:
        loop.close()


def said_why(service: Service) -> list[str]:
    """The lines of the error with which the first start has failed."""
    assert service.wait() == 3, service.log
    assert not re.search(r"\bready$|Traceback|never awaited|while leaving", service.log, re.M)
    [at] = [at for at, line in enumerate(service.lines) if line.startswith("leeward: ")]
    error = service.lines[at + 1 :]
    assert len(error) <= 4, service.log
    return error


FACTORIES = {
    "two": apps.takes_two,
    "document": apps.documented,
    "eager": getattr(asyncio, "eager_task_factory", None),
    "at_once": apps.takes_two,
}


@pytest.mark.parametrize("name", FACTORIES)
def test_one_that_uvloop_cannot_call_is_named_before_anything_is_served(name: str) -> None:
    factory = FACTORIES[name]
    refused_by_uvloop(factory)
    assert factory is not None
    with serve(f"task_factories:{name}", "--loop", "uvloop", cwd=APPS) as service:
        why, which, remedy, _ = said_why(service)
    assert re.search(r"task factory makes no task when uvloop calls it: TypeError: ", why)
    assert "unexpected keyword argument" in why
    code = factory.__code__
    assert f":{factory.__qualname__} (" in which
    assert f"{Path(code.co_filename).name}:{code.co_firstlineno})" in which
    assert remedy.endswith("factory(loop, coro, **kwargs); or serve with --loop asyncio")


@pytest.mark.parametrize("name", ["two", "document", "eager", "at_once"])
def test_what_the_remedy_says_helps(name: str) -> None:
    """On asyncio the same factories serve."""
    with serve(f"task_factories:{name}", "--loop", "asyncio", cwd=APPS) as service:
        status = get(address_of(service.wait_ready())).status
        assert status == (404 if name == "at_once" else 200)
        assert service.stop() == 0


@pytest.mark.parametrize("engine", ["leeward", "tornado"])
@pytest.mark.parametrize("loop", LOOPS)
def test_one_that_takes_whatever_is_passed_serves(loop: str, engine: str) -> None:
    needs(loop)
    flags = ("--loop", loop, "--engine", engine)
    with serve("task_factories:will", *flags, cwd=APPS) as service:
        assert get(address_of(service.wait_ready())).body == b"ok"
        assert service.stop() == 0
        assert "Traceback" not in service.log


def test_one_that_raises_is_named_on_asyncio_too() -> None:
    with serve("task_factories:cannot", "--loop", "asyncio", cwd=APPS) as service:
        why, which, remedy, _ = said_why(service)
    assert why.endswith("no task when asyncio calls it: RuntimeError: no tasks today")
    assert "task_factories:unable (task_factories.py:" in which
    assert "--loop" not in remedy


def test_that_of_a_program_is_named(tmp_path: Path) -> None:
    """It runs its loop itself: no flag of ours chooses another."""
    refused_by_uvloop(apps.takes_two)
    (tmp_path / "program.py").write_text(
        "import asyncio, uvloop\n"
        "from tornado.web import Application\n"
        "def takes_two(loop, coro):\n"
        "    return asyncio.Task(coro, loop=loop)\n"
        "async def main():\n"
        "    asyncio.get_running_loop().set_task_factory(takes_two)\n"
        "    Application().listen(8888)\n"
        "    await asyncio.Event().wait()\n"
        "uvloop.install()\n"
        "asyncio.run(main())\n"
    )
    with serve("program.py", cwd=tmp_path) as service:
        assert service.wait() == 3, service.log
        assert "__main__:takes_two (program.py:3)" in service.log
        assert "factory(loop, coro, **kwargs)\n" in service.log
        assert "--loop asyncio" not in service.log


@pytest.mark.parametrize("flags", [(), ("--proxy-protocol", "v1", "--engine", "tornado")])
@pytest.mark.parametrize("loop", LOOPS)
def test_who_cannot_be_served_is_closed_and_said_once(loop: str, flags: tuple[str, ...]) -> None:
    """Set by a handler: each connection ends, none is counted or kept, no drain waits for one."""
    needs(loop)
    header = b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n" if flags else b""
    asked = ("--loop", loop, "-w", "1", "--graceful-timeout", f"{2 * PATIENCE:g}", *flags)
    with serve("task_factories:none", *asked, cwd=APPS) as service:
        address = address_of(service.wait_ready())
        pid = service.workers()[0]["pid"]
        with Http(address) as client:
            client.sock.sendall(header)
            assert client.get("/break", "Connection: close").body == b"broken"
            assert client.at_end()
        until(lambda: service.workers()[0]["connections"] == 0, "the first has gone")
        before = links(pid)
        for _ in range(CLIENTS):
            with Http(address) as client:
                assert client.cut()
        # The last client hears of its end a moment before that is counted.
        until(lambda: service.workers()[0]["connections"] == 0, "nobody is counted")
        assert len(links(pid)) == len(before)
        service.wait_line(
            r"closed a connection that cannot be served: RuntimeError: no tasks today "
            r"\(task_factories\.py:\d+ in unable\)"
        )
        service.signal(signal.SIGTERM)
        service.wait_line(r"draining \(stop\): 0 connections")
        assert service.wait() == 0
        assert service.log.count("closed a connection that") < CLIENTS / 2
        assert not re.search(r"Traceback|never awaited|while leaving|deadline", service.log)
