"""A connection as it is told, which ones a query means, and what may reach a terminal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leeward._core.conns import (
    LONGEST,
    ORDERS,
    STATES,
    Conn,
    Identity,
    Query,
    host,
    id_of,
    numbers_of,
    ordered,
    shown,
)
from leeward._core.record import asdict, replace

CONN = Conn(
    slot=2,
    id="17",
    pid=4711,
    generation=3,
    peer="203.0.113.7:51234",
    client="",
    local="127.0.0.1:8000",
    tls="",
    state="active",
    kind="http",
    age=90.0,
    since=3.0,
    idle=2.0,
    received=100,
    sent=2000,
    requests=4,
    method="GET",
    url="/rooms/1",
    handler="chat.Room",
    waits_at="chat.py:41 Room.get",
    deadline=None,
    ends="",
)


def test_a_connection_survives_the_journey() -> None:
    assert Conn.from_json(CONN.to_json()) == CONN
    with pytest.raises(KeyError, match="url"):
        Conn.from_json(json.dumps({k: v for k, v in asdict(CONN).items() if k != "url"}))


def test_a_query_survives_the_journey() -> None:
    query = Query(id="3", state="idle", peer="10.0.0.0/8", endpoint="a:1", idle_over=2.5)
    assert Query.from_json(query.to_json()) == query
    with pytest.raises(TypeError):
        Query.from_json('{"no_such_field": 1}')
    with pytest.raises(ValueError, match="nobody"):
        Query.from_json('{"peer": "nobody"}')


@pytest.mark.parametrize(
    ("query", "conn", "matches"),
    [
        (Query(), CONN, True),
        (Query(id="17"), CONN, True),
        (Query(id="18"), CONN, False),
        (Query(id="2.17"), CONN, False),
        (Query(state="active"), CONN, True),
        (Query(state="idle"), CONN, False),
        (Query(idle_over=1.9), CONN, True),
        (Query(idle_over=2.0), CONN, False),
        (Query(endpoint="203.0.113.7:51234"), CONN, True),
        (Query(endpoint="203.0.113.7:5123"), CONN, False),
        (Query(peer="203.0.113.7"), CONN, True),
        (Query(peer="203.0.113.8"), CONN, False),
        (Query(peer="203.0.113.0/24"), CONN, True),
        (Query(peer="203.0.113.9/24"), CONN, True),
        (Query(peer="10.0.0.0/8"), CONN, False),
        (Query(peer="unix"), CONN, False),
        (Query(peer="unix"), replace(CONN, peer="unix:pid=3"), True),
        (Query(peer="203.0.113.7"), replace(CONN, peer="unix:pid=3"), False),
        (Query(peer="198.51.100.1"), replace(CONN, client="198.51.100.1"), True),
        (Query(peer="::1"), replace(CONN, peer="[::1]:80"), True),
        (Query(peer="fe80::1"), replace(CONN, peer="[fe80::1%eth0]:80"), True),
        (Query(peer="203.0.113.7"), replace(CONN, peer="[::ffff:203.0.113.7]:80"), True),
        (Query(peer="203.0.113.8"), replace(CONN, peer="[::ffff:203.0.113.7]:80"), False),
        (Query(state="active", id="17", idle_over=3.0), CONN, False),
    ],
)
def test_a_query_means(query: Query, conn: Conn, matches: bool) -> None:
    """Each field narrows it; a peer is the socket's address or the one a proxy told."""
    assert query.matches(conn) is matches


def test_an_address_alone_can_be_asked_for() -> None:
    assert Query(peer="10.0.0.0/8").is_peer("10.1.2.3:6379")
    assert not Query(peer="10.0.0.0/8").is_peer("11.1.2.3:6379")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (Query(), ""),
        (Query(id="17"), "connection 17"),
        (
            Query(state="idle", peer="::1", endpoint="a:1", idle_over=60.0),
            "--state idle --peer ::1 a:1 --idle-over 60s",
        ),
    ],
)
def test_a_query_in_words(query: Query, words: str) -> None:
    assert query.words == words


@pytest.mark.parametrize(
    ("peer", "address"),
    [("1.2.3.4:5", "1.2.3.4"), ("[::1]:5", "::1"), ("::1", "::1"), ("1.2.3.4", "1.2.3.4")],
)
def test_the_address_of_a_peer(peer: str, address: str) -> None:
    assert host(peer) == address


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/plain?a=%20", "/plain?a=%20"),
        ("/\x1b[31m\x07", "/%1B[31m%07"),
        ("/\x9b\xff", "/%9B%FF"),
        ("/ü☃", "/%FC%E2%98%83"),
        ("/\udc80", "/%ED%B2%80"),
        ("x" * (LONGEST + 1), "x" * LONGEST + "..."),
    ],
)
def test_what_a_client_sent_is_told_in_printable_ascii(text: str, told: str) -> None:
    assert shown(text) == told


@given(st.text(st.characters(exclude_categories=())))
def test_nothing_but_printable_ascii_is_ever_told(text: str) -> None:
    assert shown(text).isascii() and (shown(text).isprintable())


@pytest.mark.parametrize(
    ("by", "ids"),
    [("", "1 2 3"), ("age", "2 1 3"), ("bytes", "3 1 2"), ("idle", "1 3 2")],
)
def test_the_order(by: str, ids: str) -> None:
    """By slot and number, or the oldest, the busiest, the most idle first."""
    conns = [
        replace(CONN, slot=1, id="3", age=1.0, sent=9000, idle=5.0),
        replace(CONN, slot=0, id="1", age=5.0, sent=50, idle=7.0),
        replace(CONN, slot=0, id="2", age=9.0, sent=5, idle=1.0),
    ]
    assert [conn.id for conn in ordered(conns, by)] == ids.split()
    assert by in ("", *ORDERS)


def test_the_order_of_a_slots_workers() -> None:
    """The oldest first, each one's connections by number; orphans by whose they are."""
    ids = ["10.1", "", "2.10", "9", "2.9", "", "10", ""]
    conns = [replace(CONN, id=id, pid=place % 2) for place, id in enumerate(ids)]
    found = [(conn.id, conn.pid) for conn in ordered(conns)]
    assert [id for id, _ in found] == ["", "", "", "9", "10", "2.9", "2.10", "10.1"]
    assert [pid for _, pid in found[:3]] == [1, 1, 1]


def test_the_first_workers_names_are_numbers_alone() -> None:
    """And no two workers of a slot have a name in common."""
    third = Identity(slot=0, generation=2, pid=4711, ordinal=3)
    assert (id_of(1, 17), third.name(17)) == ("17", "3.17")
    pairs = [(ordinal, number) for ordinal in range(1, 40) for number in range(1, 40)]
    assert [numbers_of(id_of(*pair)) for pair in pairs] == pairs
    assert numbers_of("") == (1, 0)


def test_the_states_are_those_of_the_living() -> None:
    assert STATES == ("new", "active", "idle", "upgraded", "closing", "orphan")


@pytest.mark.parametrize(
    "change",
    [
        {"slot": "0"},
        {"id": 7},
        {"id": "x"},
        {"peer": None},
        {"age": "old"},
        {"age": float("inf")},
        {"idle": True},
        {"sent": 1.5},
        {"deadline": "soon"},
    ],
)
def test_a_connection_is_of_its_types(change: dict[str, Any]) -> None:
    """Whatever a worker says whose memory was written over: `leeward conns` sorts and adds it."""
    good = Conn(
        slot=0, id="3.17", pid=1, generation=1, peer="a:1", state="idle", age=1, since=0.5, idle=0.5
    )
    assert Conn.from_json(good.to_json()) == good
    with pytest.raises(ValueError):
        Conn.from_json(json.dumps({**json.loads(good.to_json()), **change}))


def test_a_connection_is_no_deep_thing() -> None:
    with pytest.raises(ValueError):
        Conn.from_json("[" * 60_000)
