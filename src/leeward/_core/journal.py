"""Entries of systemd's journal in its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL).

``NAME=value`` and a line end; a value with line ends in it follows its name and the
length, 64 bits little-endian.  One datagram is one entry.
"""

from __future__ import annotations

from collections.abc import Iterable

from leeward._core.syslog import Line, Who, severity


def entry(fields: Iterable[tuple[str, str]]) -> bytes:
    """One datagram.  Names are of A-Z, 0-9 and _, and do not begin by _, which is journald's."""
    parts: list[bytes] = []
    for name, value in fields:
        data = value.encode("utf-8", "backslashreplace")
        if b"\n" in data:
            parts += [name.encode(), b"\n", len(data).to_bytes(8, "little"), data, b"\n"]
        else:
            parts += [name.encode(), b"=", data, b"\n"]
    return b"".join(parts)


def of_line(facility: int, line: Line, name: str, who: Who, stamp: str, sequence: int) -> bytes:
    """stamp:     when it was logged; journald's own time is that at which it came.
    sequence:  of the line in its ring; -1: it was in none.
    """
    told = (
        ("MESSAGE", line.text),
        ("PRIORITY", str(severity(line.level))),
        ("SYSLOG_FACILITY", str(facility)),
        ("SYSLOG_IDENTIFIER", name),
        ("SYSLOG_PID", who.pid),
        ("SYSLOG_TIMESTAMP", stamp),
        ("LEEWARD_SLOT", who.slot),
        ("LEEWARD_GENERATION", who.generation),
        ("LEEWARD_SEQUENCE", str(sequence) if sequence >= 0 else ""),
    )
    return entry((key, value) for key, value in told if value or key == "MESSAGE")
