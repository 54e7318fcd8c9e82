"""No call gets another's reply, with deadlines, broken connections and forks at any moment.

SOAK_CALLS=1000000 python -m pytest -q -rP -o faulthandler_timeout=0 tests/lines/test_storm.py
"""

from __future__ import annotations

import os
import random
import time

import pytest
from lines.weather import storm

SEED = int(os.environ.get("LEEWARD_SEED", random.randrange(10**9)))
CALLS = int(os.environ.get("SOAK_CALLS", 4_000))


@pytest.mark.timeout(60 + CALLS / 100)
@pytest.mark.parametrize(("encoding", "check_after"), [("gb2312", 30.0), ("utf-8", 0.0)])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_no_reply_is_wrong(encoding: str, check_after: float) -> None:
    """Each call is answered by its own reply, or by an error; with a check before each, too."""
    print(f"LEEWARD_SEED={SEED}")
    begun = time.monotonic()
    ends = storm(CALLS // 2, SEED, encoding, check_after)
    print(f"{encoding}, {time.monotonic() - begun:.0f} s: {dict(ends)}")
    assert ends["wrong"] == 0
    assert sum(ends.values()) == CALLS // 2
    assert ends["right"] > CALLS // 4, "the weather is too bad to show anything"
    assert ends["LineTimeout"] > 0 and ends["LineLost"] > 0, "and here too good"
