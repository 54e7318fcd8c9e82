"""What the accelerations and the way to handlers might get wrong is noticed by comparison."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tornado
from engine.accelerate_mutants import MUTANTS, living, noticed, observed
from engine.mutants import Mutant
from engine.sides import quiet

from leeward.engine import layout
from leeward.engine.accelerate.install import installed

SEEDS = (5, 1, 2, 3)

Plain = Callable[[int], list[list[Any]]]


@pytest.fixture(scope="module")
def plain() -> Iterator[Plain]:
    """What is observed with a seed without any acceleration."""

    @functools.cache
    def of(seed: int) -> list[list[Any]]:
        installed.remove()
        return list(observed(seed, False))

    quiet()
    yield of
    installed.remove()


def _pointless(mutant: Mutant) -> str:
    """Why it makes no difference on this Tornado; "" where it must."""
    if mutant.module == "headers" and not layout.combined():
        return "headers are not accelerated on this Tornado"
    parses = tornado.version_info < (6, 5)
    if mutant.name == ("bodies are parsed twice" if parses else "bodies are not parsed"):
        return "as it should be on this Tornado"
    return ""


def test_accelerated_is_the_same(plain: Plain) -> None:
    """Without a mistake nothing differs: what is noticed is the mistake."""
    faithful = "from __future__ import annotations\n"
    unaided = plain(1)
    for module in ("finish", "execute"):
        with living(Mutant("faithful", module, faithful, faithful + "\n")):
            for mine, theirs in zip(observed(1, True), unaided, strict=True):
                for one, other in zip(mine, theirs, strict=True):
                    assert one == other


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda it: it.name.replace(" ", "-"))
def test_a_mistake_is_noticed(mutant: Mutant, plain: Plain) -> None:
    if why := _pointless(mutant):
        pytest.skip(why)
    found = any(noticed(mutant, seed, plain(seed)) for seed in SEEDS)
    assert found, f"nobody notices: {mutant.name}"


def test_the_list_of_mistakes_is_long_and_its_names_are_distinct() -> None:
    assert len({it.name for it in MUTANTS}) == len(MUTANTS) >= 50
