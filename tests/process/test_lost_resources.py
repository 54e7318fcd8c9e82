"""A resource that its own scope ends: its worker serves on with the others, and is replaced."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from process.clients import address_of, get
from process.support import APPS, until

from leeward.testing import serve

#: A handler that cancels all other tasks, as a program does that shuts down.
CANCELS = """
import asyncio, os, leeward
from tornado.web import Application, RequestHandler

def resource(name):
    async def factory():
        yield name
        os.write(2, f"close {name}\\n".encode())
    factory.__name__ = factory.__qualname__ = name
    return leeward.per_worker(factory)

db, cache = resource("db"), resource("cache")

class Cancels(RequestHandler):
    async def get(self):
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                task.cancel()

def make_app():
    return Application([("/", Cancels)])
"""

FACTORY = ("loses_its_feed", "--start", "zygote", "--loop", "asyncio")
ERRORS = {"group": "ConnectionResetError: no line", "time-out": "TimeoutError"}


@pytest.mark.parametrize(
    ("how", "command"),
    [
        ("group", FACTORY),
        ("time-out", FACTORY),
        ("group", ("loses_its_feed", "--start", "spawn", "--loop", "uvloop")),
        ("group", ("loses_its_feed.py", "--kind", "script")),
    ],
    ids=["group", "time-out", "group spawn uvloop", "group adopted"],
)
def test_a_lost_one_takes_no_other_along_and_its_worker_is_replaced(
    how: str, command: tuple[str, ...], tmp_path: Path
) -> None:
    """Told with its line and its error, no pass for its check; nothing of `db` before the drain."""
    if "uvloop" in command and importlib.util.find_spec("uvloop") is None:
        pytest.skip("uvloop is not installed")
    (tmp_path / "hold").touch()
    env = {"PLACE": str(tmp_path), "HOW": how}
    with serve(*command, "-w", "1", cwd=APPS, env=env) as service:
        address = address_of(service.wait_ready(1))
        [first] = [worker["pid"] for worker in service.workers()]
        (tmp_path / "fails").touch()
        name, error = r"feed \(loses_its_feed.py:\d+\)", re.escape(ERRORS[how])
        service.wait_line(rf"error .*closing {name} failed: {error}.*loses_its_feed.py:\d+ in ")
        service.wait_line(rf"error .*{name} is lost: it has closed by itself: {error}$")
        service.wait_line(rf"pid={first} asks to be replaced \(lost {name}: {error}\)")
        service.wait_line(r"second feed \d+$")
        found = get(address)
        assert (found.status, found.json["db"], found.json["pid"]) == (200, first, first)
        assert re.match(rf"{name} has closed by itself", found.json["feed"])
        service.wait_line(rf"warning .*{name} fails its check: it is not open any more")
        until(lambda: service.workers()[0]["ailing"], "ps to tell")
        assert f"close db {first}" not in service.log
        (tmp_path / "fails").unlink()
        (tmp_path / "hold").unlink()
        service.wait_line(rf"close db {first}$")
        second = get(address).json
        assert second["db"] == second["pid"] != first


def test_an_application_that_cancels_all_tasks_loses_all_in_order(tmp_path: Path) -> None:
    """And its worker, which goes on without them, is replaced."""
    (tmp_path / "cancels.py").write_text(CANCELS)
    with serve("cancels", "-w", "1", cwd=tmp_path) as service:
        address = address_of(service.wait_ready(1))
        [first] = [worker["pid"] for worker in service.workers()]
        assert get(address).status == 200
        service.wait_line(rf"pid={first} asks to be replaced \(lost db .*: with all other tasks\)")
        until(lambda: first not in [it["pid"] for it in service.workers()], "the replacement")
        closed = [line for line in service.lines if line.startswith("close ")]
        assert closed == ["close cache", "close db"]
