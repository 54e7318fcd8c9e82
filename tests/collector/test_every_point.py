"""A collector that is killed at any of its steps leaves nothing lost, doubled or torn."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from collector.harness import Died, Follower, Scene, contents

from leeward._core import collector_messages as c
from leeward._core.sinks import Spec
from leeward._sys.ring import RingReader

#: What a collector does to the world, and to what its successor knows.
STEPS: tuple[tuple[Any, str], ...] = (
    *((os, name) for name in ("open", "write", "rename", "unlink", "ftruncate", "close")),
    *((RingReader, name) for name in ("intend", "taken", "free", "withdraw", "tell")),
)

#: A second for each where nothing else runs.
pytestmark = pytest.mark.timeout(180)


def killer(at: int, torn: bool) -> Callable[[], None]:
    """Kill this process at its step number `at`: before it, in the middle, or after it.

    torn:  the write of that step is cut in half first.
    """
    count = 0

    def wrap(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def step(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count == at:
                if torn and name == "write":
                    original(args[0], args[1][: len(args[1]) // 2])
                elif not torn:
                    os.kill(os.getpid(), signal.SIGKILL)
                if name != "write":
                    original(*args, **kwargs)
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        setattr(owner, name, step)

    def install() -> None:
        for owner, name in STEPS:
            wrap(owner, name)

    return install


@pytest.mark.parametrize("parity", ["odd", "even"])
@pytest.mark.parametrize("torn", [False, True], ids=["before", "after or torn"])
def test_one_that_is_killed_at_each_step(tmp_path: Path, torn: bool, parity: str) -> None:
    """From the first step to the last, each in a world of its own.

    Nor is a line lost or doubled for whoever follows the log.
    """
    at = -1 if parity == "odd" else 0
    died = True
    while died:
        at += 2
        directory = tmp_path / str(at)
        directory.mkdir()
        path = directory / "app.log"
        begun = at % 4 >= 2
        spec = Spec("file", str(path), rotate_bytes=1000, compress=not torn, begun=begun)
        scene = Scene(spec, Random(at), sizes=(300,), follower=Follower())
        try:
            scene.write(5, here=True)
            scene.first = killer(at, torn)
            died = _dies(scene)
            if died:
                scene.first = lambda: None
                assert not _dies(scene), at
            assert scene.check() == (5, 0), at
            assert scene.follower is not None
            scene.follower.read_all()
            assert scene.follower.text.encode() == b"".join(contents(path)), at
            assert len(list(contents(path))) >= 2, at
        finally:
            scene.close()
    assert at > 15


def _dies(scene: Scene) -> bool:
    """Does the collector die before all is written?"""
    scene.collect()
    with contextlib.suppress(Died):
        scene.wait_drained()
    scene.tell(c.Finish(20.0))
    _, status = os.waitpid(scene.collector, 0)
    assert status in (0, signal.SIGKILL)
    scene.hear()
    assert scene.channel is not None
    scene.channel.close()
    scene.channel = None
    return status != 0
