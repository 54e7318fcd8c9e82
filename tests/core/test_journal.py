"""Entries of the journal's native protocol."""

from __future__ import annotations

from leeward._core.journal import entry, of_line
from leeward._core.syslog import Line, Who


def test_values_of_one_line_and_of_several() -> None:
    assert entry([("A", "x=y"), ("B", "")]) == b"A=x=y\nB=\n"
    assert entry([("A", "1\nA=2")]) == b"A\n\x05\0\0\0\0\0\0\x001\nA=2\n"
    assert entry([("A", "\ud800")]) == b"A=\\ud800\n"


def test_a_line() -> None:
    """What there is nothing to say of is left out, but not the message."""
    who = Who("2", "5", "7")
    stamp = "2026-11-09T14:03:07.214+01:00"
    assert of_line(3, Line("a", 40), "shop", who, stamp, 9).decode().splitlines() == [
        "MESSAGE=a",
        "PRIORITY=3",
        "SYSLOG_FACILITY=3",
        "SYSLOG_IDENTIFIER=shop",
        "SYSLOG_PID=7",
        f"SYSLOG_TIMESTAMP={stamp}",
        "LEEWARD_SLOT=2",
        "LEEWARD_GENERATION=5",
        "LEEWARD_SEQUENCE=9",
    ]
    assert b"SEQUENCE" not in of_line(3, Line("a", 20), "shop", who, stamp, -1)
    assert of_line(3, Line("", 20), "shop", Who(), "", 0) == (
        b"MESSAGE=\nPRIORITY=6\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=shop\nLEEWARD_SEQUENCE=0\n"
    )
