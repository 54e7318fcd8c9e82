"""Workers that end with their test."""

from __future__ import annotations

from pathlib import Path

import pytest
from worker.harness import Worker


@pytest.fixture
def worker(tmp_path, request):
    """`worker("make_app", …)` starts one; all end with the test, their logs shown if it fails."""
    started = []

    def start(factory="make_app", **settings):
        place = tmp_path / str(len(started))
        place.mkdir()
        started.append(Worker(factory, place, **settings))
        return started[-1]

    yield start
    for one in started:
        one.close()
        print(f"--- stderr of worker pid={one.pid}\n{Path(one.err.name).read_text()}")


#: Seconds that a machine may lose while it runs other tests beside.
SLACK = 3.0

#: What serves, on which loop.
EVERY_ENGINE = pytest.mark.parametrize(
    "served_by",
    [
        pytest.param({"engine": "leeward", "loop": "asyncio"}, id="asyncio"),
        pytest.param({"engine": "leeward", "loop": "uvloop"}, id="uvloop"),
        pytest.param({"engine": "tornado", "loop": "asyncio"}, id="tornado"),
    ],
    indirect=True,
)


@pytest.fixture
def served_by(request):
    """Settings of every worker that `serving` starts."""
    settings = getattr(request, "param", {})
    if settings.get("loop") == "uvloop":
        pytest.importorskip("uvloop")
    return settings


@pytest.fixture
def serving(worker, served_by):
    """A worker that has said Ready, with `make_app` or what is asked for."""

    def start(factory="make_app", **settings):
        one = worker(factory, **{**served_by, **settings})
        one.ready()
        return one

    return start
