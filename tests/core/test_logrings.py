"""Who may write into a log ring that fills up."""

from __future__ import annotations

from leeward._core import logrings
from leeward._core.logrings import ACCESS, HIGH, LONG, LOW, UNWRITTEN


def test_requests_go_first_and_warnings_last() -> None:
    """The fuller the ring, the fewer may write; a quarter is kept for what tells why."""
    limits = logrings.limits(1000)
    assert limits[ACCESS] < limits[LOW] == 750 < limits[HIGH] == 1000


def test_what_a_line_counts_as() -> None:
    """A request is one, whatever came of it; others are judged by their level."""
    assert logrings.kind(True, 40) == ACCESS
    assert logrings.kind(False, 20) == LOW
    assert logrings.kind(False, 30) == logrings.kind(False, 50) == HIGH


def test_only_an_error_waits_for_long() -> None:
    """The caller may be an event loop; an error is worth 50 ms of it, all else not one."""
    assert all(0.0 < logrings.patience(level) < 0.001 for level in (10, 20, 30))
    assert logrings.patience(40) == logrings.patience(50) == 0.05


def test_the_longest_line_always_fits_an_empty_ring() -> None:
    for size in (4096, 1 << 20):
        assert logrings.longest(size) <= min(logrings.limits(size))


def test_what_is_told() -> None:
    """How many, and of which kinds."""
    counts = [0, 0, 0, 0, 0]
    counts[LOW] = 1
    assert logrings.telling(tuple(counts)) == "1 log line refused by a full ring: 1 below WARNING"
    counts[ACCESS], counts[LONG] = 2, 3
    assert logrings.telling(tuple(counts)) == (
        "6 log lines refused by a full ring: "
        "2 of requests, 1 below WARNING, 3 too long for any ring"
    )
    assert logrings.telling((0, 2, 0, 0, 0), "lost (nobody reads)") == (
        "2 log lines lost (nobody reads): 2 below WARNING"
    )
    counts[UNWRITTEN] = 7
    assert logrings.telling(tuple(counts)).endswith(
        "3 too long for any ring; 7 log lines refused by a file that could not be written"
    )
    assert logrings.telling((0, 0, 0, 0, 1)) == (
        "1 log line refused by a file that could not be written"
    )
