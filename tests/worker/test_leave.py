"""However an application behaves, its worker ends in time, with the status it should have."""

from __future__ import annotations

import time

import pytest
from worker.conftest import SLACK

KINDS = ["make_app", "on_uvloop"]


def test_tasks_are_cancelled_and_exit_functions_run_once(serving):
    one = serving("says_goodbye")
    one.drain()
    assert one.ended() == 0
    said = ("task cancelled", "goodbye from atexit")
    assert tuple(line for line in one.log().split("\n") if line in said) == said


def test_stuck_threads_and_executors_do_not_keep_it(serving):
    one = serving()
    one.connect().get("/thread")
    at = one.drain()
    assert one.ended() == 0
    assert time.monotonic() - at < SLACK


@pytest.mark.parametrize("factory", ["has_a_stuck_exit", "holds_the_gil_at_exit"])
def test_a_stuck_exit_function_is_cut_and_named(serving, factory):
    """Even if it holds the GIL: status 1, and the stacks say where it was."""
    one = serving(factory)
    at = one.drain(timeout=0.3)
    assert one.ended() == 1
    assert time.monotonic() - at < 0.3 + 0.8 + SLACK
    one.expect("Timeout")
    one.expect("leave.py")


def test_a_blocked_loop_is_cut_after_the_deadline(serving):
    """No timer of the loop can run any more; the stacks name the handler."""
    one = serving()
    client = one.connect()
    client.get("/")
    hold = one.connect()
    hold.send("/hold")
    one.until(lambda row: row.in_flight == 1)
    one.drain("reload", timeout=0.4)
    one.expect("draining")
    client.send("/block")
    one.expect("blocking")
    at = time.monotonic()
    assert one.ended() == 1
    assert time.monotonic() - at < 0.4 + 0.8 + SLACK
    one.expect("apps.py")


def test_a_process_pool_that_nobody_shut_down_does_not_keep_it(serving):
    """multiprocessing's own exit function would join its children for ever."""
    one = serving("has_a_process_pool")
    at = one.drain()
    assert one.ended() == 0
    assert time.monotonic() - at < 1 + SLACK


@pytest.mark.parametrize("factory", KINDS)
@pytest.mark.parametrize("code", [0, 4])
def test_sys_exit_keeps_its_status(serving, factory, code):
    one = serving(factory)
    one.connect().send(f"/exit?code={code}")
    assert one.ended() == code
    one.expect(f"the application called sys.exit: status {code}")


@pytest.mark.parametrize("factory", KINDS)
def test_an_application_that_stops_the_loop_ends_its_worker(serving, factory):
    """Drained as for a stop: requests in flight finish."""
    one = serving(factory)
    busy = one.connect()
    busy.send("/slow?s=0.2")
    one.until(lambda row: row.in_flight == 1)
    one.connect().send("/stop")
    assert busy.answer()[2] == "slow"
    assert one.ended() == 0
    one.expect("the application stopped the event loop")
