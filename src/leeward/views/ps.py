"""`leeward ps` as a table.  Takes the answers of supervisors, returns text.

Read most often when something is wrong, on a narrow terminal: the state and its
reason come first, one fact per line, no colour needed to understand it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from leeward.views.units import cpu, number, plural, size, span

Snapshot = Mapping[str, Any]


def render(snapshots: Sequence[Snapshot], width: int = 80, reader: int = -1) -> str:
    """One block per instance, an empty line between.

    width:   columns of the terminal.
    reader:  uid of who reads it, who is told which are not his own; -1: nobody is.
    """
    blocks = (_block(snapshot, max(width, 40), reader) for snapshot in snapshots)
    return "\n\n".join(map("\n".join, blocks))


def _block(it: Snapshot, width: int, reader: int) -> list[str]:
    header = _header(it)
    if reader not in (-1, it.get("uid", reader)):
        header.insert(1, f"  user       {it['uid']}, whose supervisor says all this of itself")
    lines = [part for line in header for part in _wrapped(line, width)]
    lines += _table(it, width)
    lines += [part for line in _ailing(it) for part in _wrapped(line, width)]
    ends = it.get("ends") or ()
    if ends:
        lines.append("  last ends nobody asked for:")
        lines += [part for end in ends for part in _wrapped(f"    {_end(end)}", width)]
    return lines


def _header(it: Snapshot) -> list[str]:
    workers = it.get("workers") or ()
    serving = sum(worker.get("state") == "serving" for worker in workers)
    wanted = it.get("workers_wanted", 0)
    lines = [
        f"{it['name']}  {it.get('state', '?')}  {serving} of {plural(wanted, 'worker')}  "
        f"generation {it.get('generation') or '-'}  up {span(it.get('uptime'))}  pid {it['pid']}",
        f"  serves     {it.get('target', '?')}{_found(it)}",
        f"  at         {'  '.join(it.get('listeners') or ('-',))}",
        f"  mode       {_mode(it)}",
    ]
    backoff = it.get("backoff")
    if backoff:
        lines.append(f"  backing off for {span(backoff['until'])}: {_one_line(backoff['why'])}")
    back = it.get("went_back")
    if back:
        lines.append(
            f"  went back  from generation {back['generation']} to {back['to']}, "
            f"{span(back['ago'])} ago: {_one_line(back['why'])}"
        )
    previous = it.get("previous")
    if previous:
        number, left = previous["generation"], span(previous["for"])
        lines.append(f"  kept       generation {number}, for {left}: leeward rollback")
    mixed = it.get("mixed") or ()
    if mixed:
        names = ", ".join(mixed[:3]) + (f" and {len(mixed) - 3} more" if len(mixed) > 3 else "")
        lines.append(f"  mixed      changed since this generation was loaded: {names}")
        lines.append("             leeward reload gives every worker the same code")
    memory = _memory(it)
    if memory:
        lines.append(f"  memory     {memory}")
    return lines


def _found(it: Snapshot) -> str:
    kind, found = it.get("kind"), it.get("found")
    if not kind or not found:
        return ""
    # A factory that nobody has called yet: "factory make_app() in chat".
    return f"  ({found})" if found.startswith(kind) else f"  ({kind}: {found})"


def _mode(it: Snapshot) -> str:
    mode = it.get("mode") or "not decided yet"
    why = _one_line(it.get("mode_why") or "")
    return f"{mode} ({why})" if why else mode


def _memory(it: Snapshot) -> str:
    parts = [("supervisor", it.get("pss_bytes"))]
    parts += [("zygote", zygote.get("pss_bytes")) for zygote in it.get("zygotes") or ()]
    workers = [worker.get("pss_bytes") for worker in it.get("workers") or ()]
    known = [value for value in workers if value is not None]
    if known:
        parts.append(("workers", sum(known)))
    shown = [(name, value) for name, value in parts if value is not None]
    if not shown:
        return ""
    total = sum(value for _, value in shown)
    return f"{size(total)}: " + ", ".join(f"{name} {size(value)}" for name, value in shown)


#: Heading, cell, and how soon a narrow terminal goes without it (0: never).
_COLUMNS: tuple[tuple[str, Callable[[Snapshot], str], int], ...] = (
    ("SLOT", lambda w: number(w.get("slot")), 0),
    ("GEN", lambda w: number(w.get("generation")), 6),
    ("PID", lambda w: number(w.get("pid")), 0),
    ("STATE", lambda w: _state(w), 0),
    ("UP", lambda w: span(w.get("uptime")), 5),
    ("CONNS", lambda w: number(w.get("connections")), 0),
    ("ACTIVE", lambda w: number(w.get("in_flight")), 7),
    ("IDLE", lambda w: number(w.get("idle")), 1),
    ("UPGRADED", lambda w: number(w.get("upgraded")), 2),
    ("REQUESTS", lambda w: number(w.get("requests")), 3),
    ("ACCEPTED", lambda w: number(w.get("accepted")), 1),
    ("CPU", lambda w: cpu(w.get("cpu_seconds")), 4),
    ("PSS", lambda w: size(w.get("pss_bytes")), 8),
    ("FDS", lambda w: _fds(w), 9),
    ("ENDS", lambda w: number(w.get("ends") or None), 1),
)


def _table(it: Snapshot, width: int) -> list[str]:
    counts = {end["slot"]: end["count"] for end in it.get("ends") or ()}
    workers = [{**worker, "ends": counts.get(worker["slot"])} for worker in it.get("workers") or ()]
    if not workers:
        return ["  no worker is alive"]
    columns = list(_COLUMNS)
    while True:
        rows = [[name for name, _, _ in columns]]
        rows += [[cell(worker) for _, cell, _ in columns] for worker in workers]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        if sum(widths) + 2 * len(widths) <= width:
            break
        spare = [column for column in columns if column[2]]
        if not spare:
            break
        columns.remove(min(spare, key=lambda column: column[2]))
    left = [name == "STATE" for name, _, _ in columns]
    return [
        "  "
        + "  ".join(
            cell.ljust(wide) if to_left else cell.rjust(wide)
            for cell, wide, to_left in zip(row, widths, left, strict=True)
        ).rstrip()
        for row in rows
    ]


def _state(worker: Snapshot) -> str:
    left = worker.get("aside_left")
    state = str(worker.get("state", "?")) + (", full" if worker.get("full") else "")
    return state if left is None else f"{state}, {span(left)} left"


def _fds(worker: Snapshot) -> str:
    used, limit = worker.get("fds"), worker.get("fd_limit")
    return "-" if used is None else f"{used}/{number(limit)}"


def _ailing(it: Snapshot) -> list[str]:
    found = [
        f"    slot {worker['slot']}: {resource}: {_one_line(why)}"
        for worker in it.get("workers") or ()
        for resource, why in (worker.get("ailing") or {}).items()
    ]
    return ["  resources that fail their checks:", *found] if found else []


def _end(end: Snapshot) -> str:
    times = "once" if end["count"] == 1 else f"{end['count']} times"
    return (
        f"slot {end['slot']}: {_one_line(end['why'])}, {span(end['ago'])} ago, {times} "
        f"(pid {end['pid']}, generation {end['generation']})"
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _wrapped(line: str, width: int) -> list[str]:
    """Folded under its own value: a reason that is cut off is no reason."""
    lead = line[: len(line) - len(line.lstrip())]
    return textwrap.wrap(
        line.lstrip(),
        width,
        initial_indent=lead,
        subsequent_indent=lead + " " * 11,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
