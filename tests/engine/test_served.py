"""The engine behind a socket reads what its parser reads: nothing is lost between the two."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
from engine import hall
from engine.corpus import HOSTILE, LEGAL, TAIL, Case
from engine.grammar import Grammar
from engine.sides import MAX_BODY, Connected, Ours, Recorder, quiet, same
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

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


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Hello(RequestHandler):
    def get(self) -> None:
        self.write("hello")


class Shedding(hall.Counters):
    shed = 0


def test_half_a_head_is_no_request_in_flight() -> None:
    """Ten clients that sent one byte each took every request that --limit-concurrency allows."""

    async def answered(transport: hall.Transport) -> bool:
        for _ in range(10):  # a handler's task begins at once only where tasks are eager
            if transport.written:
                break
            await asyncio.sleep(0)
        return b"".join(transport.written).startswith(b"HTTP/1.1 200 ")

    async def main() -> None:
        app = Application([("/", Hello)], log_function=lambda _: None)
        config = Config("", limit_concurrency=2)
        made = Engine(app, config, Shedding(), lambda: None)
        halves = [hall.connection(made) for _ in range(10)]
        for member, _ in halves:
            member.data_received(b"G")
        for ends in (False, True):
            whole, transport = hall.connection(made)
            whole.data_received(GET)
            assert await answered(transport)
            for member, transport in halves[:5]:
                if ends:
                    member.connection_lost(None)
                else:
                    member.data_received(GET[1:])
                    assert await answered(transport)
                    member.data_received(b"GET")
        assert made.half_heads == 5
        made.close_rest()
        assert made.half_heads == 0

    asyncio.run(main())
