"""What goes wrong before a worker serves is told in a few lines, and it ends."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest
from worker.harness import PATIENCE

from leeward._core.messages import Failed, Hello, Leaving, Watched


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        ("raises", r"ValueError: no database"),
        ("exits", r"factory exits\(\) in apps.py called sys.exit\('cannot go on'\)"),
        (
            "is_interrupted",
            r"factory is_interrupted\(\) in apps.py failed: KeyboardInterrupt\n.*:\d+",
        ),
        ("is_cancelled", r"failed: asyncio.exceptions.CancelledError\n.*apps.py:\d+ in is_canc"),
        ("in_no_directory", r"in_no_directory\(\) in apps.py failed: ValueError: no template"),
        ("stops_the_loop", r"the factory stopped the event loop"),
        (
            "gives_a_server",
            r"gave an object of tornado.httpserver.HTTPServer, expected a tornado.web.App",
        ),
        ("gives_nothing", r"gave an object of NoneType"),
    ],
)
def test_a_factory_that_fails_is_told_by_its_own_frames(worker, factory, says):
    one = worker(factory)
    failed = one.failed()
    assert failed.stage == "factory"
    assert re.search(says, failed.text), failed.text
    assert len(failed.text.split("\n")) <= 8
    assert "_worker" not in failed.text and "/asyncio/" not in failed.text
    assert one.ended() == 3


@pytest.mark.parametrize(
    ("factory", "advice"),
    [
        ("runs_a_loop", r"leeward serve .*apps\.py --kind script$"),
        ("runs_a_loop_in_no_directory", r"leeward serve /.*/apps\.py --kind script$"),
        ("wrapped_in_a_circle", r"leeward serve .*apps\.py --kind script$"),
        ("needs_a_loop_in_a_thread", r"no running event loop\n(?!(?s:.*)--kind script)"),
    ],
)
def test_a_factory_that_runs_a_loop_is_told_how_such_files_are_served(worker, factory, advice):
    """And nobody who misses one: by leaving the loop to us a thread has none either."""
    one = worker(factory)
    failed = one.failed()
    assert failed.stage == "factory"
    assert re.search(advice, failed.text), failed.text
    assert one.ended() == 3


def test_sigterm_ends_a_worker_that_does_not_serve_yet(worker):
    """It has accepted nothing: nobody is hurt."""
    one = worker("hangs")
    one.receive(Hello)
    one.expect("hanging")
    one.process.send_signal(signal.SIGTERM)
    assert one.ended() == -signal.SIGTERM


@pytest.mark.parametrize("how", ["drain", "end"])
def test_before_ready_an_order_or_the_end_of_the_channel_ends_it(worker, how):
    one = worker("hangs")
    one.receive(Hello)
    one.expect("hanging")
    if how == "drain":
        one.drain()
    else:
        one.channel.close()
    assert one.ended() == 0


@pytest.mark.parametrize("factory", ["make_app", "on_uvloop"])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_only_asks_to_be_replaced(serving, factory, signum):
    """systemd sends TERM to every process: a worker obeys its channel alone."""
    one = serving(factory)
    client = one.connect()
    client.get("/")
    one.process.send_signal(signum)
    assert one.receive(Leaving).reason == signum.name
    assert client.get("/")[0] == 200
    one.drain()
    assert one.ended() == 0


def test_a_handler_of_the_application_is_left_alone(serving):
    one = serving("handles_sigterm")
    one.process.send_signal(signal.SIGTERM)
    one.expect("^mine$")
    assert one.connect().get("/")[0] == 200


def test_a_factory_that_hangs_is_seen_before_it_is_ended(worker):
    """The supervisor kills it at the end of the start time-out; its stack is there by then."""
    one = worker("blocks", start_timeout=0.6)
    one.receive(Hello)
    watched = one.channel.wait(PATIENCE)
    assert isinstance(watched, Watched)
    deadline = time.monotonic() + PATIENCE
    while b"most recent call first" not in os.pread(watched.stack, 65536, 0):
        assert one.channel.wait(0.05) is None and time.monotonic() < deadline
    os.close(watched.stack)
    assert one.process.poll() is None


def test_a_factory_that_awaits_for_ever_gives_up_by_itself(worker):
    """Only its loop knows where it waits."""
    one = worker("hangs", start_timeout=0.6)
    one.receive(Hello)
    watched = one.channel.wait(PATIENCE)
    assert isinstance(watched, Watched)
    os.close(watched.stack)
    failed = one.channel.wait(PATIENCE)
    assert isinstance(failed, Failed) and failed.stage == "factory"
    assert "has not returned in time (--start-timeout 0.6s)" in failed.text
    assert re.search(r"apps.py:\d+ in hangs: await asyncio", failed.text)


def test_a_factory_that_awaits_is_not_given_up_long_before_its_time(worker):
    """One that is slow had a second less than --start-timeout says."""
    one = worker("hangs", start_timeout=2.0)
    one.failed()
    assert time.monotonic() - one.started > 1.7


def test_it_starts_and_leaves_where_no_thread_is_to_be_had(serving):
    """A limit of processes counts threads: what watches a start and an end does without."""
    one = serving("has_no_threads")
    assert one.connect().get("/")[0] == 200
    one.drain()
    assert one.ended() == 0
    assert "Traceback" not in one.log() and "no thread" not in one.log()
