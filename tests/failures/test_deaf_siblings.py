"""One of two processes stops as it should, and on bare Tornado the other hears nobody any more.

The same program and the same client: who has answered, and whether it still does once its
sibling has stopped by SIGTERM.  Python 3.12 and newer do not get so far: there a program that
listens before it forks answers nobody from the start (see test_wrong_start.py).
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from pathlib import Path

import pytest
from failures.bare import bare
from process.clients import address_of
from process.support import APPS, PATIENCE, free_port, gone, until

from leeward._sys import procfs
from leeward.testing import serve

PROGRAM = APPS / "deafens_siblings.py"
#: How often it is asked then, and the seconds that nobody may need on a machine with time.
ASKED, SOON = 3, 0.5
_CLIENT = Path(__file__).parents[2] / "examples" / "wrong_start" / "client.py"
#: The process that answers a request within so many seconds, or "".
ask = runpy.run_path(str(_CLIENT))["ask"]


def after_a_stop(port: int, both: list[int], patience: float) -> tuple[int, list[str]]:
    """Who answered before its sibling stopped, and the answers of whoever does behind that."""
    answered = int(until(lambda: ask(port, SOON), "an answer"))
    (sibling,) = set(both) - {answered}
    os.kill(sibling, signal.SIGTERM)
    assert gone(sibling)
    return answered, [ask(port, patience) for _ in range(ASKED)]


@pytest.mark.skipif(
    sys.version_info >= (3, 12),
    reason="since Python 3.12 a child does not run the loop of its parent: it answers nobody",
)
def test_on_bare_tornado_a_stop_deafens_the_sibling() -> None:
    """It lives, and its connections wait in the backlog: nobody polls the listener."""
    with bare(PROGRAM, free_port()) as ((_, port), pid):
        both = until(lambda: len(found := procfs.children_of(pid)) == 2 and found, "two processes")
        answered, answers = after_a_stop(port, both, SOON)
        assert answers == [""] * ASKED
        until(lambda: procfs.children_of(pid) == [answered], "the other to be reaped")


@pytest.mark.parametrize("mode", ["zygote", "spawn"])
def test_under_leeward_it_goes_on(mode: str) -> None:
    """All are answered, by the sibling too, and the one that stopped is replaced."""
    with serve(str(PROGRAM), "--start", mode, bind=None, args=("0",)) as service:
        _, port = address_of(service.wait_ready(2))
        mark = service.mark()
        both = [int(it["pid"]) for it in service.workers()]
        answered, answers = after_a_stop(port, both, PATIENCE)
        assert all(answers), answers
        until(lambda: ask(port, SOON) == str(answered), "the sibling to answer")
        service.wait_line(r"worker=\d gen=1 pid=\d+ ready", mark)
