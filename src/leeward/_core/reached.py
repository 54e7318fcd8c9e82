"""How far somebody who follows the log has come, so that he can go on with another collector.

Of each lane, the ring of a worker and one of its sinks, the sequence of the last line.
Lines of one lane come in their order, whichever collector writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from leeward._core.messages import BadMessage

#: Lanes that are remembered, the latest: those of workers that are gone are needed no more.
MOST = 1000

Lane = tuple[int, int]


class Reached(dict[Lane, int]):
    """The sequence of the last line, by lane."""

    def advance(self, others: Mapping[Lane, int]) -> None:
        for lane, sequence in others.items():
            # At the end of the dict: that is the order in which they are forgotten.
            self[lane] = max(sequence, self.pop(lane, sequence))
        while len(self) > MOST:
            del self[next(iter(self))]

    def has(self, lane: Lane, sequence: int) -> bool:
        """Has that line come already?"""
        return sequence <= self.get(lane, -1)

    def to_text(self) -> str:
        return " ".join(f"{worker}/{sink}/{it}" for (worker, sink), it in self.items())


def from_text(text: str) -> Reached:
    """Raises BadMessage."""
    try:
        return Reached(map(_one, text.split()))
    except ValueError:
        raise BadMessage(f"nothing that is reached in a log: {text!r:.60}") from None


def _one(word: str) -> tuple[Lane, int]:
    worker, sink, sequence = map(int, word.split("/"))
    return (worker, sink), sequence


def of(lines: Iterable[tuple[Lane, int]]) -> Reached:
    """After these lines, in the order in which they came."""
    return Reached(lines)
