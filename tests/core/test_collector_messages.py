"""What the supervisor and the log collector say to each other arrives as it was said."""

from __future__ import annotations

import pytest

from leeward._core import collector_messages as c
from leeward._core.messages import Descriptor, Message, decode, encode


@pytest.mark.parametrize(
    "message",
    [
        c.Collect("{}", Descriptor(5), 2),
        c.Ring(1, 0, 3, Descriptor(7), True),
        c.RingEnds(4),
        c.RingDrained(4),
        c.Output(3, 0, 2, 1, "exact", "", Descriptor(8)),
        c.OutputEnded(3, 1),
        c.LineBegun(True),
        c.LineEnded(),
        c.Reopen(),
        c.Tail(20, True, -1, 30, Descriptor(9)),
        c.Finish(5.0),
        c.Complaint("error", "/a: No space left on device"),
    ],
    ids=lambda it: type(it).__name__,
)
def test_each_message_survives_the_way(message: Message) -> None:
    assert decode(*encode(message)) == message
