"""What is captured follows from the setting and from where the streams lead."""

from __future__ import annotations

import pytest

from leeward._core.capturing import EXACT, LOG, TERMINAL, Way, ways

BOTH, NONE = (True, True), (False, False)


@pytest.mark.parametrize(
    ("setting", "terminals", "same", "log", "found"),
    [
        ("off", BOTH, True, True, ()),
        ("auto", NONE, True, False, ()),
        ("auto", NONE, False, True, ()),
        ("auto", BOTH, True, False, (Way((1, 2), TERMINAL),)),
        ("auto", BOTH, True, True, (Way((1, 2), TERMINAL),)),
        ("auto", BOTH, False, False, (Way((1,), TERMINAL), Way((2,), TERMINAL))),
        ("auto", (True, False), False, False, (Way((1,), TERMINAL),)),
        ("auto", (False, True), False, False, (Way((2,), TERMINAL),)),
        ("on", NONE, True, False, (Way((1, 2), EXACT),)),
        ("on", NONE, False, False, (Way((1,), EXACT), Way((2,), EXACT))),
        ("on", (False, True), False, False, (Way((1,), EXACT), Way((2,), TERMINAL))),
        ("on", BOTH, True, False, (Way((1, 2), TERMINAL),)),
        ("on", BOTH, True, True, (Way((1,), LOG), Way((2,), LOG))),
    ],
)
def test_ways(
    setting: str, terminals: tuple[bool, bool], same: bool, log: bool, found: tuple[Way, ...]
) -> None:
    assert ways(setting, terminals, same, log) == found


def test_what_is_exact_gets_no_marks() -> None:
    assert not Way((2,), EXACT).marked
    assert Way((2,), TERMINAL).marked and Way((2,), LOG).marked
