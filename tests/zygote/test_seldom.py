"""While the application is imported garbage is collected seldom; afterwards as it wants it."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from leeward._core.messages import Loaded
from leeward._zygote import seldom
from leeward._zygote.seldom import Seldom

#: What `gc.get_threshold` is, with nothing of ours around it.
METHOD = type(gc.get_threshold).__name__


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    threshold, asked = gc.get_threshold(), gc.get_threshold
    yield
    gc.get_threshold = asked
    gc.set_threshold(*threshold)


def many() -> int:
    """Collections while so much is made as an import makes."""
    before = sum(it["collections"] for it in gc.get_stats())
    made = [[number] for number in range(50_000)]
    assert made
    return sum(it["collections"] for it in gc.get_stats()) - before


def test_it_is_collected_seldom_and_then_as_before() -> None:
    threshold, asked = gc.get_threshold(), gc.get_threshold
    assert many() > 5
    it = Seldom()
    it.begin()
    assert many() == 0
    it.end()
    it.end()
    assert (gc.get_threshold, gc.get_threshold()) == (asked, threshold)
    assert many() > 5


def test_an_application_is_told_what_it_would_be_told_alone() -> None:
    """And may multiply it, as the well-known recipe does."""
    threshold = gc.get_threshold()
    it = Seldom()
    it.begin()
    kept = gc.get_threshold
    assert kept() == threshold
    gc.set_threshold(*(part * 3 for part in kept()))
    wanted = gc.get_threshold()
    assert wanted[0] == threshold[0] * 3
    it.end()
    assert gc.get_threshold() == kept() == wanted


def test_what_an_application_puts_around_ours_stays() -> None:
    threshold, asked = gc.get_threshold(), gc.get_threshold
    it = Seldom()
    it.begin()
    ours = gc.get_threshold

    def theirs() -> tuple[int, int, int]:
        return ours()

    gc.get_threshold = theirs
    it.end()
    assert gc.get_threshold is theirs and theirs() == threshold == asked()


@pytest.mark.parametrize("first", [0, seldom._SELDOM + 1])
def test_who_never_collects_or_more_seldom_is_left_alone(first: int) -> None:
    gc.set_threshold(first, 7, 3)
    it = Seldom()
    it.begin()
    wanted = gc.get_threshold()
    it.end()
    assert wanted[0] == gc.get_threshold()[0] == first


APP = """
import gc, os
from tornado.web import Application, RequestHandler

def how():
    return f"{gc.get_threshold()} {type(gc.get_threshold).__name__}"

HERE = str(gc.get_threshold())
reader, writer = os.pipe()
if os.fork() == 0:
    os.write(writer, how().encode())
    os._exit(0)
os.wait()
CHILD = os.read(reader, 100).decode()
os.close(reader)
os.close(writer)

class How(RequestHandler):
    def get(self):
        self.write(f"{HERE}, {CHILD}, {how()}")

def make_app():
    return Application([("/", How)])
"""


def test_children_and_workers_collect_as_they_would_alone(play) -> None:
    zygote = play(APP).begin()
    assert isinstance(zygote.says(), Loaded)
    zygote.fork()
    usual = str(gc.get_threshold())
    assert zygote.ask() == f"{usual}, {usual} {METHOD}, {usual} {METHOD}"
