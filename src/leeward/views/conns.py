"""`leeward conns` as a table: one line for a connection, as wide as the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from leeward._core.conns import STATES, Conn
from leeward.views.units import number, plural, size, span


def _request(conn: Conn) -> str:
    return f"{conn.method} {conn.url}".strip() or "-"


def _ends(conn: Conn) -> str:
    return "-" if conn.deadline is None else f"{span(conn.deadline)} {conn.ends}".rstrip()


def _peer(conn: Conn) -> str:
    return " for ".join(it for it in (conn.peer, conn.client) if it) or "-"


#: Heading, cell, how soon a narrow terminal goes without it (0: never), and text or number.
_COLUMNS: tuple[tuple[str, Callable[[Conn], str], int, bool], ...] = (
    ("CONN", lambda it: f"{it.slot}:{it.id or '-'}", 0, False),
    ("STATE", lambda it: it.kind if it.kind != "http" else it.state, 0, True),
    ("PEER", _peer, 0, True),
    ("AGE", lambda it: span(it.age), 7, False),
    ("IDLE", lambda it: span(it.idle), 0, False),
    ("IN", lambda it: _bytes(it.received), 4, False),
    ("OUT", lambda it: _bytes(it.sent), 4, False),
    ("REQS", lambda it: number(it.requests), 3, False),
    ("ENDS IN", _ends, 2, True),
    ("HANDLER", lambda it: it.handler or "-", 5, True),
    ("WAITS AT", lambda it: it.waits_at or "-", 6, True),
    ("REQUEST", _request, 0, True),
)
#: The last column is cut rather than another left out, down to so many characters.
_LEAST = 24


def render(
    conns: Sequence[Conn], found: int, workers: int, width: int = 80, orphans: int = 0
) -> str:
    """conns:    those to show, of `found` that there are in so many `workers`.
    orphans:  handlers whose client left, which are not among them.
    """
    lines = [*_table(conns, max(width, 40)), ""] if conns else []
    lines.append(_sum(conns, found, workers))
    if orphans:
        left = "whose client left: leeward conns --state orphan"
        lines.append(f"and {plural(orphans, 'handler')} {left}")
    return "\n".join(lines)


def _sum(conns: Sequence[Conn], found: int, workers: int) -> str:
    counts = Counter(conn.state for conn in conns)
    states = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    shown = f"{len(conns)} of " if len(conns) < found else ""
    text = f"{shown}{plural(found, 'connection')} in {plural(workers, 'worker')}"
    return f"{text}: {states}" if states else text


def _table(conns: Sequence[Conn], width: int) -> list[str]:
    columns = list(_COLUMNS)
    cells = {name: [cell(conn) for conn in conns] for name, cell, _, _ in columns}
    # What is empty in every row says nothing.
    columns = [it for it in columns if not it[2] or any(cell != "-" for cell in cells[it[0]])]
    wide = {name: max(len(name), *map(len, cells[name])) for name, _, _, _ in columns}
    while True:
        names = [name for name, _, _, _ in columns]
        before = sum(wide[name] + 2 for name in names[:-1])
        room = width - before
        spare = [it for it in columns if it[2]]
        if room >= min(_LEAST, wide[names[-1]]) or not spare:
            break
        columns.remove(min(spare, key=lambda it: it[2]))
    wide[names[-1]] = max(1, min(wide[names[-1]], room))
    left = {name: to_left for name, _, _, to_left in columns}
    rows = [names, *([cells[name][at] for name in names] for at in range(len(conns)))]
    return [
        "  ".join(
            _fitted(cell, wide[name], left[name]) for cell, name in zip(row, names, strict=True)
        ).rstrip()[:width]
        for row in rows
    ]


def _fitted(cell: str, wide: int, to_left: bool) -> str:
    if len(cell) > wide:
        cell = cell[: wide - 1] + "…"
    return cell.ljust(wide) if to_left else cell.rjust(wide)


def _bytes(count: int) -> str:
    return str(count) if count < 1024 else size(count)


def render_outbound(rows: Sequence[Mapping[str, Any]], width: int = 80) -> str:
    """What the workers are connected to: peers, the most used first."""
    if not rows:
        return "no worker is connected to anything by TCP"
    table = [["PEER", "CONNS", "SLOTS", "STATES"]]
    for row in rows:
        slots = sorted(row["slots"].items(), key=lambda it: int(it[0]))
        table.append(
            [
                row["peer"],
                str(sum(row["slots"].values())),
                " ".join(f"{slot}:{count}" for slot, count in slots),
                " ".join(f"{state}:{count}" for state, count in sorted(row["states"].items())),
            ]
        )
    wide = [max(map(len, column)) for column in zip(*table, strict=True)]
    left = (True, False, True, True)
    return "\n".join(
        "  ".join(
            cell.ljust(w) if to_left else cell.rjust(w)
            for cell, w, to_left in zip(line, wide, left, strict=True)
        ).rstrip()[: max(width, 40)]
        for line in table
    )
