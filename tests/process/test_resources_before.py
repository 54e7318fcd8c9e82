"""Resources that are asked for before the worker opens them: by a factory, by a program."""

from __future__ import annotations

from pathlib import Path

import pytest
from process.clients import address_of, get

from leeward.testing import Service, serve

SHOP = """
import asyncio, os, leeward
from tornado.web import Application, RequestHandler

def say(words):
    os.write(2, f"{words} {os.getpid()}\\n".encode())

@leeward.per_worker
async def db():
    say("open")
    yield os.getpid()
    say("close")

class Values(RequestHandler):
    def get(self):
        self.write({"db": db(), "pid": os.getpid()})

app = Application([("/", Values)])
"""


def lives(service: Service, pid: int) -> list[str]:
    return [line.split()[0] for line in service.lines if line in (f"open {pid}", f"close {pid}")]


# --- in a program ------------------------------------------------------------------------

MIGRATES = """
from tornado.ioloop import IOLoop

async def migrate():
    assert await db == db() == os.getpid()

async def main():
    app.listen(0, "127.0.0.1")
    await asyncio.Event().wait()

asyncio.run(migrate())
"""
SERVES = {
    "IOLoop": 'app.listen(0, "127.0.0.1")\nIOLoop.current().start()\n',
    "asyncio.run": "asyncio.run(main())\n",
}


@pytest.mark.parametrize("serves", SERVES)
@pytest.mark.parametrize("rehearsed", [False, True], ids=["bound", "rehearsed"])
def test_a_program_may_prepare_with_them(serves: str, rehearsed: bool, tmp_path: Path) -> None:
    """They are closed with that loop, and open again in the one that serves."""
    (tmp_path / "own.py").write_text(SHOP + MIGRATES + SERVES[serves])
    flags, bind = (("-w", "2"), None) if rehearsed else (("-w", "1"), "127.0.0.1:0")
    with serve("own.py", "--kind", "script", *flags, cwd=tmp_path, bind=bind) as service:
        address = address_of(service.wait_ready(2 if rehearsed else 1))
        pids = [worker["pid"] for worker in service.workers()]
        found = get(address).json
        assert found["db"] == found["pid"] in pids
        assert [lives(service, pid) for pid in pids] == [["open", "close", "open"]] * len(pids)
        assert service.stop() == 0
        assert [lives(service, pid)[3:] for pid in pids] == [["close"]] * len(pids)
        assert "error" not in service.log


# --- in a factory ------------------------------------------------------------------------

FACTORY = """
import os

async def make_app():
    from shop import app, db
    assert await db == db() == os.getpid()
    {then}
    return app
"""


@pytest.mark.parametrize("start", ["zygote", "spawn"])
def test_a_factory_may_be_the_first_to_import_them(start: str, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "late.py").write_text(FACTORY.format(then=""))
    with serve("late:make_app", "-w", "1", "--start", start, cwd=tmp_path) as service:
        found = get(address_of(service.wait_ready(1))).json
        assert found["db"] == found["pid"]
        assert service.stop() == 0
        assert lives(service, found["pid"]) == ["open", "close"]


def test_what_a_factory_has_opened_so_is_closed_when_it_fails(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "late.py").write_text(FACTORY.format(then="raise ValueError('no')"))
    with serve("late:make_app", "-w", "1", "--start", "spawn", cwd=tmp_path) as service:
        assert service.wait() == 3
        pid = int(service.wait_line(r"^open (\d+)$")[1])
        assert lives(service, pid) == ["open", "close"]


FORKS = """
import os

def make_app():
    pid = os.fork()
    if not pid:
        from shop import db
        try:
            db()
        except Exception as error:
            os.write(2, f"{error}\\n".encode())
        os._exit(0)
    os.waitpid(pid, 0)
    from shop import app
    return app
"""


def test_a_fork_that_imports_them_first_is_told_what_it_is(tmp_path: Path) -> None:
    """It is no worker, and not one that is to come."""
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "late.py").write_text(FORKS)
    with serve("late:make_app", "-w", "1", cwd=tmp_path) as service:
        service.wait_line(r"^db \(shop.py:\d+\) is open in the worker, and this is process \d+")
        service.wait_ready(1)


MAIN = """
import asyncio

async def main():
    from shop import app, db
    await db
    app.listen(0, "127.0.0.1")
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_program_may_import_them_in_its_main(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "own.py").write_text(MAIN)
    with serve("own.py", "--kind", "script", "-w", "1", cwd=tmp_path, bind=None) as service:
        found = get(address_of(service.wait_ready(1))).json
        assert found["db"] == found["pid"]
        assert service.stop() == 0
        assert lives(service, found["pid"]) == ["open", "close"]
