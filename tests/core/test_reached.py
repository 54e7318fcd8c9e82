"""What a follower of the log has reached, lane by lane."""

from __future__ import annotations

import pytest

from leeward._core import reached
from leeward._core.messages import BadMessage
from leeward._core.reached import Reached, from_text


def test_nobody_goes_back_and_lanes_of_workers_that_are_gone_are_forgotten() -> None:
    """Of the workers of a long life the latest are remembered."""
    mine = Reached()
    mine.advance({(0, 0): 7})
    for worker in range(1, 3000):
        mine.advance({(worker, 0): 5, (0, 0): 1})
    assert len(mine) == reached.MOST
    assert mine.has((0, 0), 7) and not mine.has((0, 0), 8)
    assert not mine.has((1, 0), 0) and mine.has((2999, 0), 5)


def test_it_travels_as_text() -> None:
    """The last line of each lane counts; nothing is a text too."""
    mine = reached.of([((1, 0), 4), ((-1, 0), 9), ((1, 0), 5)])
    assert from_text(mine.to_text()) == mine == {(1, 0): 5, (-1, 0): 9}
    assert from_text("") == Reached()


@pytest.mark.parametrize("text", ["1/2", "1/2/3/4", "a/b/c", "1/2/3 x"])
def test_what_is_no_such_text(text: str) -> None:
    with pytest.raises(BadMessage, match="nothing that is reached"):
        from_text(text)
