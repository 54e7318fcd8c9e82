"""The engine behind a socket reads what its parser reads: nothing is lost between the two."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
from engine.corpus import HOSTILE, LEGAL, TAIL, Case
from engine.grammar import Grammar
from engine.sides import MAX_BODY, Connected, Ours, Recorder, quiet, same
from tornado.httpserver import HTTPServer

from leeward._core.config import Config
from leeward.engine.accelerate.install import installed
from leeward.engine.engine import Engine

SEED = 20
INPUTS = 200


class _Counters:
    open = requests = in_flight = new = upgraded = closing = 0


def engine_serve(sock: socket.socket, delegate: Recorder) -> Callable[[], None]:
    """Serves `sock` with the engine; returns what ends that."""
    sock.setblocking(False)
    http = HTTPServer(delegate, max_body_size=MAX_BODY)  # type: ignore[arg-type]
    engine = Engine(http, Config(""), _Counters(), lambda: None)
    engine.accept(sock, ("127.0.0.1", 1))
    return engine.close_rest


@pytest.fixture(scope="module")
def served() -> Connected:
    quiet()
    return Connected(engine_serve)


@pytest.mark.parametrize("case", (*HOSTILE, *LEGAL), ids=lambda it: it.name.replace(" ", "-"))
def test_the_corpus(case: Case, served: Connected) -> None:
    """The same requests, bodies and end, in one piece and with the tail behind it."""
    ours, theirs = Ours()([case.wire, TAIL]), served([case.wire, TAIL])
    assert same(ours, theirs), (ours, theirs)


def test_random_requests(served: Connected) -> None:
    """Cut where the input is cut, pipelined, half, hostile: the verdict is the parser's.

    A few only, by a real socket: `test_server_fuzz` does it for thousands.
    """
    grammar = Grammar(SEED)
    for _ in range(INPUTS):
        case = grammar.input()
        ours, theirs = Ours()(case.pieces), served(case.pieces)
        assert same(ours, theirs), (case.pieces, ours, theirs)


def test_a_probe_installs_nothing_that_was_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """--no-accelerate holds for the probe's own engine too."""
    asked: list[str] = []
    monkeypatch.setattr(installed, "install", lambda: asked.append("install"))
    mine, theirs = socket.socketpair()

    async def probe() -> None:
        engine = Engine(Recorder(), Config("", accelerate=False), _Counters(), lambda: None)
        theirs.setblocking(False)
        engine.probe(theirs)
        await asyncio.sleep(0)

    with mine, theirs:
        asyncio.run(probe())
    assert not asked
