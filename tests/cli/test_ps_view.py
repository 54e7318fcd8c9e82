"""leeward.views: what a person reads, on any width."""

from __future__ import annotations

from typing import Any

import pytest

from leeward.views import units
from leeward.views.ps import render

WORKER: dict[str, Any] = {
    "slot": 0,
    "generation": 3,
    "pid": 4711,
    "state": "serving",
    "uptime": 7300.0,
    "connections": 12,
    "accepted": 4000,
    "requests": 5000,
    "in_flight": 1,
    "idle": 7,
    "upgraded": 4,
    "worker": 9,
    "pss_bytes": 30 * 1024**2,
    "cpu_seconds": 61.0,
    "fds": 31,
    "fd_limit": 1024,
}
SNAPSHOT: dict[str, Any] = {
    "name": "chat",
    "pid": 4000,
    "version": "0.1.0",
    "target": "chat:make_app",
    "kind": "Tornado application",
    "found": "factory make_app() in chat.py",
    "mode": "zygote",
    "mode_why": "nothing that a fork would break",
    "listeners": ["http://127.0.0.1:8000"],
    "control": "/run/leeward/chat.sock",
    "workers_wanted": 2,
    "generation": 3,
    "state": "backing off",
    "uptime": 90000.0,
    "backoff": {"until": 4.2, "why": "slot 1 ended 5 times:\nkilled by SIGKILL"},
    "mixed": [],
    "zygotes": [{"generation": 3, "pid": 4001, "state": "serving", "pss_bytes": 20 * 1024**2}],
    "pss_bytes": 9 * 1024**2,
    "workers": [WORKER],
    "ends": [
        {
            "slot": 1,
            "generation": 3,
            "pid": 4712,
            "why": "killed by SIGKILL (outside)",
            "ago": 12.0,
            "count": 3,
        }
    ],
}


def test_the_whole_table_reads_so() -> None:
    assert render([SNAPSHOT], 120).split("\n") == [
        "chat  backing off  1 of 2 workers  generation 3  up 1d01h  pid 4000",
        "  serves     chat:make_app  (Tornado application: factory make_app() in chat.py)",
        "  at         http://127.0.0.1:8000",
        "  mode       zygote (nothing that a fork would break)",
        "  backing off for 4s: slot 1 ended 5 times: killed by SIGKILL",
        "  memory     59M: supervisor 9M, zygote 20M, workers 30M",
        "  SLOT  GEN   PID  STATE       UP  CONNS  ACTIVE  IDLE  UPGRADED  REQUESTS  ACCEPTED"
        "    CPU  PSS      FDS  ENDS",
        "     0    3  4711  serving  2h01m     12       1     7         4      5000      4000"
        "  1m01s  30M  31/1024     -",
        "  last ends nobody asked for:",
        "    slot 1: killed by SIGKILL (outside), 12s ago, 3 times (pid 4712, generation 3)",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    snapshot = {**SNAPSHOT, "mixed": ["/srv/app/a.py", "/srv/app/b.py", "/c.py", "/d.py"]}
    text = render([snapshot], width)
    assert max(map(len, text.split("\n"))) <= width
    for word in ("SLOT", "PID", "STATE", "CONNS", "4711", "SIGKILL (outside)", "and 1 more"):
        assert word in " ".join(text.split())


def test_resources_that_ail_stand_below_the_table() -> None:
    """By slot and name, with the reason in one line; nothing where all are well."""
    ails = {**WORKER, "ailing": {"db (app.py:12)": "OSError: gone\naway"}}
    text = render([{**SNAPSHOT, "workers": [ails, {**WORKER, "slot": 1, "ailing": {}}]}], 100)
    assert (
        "  resources that fail their checks:\n    slot 0: db (app.py:12): OSError: gone away\n"
        in text
    )
    assert "checks" not in render([SNAPSHOT], 100)


def test_instances_are_blocks_with_an_empty_line_between() -> None:
    assert render([SNAPSHOT, SNAPSHOT], 100).count("\n\n") == 1


def test_what_is_not_known_yet_is_a_dash() -> None:
    bare = {"name": "chat", "pid": 1, "workers": [{"slot": 0, "pid": None}], "mode": None}
    text = render([bare], 100)
    assert "not decided yet" in text
    assert "  -" in text
    assert "no worker is alive" in render([{"name": "chat", "pid": 1}], 100)


def test_units_are_short() -> None:
    spans = [0.0, 0.25, 12, 245, 12000, 1_051_200, None]
    assert [units.span(each) for each in spans] == [
        "0ms",
        "250ms",
        "12s",
        "4m05s",
        "3h20m",
        "12d04h",
        "-",
    ]
    sizes = [2048, 25 * 1024**2, int(1.3 * 1024**3), None]
    assert [units.size(each) for each in sizes] == ["2K", "25M", "1.3G", "-"]
    assert [units.cpu(each) for each in (0.42, 61, None)] == ["0.4s", "1m01s", "-"]
    assert (units.number(None), units.plural(1, "worker")) == ("-", "1 worker")
