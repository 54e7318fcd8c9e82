"""A worker asks to be replaced at a limit: once, with the reason, and it serves on."""

from __future__ import annotations

import asyncio
import re
import weakref

import pytest

from leeward._core.config import Config
from leeward._core.messages import Leaving
from leeward._worker import limits
from leeward._worker.limits import Limits


def test_so_many_requests(serving):
    """It says so at the last one, not again, and goes on."""
    one = serving(max_requests=3, max_requests_jitter=0)
    client = one.connect()
    for _ in range(7):
        assert client.get("/")[0] == 200
    leaving = one.receive(Leaving)
    assert leaving == Leaving("answered 3 requests, --max-requests", limit=True)
    one.drain()
    one.receive(None)


def test_each_draws_its_own_number():
    """From the limit up to the jitter above it; without a limit there is none."""

    async def most(**settings):
        return Limits(Config("x", **settings), print).most

    drawn = {asyncio.run(most(max_requests=100, max_requests_jitter=10)) for _ in range(300)}
    assert drawn == set(range(100, 111))
    assert asyncio.run(most(max_requests_jitter=10)) == 0


def test_an_age(serving):
    """Up to a tenth earlier than the limit."""
    leaving = serving(max_age=0.5).receive(Leaving)
    age = re.fullmatch(r"is ([\d.]+) s old, --max-age", leaving.reason)
    assert age and 0.45 <= float(age[1]) <= 0.5 and leaving.limit


@pytest.mark.parametrize(("bound", "says"), [(2**20, True), (2**40, False)])
def test_its_memory(bound, says, monkeypatch):
    """Measured again and again until it is above the bound; what cannot be told is not."""
    monkeypatch.setattr(limits, "EVERY", 0.001)
    shown = iter([None, 1000, *[300 * 2**20] * 20])
    monkeypatch.setattr(limits.procfs, "pss_bytes", lambda pid: next(shown, None))
    said = []

    async def main():
        Limits(Config("x", max_pss=bound), said.append)
        for _ in range(40):
            await asyncio.sleep(0.001)

    asyncio.run(main())
    assert said == ([Leaving("has 300 MiB of memory, --max-pss", limit=True)] if says else [])


def test_two_limits_are_said_once(monkeypatch):
    """Who has asked to go has asked."""
    said = []

    async def main():
        both = Limits(Config("x", max_age=0.01, max_requests=5), said.append)
        both.answered()
        await asyncio.sleep(0.05)

    asyncio.run(main())
    assert len(said) == 1


def test_its_looks_leave_nothing_behind(monkeypatch):
    """However often it has looked, it keeps one timer: that of the next."""
    monkeypatch.setattr(limits, "EVERY", 0.0)
    looks = []
    kept = weakref.WeakSet()

    async def main():
        loop = asyncio.get_running_loop()
        enough = loop.create_future()
        later = loop.call_later

        def call_later(*args):
            timer = later(*args)
            kept.add(timer)
            return timer

        def pss_bytes(pid):
            looks.append(pid)
            if len(looks) == 50:
                enough.set_result(None)

        monkeypatch.setattr(loop, "call_later", call_later)
        monkeypatch.setattr(limits.procfs, "pss_bytes", pss_bytes)
        it = Limits(Config("x", max_pss=2**40, max_age=1000.0), print)
        await enough
        assert len(kept) <= 3
        it.tune(Config("x"))
        count = len(looks)
        for _ in range(3):
            await asyncio.sleep(0)
        assert len(looks) == count

    asyncio.run(main())
