"""A worker answers for its connections by itself, to whoever the supervisor hands on."""

from __future__ import annotations

import pytest
from worker.harness import PATIENCE

from leeward._core.conns import Conn, Query
from leeward._core.messages import Asked, Descriptor, Piece
from leeward._sys.channel import Channel
from leeward._worker.telling import MOST


def ask(one, what="conns", query=None, number=1):
    """The asker's end."""
    ours, theirs = Channel.pair()
    query = Query().to_json() if query is None else query
    one.channel.send(Asked(what, query, number, Descriptor(theirs.fileno())))
    theirs.close()
    return ours


def answer(channel):
    """All pieces of one asker's answer, their connections and the last one's error."""
    pieces = []
    while not pieces or not pieces[-1].last:
        piece = channel.wait(PATIENCE)
        assert isinstance(piece, Piece), piece
        pieces.append(piece)
    channel.close()
    conns = [Conn.from_json(line) for piece in pieces for line in piece.text.splitlines()]
    return pieces, conns, pieces[-1].error


def test_each_connection_once_and_in_pieces(serving):
    """None is larger than a packet; each says whose it is."""
    one = serving()
    for _ in range(300):
        one.connect()
    one.until(lambda row: row.open == 300)
    pieces, conns, error = answer(ask(one, number=7))
    assert error == "" and len({conn.id for conn in conns}) == len(conns) == 300
    assert {piece.worker for piece in pieces} == {7} and len(pieces) > 1
    assert max(len(piece.text) for piece in pieces) < 60_000
    assert {(conn.slot, conn.generation, conn.pid) for conn in conns} == {(2, 5, one.pid)}
    assert {conn.id for conn in conns} == {f"3.{number}" for number in range(1, 301)}


def test_more_askers_than_it_answers_at_a_time_are_told_so(serving):
    """Those before are answered in full."""
    one = serving()
    for _ in range(400):
        one.connect()
    one.until(lambda row: row.open == 400)
    askers = [ask(one, number=number) for number in range(MOST + 1)]
    *whole, refused = [answer(asker) for asker in askers]
    assert [len(conns) for _, conns, _ in whole] == [400] * MOST
    assert refused[1] == [] and refused[2] == f"{MOST} others are asking it"
    assert len(answer(ask(one))[1]) == 400, "and the next one again"


@pytest.mark.parametrize("query", ["{", '{"no_such": 1}', '{"peer": "nobody"}'])
def test_what_it_does_not_understand_is_said(serving, query):
    one = serving()
    _, conns, error = answer(ask(one, query=query))
    assert conns == [] and error.startswith("does not understand what is asked: ")
    assert one.connect().get("/")[0] == 200


def test_a_kill_goes_on_when_its_asker_has_left(serving):
    """Whoever typed it may have pressed Ctrl-C: what was asked for is done."""
    one = serving()
    clients = [one.connect() for _ in range(300)]
    one.until(lambda row: row.open == 300)
    ask(one, "kill").close()
    one.until(lambda row: row.open == 0)
    assert all(client.sock.recv(1) == b"" for client in clients)


def test_an_asker_that_left_is_no_trouble(serving):
    one = serving()
    for _ in range(300):
        one.connect()
    one.until(lambda row: row.open == 300)
    for _ in range(3 * MOST):
        ask(one).close()
    while (found := answer(ask(one)))[2]:
        assert found[2] == f"{MOST} others are asking it"
    assert len(found[1]) == 300
    assert one.connect().get("/")[0] == 200
