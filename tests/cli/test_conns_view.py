"""leeward.views.conns: who is connected, on any width."""

from __future__ import annotations

import pytest

from leeward._core.conns import Conn
from leeward._core.record import replace
from leeward.views.conns import render, render_outbound

POLL = Conn(
    slot=0,
    id="3",
    pid=4711,
    generation=1,
    peer="203.0.113.7:51234",
    client="",
    local="127.0.0.1:8000",
    tls="",
    state="active",
    kind="http",
    age=12.0,
    since=12.0,
    idle=12.0,
    received=412,
    sent=0,
    requests=1,
    method="GET",
    url="/poll?since=7",
    handler="chat.Poll",
    waits_at="chat.py:41 Poll.get",
    deadline=None,
    ends="",
)
ROOM = replace(
    POLL, slot=1, id="1", state="upgraded", kind="websocket", waits_at="", received=2**20, sent=3000
)
IDLE = replace(
    POLL,
    id="14",
    state="idle",
    method="",
    url="",
    handler="",
    waits_at="",
    deadline=59.0,
    ends="next",
)


def test_the_whole_table_reads_so() -> None:
    assert render([POLL, IDLE, ROOM], 3, 2, 160).splitlines() == [
        "CONN  STATE      PEER               AGE  IDLE   IN  OUT  REQS  ENDS IN   HANDLER"
        "    WAITS AT             REQUEST",
        " 0:3  active     203.0.113.7:51234  12s   12s  412    0     1  -         chat.Poll"
        "  chat.py:41 Poll.get  GET /poll?since=7",
        "0:14  idle       203.0.113.7:51234  12s   12s  412    0     1  59s next  -"
        "          -                    -",
        " 1:1  websocket  203.0.113.7:51234  12s   12s   1M   2K     1  -         chat.Poll"
        "  -                    GET /poll?since=7",
        "",
        "3 connections in 2 workers: 1 active, 1 idle, 1 upgraded",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 400])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    long = replace(POLL, url="/" + "x" * 500, handler="a." * 60, client="198.51.100.1")
    lines = render([long, IDLE, ROOM], 3, 2, width).splitlines()
    assert all(len(line) <= width for line in lines[:4])
    assert all(line.startswith((" 0:3", "0:14", " 1:1")) for line in lines[1:4])


def test_what_nobody_has_takes_no_room() -> None:
    """No deadline, no handler: no column."""
    head = render([replace(IDLE, deadline=None)], 1, 1, 200).splitlines()[0]
    assert "ENDS" not in head and "HANDLER" not in head and "REQUEST" in head


def test_the_sum_says_how_many_are_not_shown() -> None:
    assert render([], 0, 2) == "0 connections in 2 workers"
    assert render([POLL], 40, 1).endswith("\n1 of 40 connections in 1 worker: 1 active")


def test_handlers_that_work_for_nobody_are_counted() -> None:
    text = render([], 0, 2, orphans=2)
    assert text.splitlines()[1] == "and 2 handlers whose client left: leeward conns --state orphan"


def test_a_proxys_client_is_named() -> None:
    text = render([replace(POLL, client="198.51.100.1")], 1, 1, 200)
    assert "203.0.113.7:51234 for 198.51.100.1" in text


def test_outbound_reads_so() -> None:
    rows = [
        {"peer": "10.0.0.7:6379", "slots": {"1": 6, "0": 6}, "states": {"established": 12}},
        {"peer": "10.0.0.9:80", "slots": {"10": 1}, "states": {"syn-sent": 1}},
    ]
    assert render_outbound(rows, 80).splitlines() == [
        "PEER           CONNS  SLOTS    STATES",
        "10.0.0.7:6379     12  0:6 1:6  established:12",
        "10.0.0.9:80        1  10:1     syn-sent:1",
    ]
    assert render_outbound([]) == "no worker is connected to anything by TCP"
