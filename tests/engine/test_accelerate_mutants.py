"""What the accelerations and the way to handlers might get wrong is noticed by comparison."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import tornado
from engine.accelerate_mutants import MUTANTS, living, noticed, observed
from engine.mutants import Mutant
from engine.sides import quiet

from leeward.engine import layout
from leeward.engine.accelerate.install import installed

SEEDS = (5, 1, 2, 3)


@pytest.fixture(scope="module")
def plain() -> Iterator[dict[int, list[list[Any]]]]:
    """What is observed without any acceleration."""
    quiet()
    installed.remove()
    yield {seed: observed(seed, False) for seed in SEEDS}
    installed.remove()


def _pointless(mutant: Mutant) -> str:
    """Why it makes no difference on this Tornado; "" where it must."""
    if mutant.module == "headers" and not layout.combined():
        return "headers are not accelerated on this Tornado"
    parses = tornado.version_info < (6, 5)
    if mutant.name == ("bodies are parsed twice" if parses else "bodies are not parsed"):
        return "as it should be on this Tornado"
    return ""


def test_accelerated_is_the_same(plain: dict[int, list[list[Any]]]) -> None:
    """Without a mistake nothing differs: what is noticed is the mistake."""
    faithful = "from __future__ import annotations\n"
    for module in ("finish", "execute"):
        with living(Mutant("faithful", module, faithful, faithful + "\n")):
            for mine, theirs in zip(observed(1, True), plain[1], strict=True):
                for one, other in zip(mine, theirs, strict=True):
                    assert one == other


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda it: it.name.replace(" ", "-"))
def test_a_mistake_is_noticed(mutant: Mutant, plain: dict[int, list[list[Any]]]) -> None:
    if why := _pointless(mutant):
        pytest.skip(why)
    found = any(noticed(mutant, seed, theirs) for seed, theirs in plain.items())
    assert found, f"nobody notices: {mutant.name}"


def test_the_list_of_mistakes_is_long_and_its_names_are_distinct() -> None:
    assert len({it.name for it in MUTANTS}) == len(MUTANTS) >= 50
