"""Accepted lines are written, exactly once and whole, whoever is killed and whenever.

SOAK_LOGS=1000 is the long form (`make soak`): so many kills of writers and of collectors.
"""

from __future__ import annotations

import errno
import os
import random
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from collector.harness import Scene

from leeward._core.sinks import Spec

KILLS = int(os.environ.get("SOAK_LOGS", "40"))
SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 30)))

pytestmark = pytest.mark.timeout(60 + KILLS)


@pytest.fixture
def scenes() -> Iterator[Callable[..., Scene]]:
    print(f"SEED={SEED}")
    made: list[Scene] = []

    def make(spec: Spec, **settings: object) -> Scene:
        made.append(Scene(spec, Random(SEED), **settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for it in made:
        it.close()


def pause(rng: Random, most: float) -> None:
    """The moment of the next kill; there is no event to wait for."""
    time.sleep(rng.random() * most)


@pytest.mark.parametrize("compress", [False, True])
def test_kills_of_writers_and_collectors_in_the_middle_of_rotation(
    tmp_path: Path, scenes: Callable[..., Scene], compress: bool
) -> None:
    """Four writers at full rate, lines of 30 octets to 150 kB, files of 1 MB."""
    path = tmp_path / "app.log"
    spec = Spec("file", str(path), rotate_bytes=1_000_000, compress=compress)
    sizes = (30, 30, 60, 100, 100, 250, 1000, 4000, 20_000, 150_000)
    scene = scenes(spec, sizes=sizes)
    scene.collect()
    alive = [scene.write() for _ in range(4)]
    rng = scene.rng
    for _ in range(KILLS // 2):
        pause(rng, 0.05)
        if rng.random() < 0.3:
            victim = alive.pop(rng.randrange(len(alive)))
            scene.kill(victim)
            alive.append(scene.write())
        scene.kill_collector()
        pause(rng, 0.01)
        scene.collect()
        if path.exists() and sum(it.stat().st_size for it in tmp_path.iterdir()) > 300_000_000:
            break
    for it in alive:
        scene.kill(it)
    scene.wait_drained()
    scene.finish()
    accepted, refused = scene.check()
    print(f"{accepted} accepted, {refused} refused, {scene.kills} collectors killed")
    assert accepted > 100 * KILLS
    assert len(list(tmp_path.iterdir())) > 3
