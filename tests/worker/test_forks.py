"""Processes that the application starts in a worker work, and are no worker."""

from __future__ import annotations

import os
import select
import sys

import pytest


@pytest.mark.parametrize("factory", ["make_app", "on_uvloop"])
@pytest.mark.parametrize("how", ["fork", "thread", "subprocess", "mp-fork", "mp-spawn"])
def test_every_way_to_start_a_process_works(serving, factory, how):
    """No listener, no page; TERM ends it; it dies with the worker if the main thread forked it."""
    one = serving(factory)
    client = one.connect()
    text = client.get(f"/fork?how={how}")[2]
    if how == "subprocess":
        assert text == "from a subprocess\n"
        return
    death = {"fork": 9, "mp-fork": 9, "thread": 0, "mp-spawn": 0}[how]
    assert text.startswith(f"listeners=0 pdeathsig={death} term_default=True page=False"), text
    if how in ("fork", "thread"):
        assert text.endswith("status=7")
    assert client.get("/")[0] == 200
    assert "calls sys.exit" not in one.log() and "draining" not in one.log()
    one.drain()
    assert one.ended() == 0


@pytest.mark.skipif(sys.version_info < (3, 12, 5), reason="uvloop cannot tell it from sys.exit")
@pytest.mark.parametrize("factory", ["make_app", "on_uvloop"])
def test_a_forked_child_does_not_come_back_to_its_parents_loop(serving, factory):
    """It ends, with the line that forked it; the request has one answer, the parent's."""
    one = serving(factory)
    client = one.connect()
    assert client.get("/fork?how=forgotten")[2] == "status=1"
    assert client.get("/")[0] == 200
    said = one.expect(r"forked, comes back to the event loop of its parent: it ends here")
    one.expect(r"^  \S*apps.py:\d+ in get: if pid := os.fork\(\):")
    one.expect(r"^Have it end by os._exit")
    assert said and "Traceback" not in one.log()
    one.drain()
    assert one.ended() == 0


def test_a_forked_child_dies_with_its_worker(serving):
    one = serving()
    pid = int(one.connect().get("/orphan")[2])
    child = os.pidfd_open(pid)
    one.process.kill()
    assert select.select([child], [], [], 10)[0]
    os.close(child)


def test_a_forked_child_does_not_keep_the_channel_open(serving):
    one = serving()
    one.connect().get("/orphan")
    one.process.kill()
    one.receive(None)
