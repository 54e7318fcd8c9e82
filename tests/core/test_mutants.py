"""Does the weather notice anything?  Every kept mistake must break a world."""

from __future__ import annotations

import pytest
from core.mutants import MODULES, MUTANTS, Mutant, breaks, build, noticed


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda it: it.name.replace(" ", "-"))
def test_the_weather_notices(mutant: Mutant) -> None:
    """This mistake in the code breaks a rule in some world."""
    assert noticed(mutant) is not None, f"nobody notices: {mutant.name}"


@pytest.mark.parametrize("module", MODULES)
def test_a_faithful_copy_survives(module: str) -> None:
    """What kills a mutant is its mistake, not the way it is made."""
    same = "from __future__ import annotations\n"
    core = build(Mutant("faithful", module, same, same + "\n"))
    assert not any(breaks(seed, core) for seed in range(4))


def test_the_list_is_long_and_its_names_are_distinct() -> None:
    """Mistakes may be added; they are not quietly dropped."""
    assert len({it.name for it in MUTANTS}) == len(MUTANTS) >= 95
