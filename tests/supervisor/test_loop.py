"""Where the supervisor sleeps."""

import contextlib
import os
import signal
import time
import warnings

import pytest

from leeward._supervisor.guard import Guard
from leeward._supervisor.loop import Loop
from leeward._supervisor.say import Voice


@pytest.mark.parametrize("timeout", [None, 30.0, 3.6e6, 1e12, float("inf")])
def test_the_next_deadline_may_be_as_far_as_it_likes(timeout):
    """epoll_wait's int of milliseconds ends at 24.8 days."""
    with contextlib.closing(Loop(Guard(Voice("pretty", "info"), time.monotonic))) as loop:
        reader, writer = os.pipe()
        called: list[int] = []
        loop.watch(reader, called.append)
        os.write(writer, b"x")
        loop.turn(timeout)
        assert len(called) == 1
        loop.unwatch(reader)
        os.close(reader)
        os.close(writer)


def test_what_came_while_it_was_stopped_is_read_before_it_wakes() -> None:
    """Until its time was over: a deadline would be judged before the words that keep it."""
    with contextlib.closing(Loop(Guard(Voice("pretty", "info"), time.monotonic))) as loop:
        reader, writer = os.pipe()
        called: list[int] = []
        loop.watch(reader, called.append)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            loop.turn(1.0)
            os._exit(0 if called else 1)
        try:
            os.kill(pid, signal.SIGSTOP)
            os.waitpid(pid, os.WUNTRACED)
            os.write(writer, b"x")
            time.sleep(1.1)  # what it slept for is over
        finally:
            os.kill(pid, signal.SIGCONT)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        loop.unwatch(reader)
        os.close(reader)
        os.close(writer)
