"""Each kept mistake in a small module of decisions breaks one of the truths about it."""

from __future__ import annotations

from importlib import import_module

import pytest
from core.rules import CHECKS, MISTAKES, Mistake, build


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda it: it.name.replace(" ", "-"))
def test_a_mistake_is_noticed(mistake: Mistake) -> None:
    """By an assertion, or because it cannot go on."""
    module = build(mistake)
    with pytest.raises(Exception):  # noqa: B017  whatever the mistake leads to
        CHECKS[mistake.module](module)


@pytest.mark.parametrize("module", CHECKS)
def test_the_real_one_holds(module: str) -> None:
    """And so does a faithful copy: what is noticed is the mistake."""
    CHECKS[module](import_module(f"leeward._core.{module}"))
    same = "from __future__ import annotations\n"
    CHECKS[module](build(Mistake(module, "faithful", same, same + "\n")))
