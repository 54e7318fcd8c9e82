"""What a worker's row says of its loop, on asyncio and on uvloop."""

from __future__ import annotations

import asyncio
import os
import selectors
import signal
import time

import pytest
from worker.harness import PATIENCE

from leeward._core.messages import Watched
from leeward._core.vitals import BEAT
from leeward._sys.bell import Bell
from leeward._sys.page import Page
from leeward._sys.signals import STACK, STACK_IN_C
from leeward._worker.turns import Turns

LOOPS = ("make_app", "on_uvloop")


@pytest.fixture
def page():
    page = Page.create()
    yield page
    page.close()


class Stage:
    """A loop of this process, whose row is watched."""

    def __init__(self, page, loop):
        self.page, self.loop, self.row = page, loop, page.row(0)
        self.bell = Bell()
        self.turns = Turns(loop, page, self.row, os.dup(self.bell.fd))
        self.said = []
        loop.call_soon(self.turns.begin, self.said.append)

    def run(self, main):
        try:
            return self.loop.run_until_complete(main)
        finally:
            self.turns.end()
            self.turns.abandon()
            self.loop.close()
            self.bell.close()


async def turn():
    await asyncio.sleep(0.001)


def on_asyncio(page):
    return Stage(page, asyncio.SelectorEventLoop())


def on_uvloop(page):
    uvloop = pytest.importorskip("uvloop", reason="uvloop is in the extra `fast`")
    return Stage(page, uvloop.new_event_loop())


def test_a_turn_has_its_beginning_and_its_number(page):
    """Each one newer than the last; between two it says 0, seen from the selector."""
    seen = []

    class Selector(selectors.SelectSelector):
        def select(self, timeout=None):
            seen.append(page.row(0).busy_since)
            return super().select(timeout)

    stage = Stage(page, asyncio.SelectorEventLoop(Selector()))

    async def main():
        last = (0, 0)
        for _ in range(5):
            await turn()
            before = time.monotonic_ns()
            now = (stage.row.busy_since, stage.row.turns)
            assert last[0] < now[0] <= before and now[1] > last[1]
            last = now
        assert not stage.row.beats and stage.turns.active is None

    stage.run(main())
    assert len(seen) >= 5 and not any(seen[1:])
    assert stage.row.busy_since == 0


@pytest.mark.parametrize("make", [on_asyncio, on_uvloop])
def test_it_rings_when_it_wakes_and_nobody_looks(page, make):
    """And not while somebody does."""
    stage = make(page)

    async def main():
        page.awake = 1
        await turn()
        stage.bell.silence()
        for _ in range(3):
            await turn()
            if stage.turns.active:
                stage.turns.active()
        assert not stage.bell.silence()
        page.awake = 0
        while stage.row.busy_since and stage.row.beats:
            await turn()
        if stage.turns.active:
            stage.turns.active()
        await turn()
        assert stage.bell.silence()

    stage.run(main())


def test_a_select_that_raises_leaves_a_busy_loop(page):
    """KeyboardInterrupt in the middle of it: what follows is no sleep."""

    class Selector(selectors.SelectSelector):
        def select(self, timeout=None):
            raise KeyboardInterrupt

    loop = asyncio.SelectorEventLoop()
    turns = Turns(loop, page, page.row(0), -1)
    loop._selector, own = Selector(), loop._selector
    turns._wrap(loop._selector)
    page.row(0).busy_since = 0
    with pytest.raises(KeyboardInterrupt):
        loop._selector.select(0)
    assert page.row(0).busy_since > 0
    turns.abandon()
    loop._selector.close()
    loop._selector = own
    loop.close()


def test_a_loop_that_beats_stops_when_it_is_quiet(page):
    """Bytes and requests in flight keep it beating; nothing else does."""
    stage = on_uvloop(page)

    async def main():
        await turn()
        assert stage.row.beats == 1 and stage.row.busy_since
        while stage.row.busy_since:
            await turn()
        quiet = stage.row.turns
        await asyncio.sleep(3 * BEAT)
        assert stage.row.turns == quiet
        stage.turns.active()
        stage.row.in_flight = 1
        await asyncio.sleep(5 * BEAT)
        assert stage.row.turns >= quiet + 3
        assert time.monotonic_ns() - stage.row.busy_since < 10 * BEAT * 1e9
        stage.row.in_flight = 0
        while stage.row.busy_since:
            await turn()

    stage.run(main())


@pytest.mark.parametrize("make", [on_asyncio, on_uvloop])
def test_its_end_is_no_stall(page, make):
    """From then on the row says 0, however long the rest takes; twice is once."""
    stage = make(page)

    async def main():
        await turn()
        stage.turns.end()
        stage.turns.end()
        await turn()
        assert stage.row.busy_since == 0 and stage.turns.active is None

    stage.run(main())


def test_an_application_keeps_its_own_handler(page):
    """It uses the same signal: nothing is offered, nothing taken from it."""
    heard = []
    before = signal.signal(STACK, lambda *_: heard.append(True))
    try:
        stage = on_asyncio(page)
        stage.run(turn())
        assert stage.said == []
        os.kill(os.getpid(), STACK)
        assert heard
    finally:
        signal.signal(STACK, before)


# --- a whole worker ------------------------------------------------------------------------------


@pytest.mark.parametrize("factory", LOOPS)
def test_a_worker_that_serves_tells_its_turns(serving, factory):
    """Busy while it is asked, 0 when it is idle again."""
    one = serving(factory, loop="asyncio")
    one.page.awake = 1
    client = one.connect()
    before = one.row.turns
    client.get("/")
    one.until(lambda row: row.turns > before)
    one.until(lambda row: row.busy_since == 0)
    assert one.row.beats == (factory == "on_uvloop")


@pytest.mark.parametrize("signum", [STACK, STACK_IN_C])
@pytest.mark.parametrize("factory", LOOPS)
def test_its_stack_is_written_when_it_is_asked_for(worker, factory, signum):
    """Into the memfd that came behind Ready, by a signal; the worker serves on."""
    one = worker(factory)
    one.ready()
    message = one.channel.wait(PATIENCE)
    assert isinstance(message, Watched)
    try:
        one.process.send_signal(signum)
        one.until(lambda row: b"most recent call first" in os.pread(message.stack, 65536, 0))
        assert one.connect().get("/")[0] == 200
    finally:
        os.close(message.stack)


@pytest.mark.parametrize("factory", LOOPS)
def test_a_worker_that_works_bears_to_be_asked_again_and_again(worker, factory):
    """Half-made frames are never read: faulthandler alone crashed it within seconds of this."""
    one = worker(factory)
    one.ready()
    message = one.channel.wait(PATIENCE)
    try:
        client = one.connect()
        for _ in range(100):
            client.send("/")
            for _ in range(100):
                one.process.send_signal(STACK)
            assert client.answer()[0] == 200
            os.ftruncate(message.stack, 0)
    finally:
        os.close(message.stack)


def test_switched_off_it_costs_nothing(serving):
    """No bound, no hook: the row never says busy."""
    one = serving(stall_warn=0.0, stall_kill=0.0)
    one.connect().get("/")
    assert one.row.turns == one.row.busy_since == 0


def test_a_stack_that_cannot_be_had_is_none(page, monkeypatch):
    """Out of descriptors: the turns are told all the same."""

    def full(name):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("leeward._worker.turns.memfd_create", full)
    stage = on_asyncio(page)
    stage.run(turn())
    assert stage.said == [] and stage.row.turns
