"""What stands before and behind the serving of an adopted program is run as by itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from process.clients import Http, address_of
from process.support import PATIENCE, until

from leeward.testing import Service, serve

#: Each program says on stderr what it comes to.
HEAD = """\
import asyncio, builtins, multiprocessing, os, signal, sys, time
from tornado.ioloop import IOLoop
from tornado.web import Application, RequestHandler

def say(*words):
    print(*words, file=sys.stderr, flush=True)

class Hello(RequestHandler):
    def get(self):
        self.write("hello")

app = Application([("/", Hello)])

async def work(word):
    await asyncio.sleep(0.01)
    say(word)

async def main():
    app.listen(0, "127.0.0.1")
    await asyncio.Event().wait()
"""


def program(directory: Path, text: str, *flags: str) -> Any:
    (directory / "own.py").write_text(HEAD + text, encoding="utf-8")
    return serve("own.py", "--kind", "script", *flags, cwd=directory, bind=None)


def answers(service: Service) -> bool:
    service.wait_ready(1)
    with Http(address_of(service)) as client:
        return client.get("/").status == 200


# --- before ------------------------------------------------------------------------------

LISTEN = 'app.listen(0, "127.0.0.1")\n'
BEFORE = {
    "asyncio_run": f"asyncio.run(work('prepared'))\n{LISTEN}IOLoop.current().start()\n",
    "run_until_complete": (
        f"asyncio.set_event_loop(asyncio.new_event_loop())\n{LISTEN}asyncio.get_event_loop().run_until_complete(asyncio.Event().wait())\n"
    ),
    "prepared_run_forever": (
        "asyncio.run(work('prepared'))\nasyncio.set_event_loop(asyncio.new_event_loop())\n"
        f"{LISTEN}asyncio.get_event_loop().run_forever()\n"
    ),
}


@pytest.mark.parametrize("way", BEFORE)
def test_each_way_to_run_the_loop_is_rehearsed_and_served(tmp_path: Path, way: str) -> None:
    """After an `asyncio.run` that prepares, and by asyncio's own calls: it serves, and drains."""
    with program(tmp_path, BEFORE[way], "--start-timeout", "5s") as service:
        assert answers(service)
        assert service.stop() == 0
        assert "Traceback" not in service.log


@pytest.mark.parametrize("prepares", ["asyncio.sleep(0.1)", "work('prepared')"])
def test_a_preparation_behind_listen(tmp_path: Path, prepares: str) -> None:
    """As by itself: not the loop of the preparation serves, but the one that runs then."""
    text = f"loop = IOLoop.current()\n{LISTEN}asyncio.run({prepares})\nloop.start()\nsay('ends')\n"
    with program(tmp_path, text) as service:
        assert answers(service)
        assert service.stop() == 0
        assert "ends" in service.log
        assert "Traceback" not in service.log


def test_a_long_preparation_behind_listen_is_refused(tmp_path: Path) -> None:
    """By then its loop serves, as that of a program which never gets to another."""
    text = f"loop = IOLoop.current()\n{LISTEN}asyncio.run(asyncio.sleep(2.5))\nloop.start()\n"
    with program(tmp_path, text) as service:
        service.wait_line("listens, prepares by asyncio.run\\(\\) for more than 2 s and serves by")


def test_builtins_is_a_module(tmp_path: Path) -> None:
    """`__builtins__` of ``__main__`` is the module, as the interpreter makes it."""
    with program(tmp_path, "assert __builtins__ is builtins\nasyncio.run(main())\n") as service:
        assert answers(service)


@pytest.mark.parametrize(
    ("way", "first"),
    [("IOLoop.current().run_sync(lambda: {})", ""), ("asyncio.run({})", LISTEN)],
    ids=["before", "behind"],
)
def test_a_forked_child_runs_a_loop(tmp_path: Path, way: str, first: str) -> None:
    """Before the server has an address and behind that: a child that does not serve lives."""
    text = (
        f"def child():\n    {way.format('work(WORD)')}\n    sys.exit(7)\n"
        "WORD = 'the child works'\n"
        "def begin():\n"
        "    one = multiprocessing.get_context('fork').Process(target=child)\n"
        "    one.start(); one.join(); say('the child ended by', one.exitcode)\n"
        f"{first}begin()\n"
        f"{'' if first else LISTEN}IOLoop.current().start()\n"
    )
    with program(tmp_path, text) as service:
        assert answers(service)
        assert "the child works" in service.log
        assert set(re.findall("the child ended by (.*)", service.log)) == {"7"}, service.log
        assert service.stop() == 0


def test_a_forked_child_that_starts_the_loop_of_its_parent(tmp_path: Path) -> None:
    """It would serve beside the workers: it ends, and is told so."""
    text = f"{LISTEN}loop = IOLoop.current()\nos.fork()\nloop.start()\n"
    with program(tmp_path, text, "--start", "spawn") as service:
        assert answers(service)
        service.wait_line(r"IOLoop\.start\(\) in a process that the program forked itself")
        assert service.stop() == 0


# --- behind ------------------------------------------------------------------------------

RUN_SYNC = (
    "try:\n    IOLoop.current().start()\nfinally:\n"
    "    IOLoop.current().run_sync(lambda: work('first'))\n    say('second')\n"
)
BEHIND = {
    "start_and_run_sync": LISTEN + RUN_SYNC,
    "asyncio_run": "try:\n    asyncio.run(main())\nexcept KeyboardInterrupt:\n"
    "    async def fail(): say('first'); raise RuntimeError\n"
    "    try:\n        asyncio.run(fail())\n    except RuntimeError:\n        say('second')\n",
    "run_sync": "try:\n    IOLoop.current().run_sync(main)\nexcept KeyboardInterrupt:\n"
    "    IOLoop.current().run_sync(lambda: work('first'))\n    say('second')\n",
}


@pytest.mark.parametrize("way", BEHIND)
def test_what_stands_behind_the_serving_is_done(tmp_path: Path, way: str) -> None:
    """A clean-up on a loop, and what stands behind that, is done after the drain."""
    with program(tmp_path, BEHIND[way]) as service:
        assert answers(service)
        assert service.stop() == 0
        assert re.search("first\n(.*\n)*second\n", service.log), service.log
        assert "Traceback" not in service.log


CLEANS = """
class Never(RequestHandler):
    async def get(self):
        await asyncio.Event().wait()

app = Application([("/", Hello), ("/never", Never)])

async def clean():
    try:
        await main()
    finally:
        await asyncio.sleep(0.8)
        say("cleaned up")

asyncio.run(clean())
"""


BY_EVENT = """
async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    app.listen(0, "127.0.0.1")
    await stop.wait()
    await asyncio.sleep(0.1)
    say("flushed")
"""
HANDLES_TERM = {
    "event": BY_EVENT + "asyncio.run(main())\nsay('behind')\n",
    "event_run_sync": BY_EVENT + "IOLoop.current().run_sync(main)\nsay('behind')\n",
    "loop_stop": (
        "def ends(signum, frame):\n"
        "    say('flushed')\n    IOLoop.current().add_callback_from_signal(IOLoop.current().stop)\n"
        f"signal.signal(signal.SIGTERM, ends)\n{LISTEN}IOLoop.current().start()\nsay('behind')\n"
    ),
    "cleans_long": (
        "async def clean():\n    await asyncio.sleep(1.4)\n    say('behind')\n"
        "def ends(signum, frame):\n"
        "    say('flushed')\n    IOLoop.current().add_callback_from_signal(IOLoop.current().stop)\n"
        f"signal.signal(signal.SIGTERM, ends)\n{LISTEN}IOLoop.current().start()\n"
        "IOLoop.current().run_sync(clean)\n"
    ),
    "cleans_long_by_asyncio": (
        "async def clean():\n    await asyncio.sleep(1.4)\n    say('behind')\n"
        "loop = asyncio.new_event_loop()\nasyncio.set_event_loop(loop)\n"
        "loop.add_signal_handler(signal.SIGTERM, lambda: (say('flushed'), loop.stop()))\n"
        f"{LISTEN}loop.run_forever()\nloop.run_until_complete(clean())\n"
    ),
    "sys_exit": (
        "def ends(signum, frame):\n    say('flushed')\n    sys.exit(0)\n"
        f"signal.signal(signal.SIGTERM, ends)\n{LISTEN}\n"
        "try:\n    IOLoop.current().start()\nfinally:\n    say('behind')\n"
    ),
    "notes_it": (
        "signal.signal(signal.SIGTERM, lambda signum, frame: say('flushed'))\n"
        "try:\n    asyncio.run(main())\nexcept KeyboardInterrupt:\n    say('behind')\n"
    ),
    "raises": (
        "def ends(signum, frame):\n    say('flushed')\n    raise OSError('cannot')\n"
        "signal.signal(signal.SIGTERM, ends)\n"
        "try:\n    asyncio.run(main())\nexcept KeyboardInterrupt:\n    say('behind')\n"
    ),
}


@pytest.mark.parametrize("way", HANDLES_TERM)
def test_its_own_way_to_end_is_gone(tmp_path: Path, way: str) -> None:
    """Behind the drain, by the signal for which it waits; and by ours, where that ends nothing."""
    with program(tmp_path, HANDLES_TERM[way]) as service:
        assert answers(service)
        for count, verb in enumerate(("recycle", "stop"), 1):
            before = service.mark()
            assert service.leeward(verb).returncode == 0
            service.wait_line("flushed", after=before)
            service.wait_line("behind", after=before)
            assert service.log.count("flushed") == count
        assert service.wait() == 0
        assert "Timeout" not in service.log and "Thread 0x" not in service.log


@pytest.mark.parametrize("verb", ["stop", "recycle"])
def test_a_clean_up_has_its_time_behind_a_drain_that_took_all(tmp_path: Path, verb: str) -> None:
    with program(tmp_path, CLEANS, "--graceful-timeout", "5s") as service:
        assert answers(service)
        with Http(address_of(service)) as client:
            client.send("/never")
            until(lambda: service.workers()[0]["in_flight"], "the request to be in flight")
            done = service.begin(verb)
            service.wait_line("drain deadline reached")
            service.wait_line("cleaned up")
            done.communicate(timeout=PATIENCE)
            assert done.returncode == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"{LISTEN}try:\n    IOLoop.current().start()\nfinally:\n    oops\n", "NameError"),
        ("async def clean():\n    try:\n        await main()\n    finally:\n        1 / 0\n"
         "asyncio.run(clean())\n", "ZeroDivisionError"),
        (f"{LISTEN}IOLoop.current().start()\nsys.exit('the disk is full')\n", "the disk is full"),
    ],
    ids=["start", "asyncio_run", "sys_exit"],
)  # fmt: skip
def test_a_clean_up_that_fails_is_told(tmp_path: Path, text: str, told: str) -> None:
    with program(tmp_path, text) as service:
        assert answers(service)
        assert service.stop() == 0
        assert told in service.log
        assert ('own.py", line' in service.log) is ("Error" in told)


@pytest.mark.parametrize(
    "text",
    [
        "while True:\n    try:\n        asyncio.run(main())\n    except KeyboardInterrupt:\n"
        "        say('once more')\n",
        f"while True:\n    {LISTEN}    IOLoop.current().start()\n    say('once more')\n",
    ],
    ids=["asyncio_run", "start"],
)
def test_a_program_that_serves_again_is_not_waited_for(tmp_path: Path, text: str) -> None:
    """One that keeps itself up ends with its drain."""
    with program(tmp_path, text) as service:
        assert answers(service)
        assert service.stop() == 0
        assert service.log.count("once more") == 1
        assert "Timeout" not in service.log and "Traceback" not in service.log


def test_a_signal_in_the_clean_up_disturbs_nothing(tmp_path: Path) -> None:
    """Its loop is closed by then, and nobody is left to be asked."""
    text = (
        "try:\n    asyncio.run(main())\nexcept KeyboardInterrupt:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n    say('cleaned up')\n"
    )
    with program(tmp_path, text) as service:
        assert answers(service)
        assert service.stop() == 0
        assert "cleaned up" in service.log
