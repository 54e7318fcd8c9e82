"""The corpus: nothing hostile is taken, nothing legal refused, nothing waits that need not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from engine.corpus import HOSTILE, LEGAL, TAIL, Case, expected, statuses, verdict
from engine.sides import Ours, Simulated, quiet
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest, ResponseStartLine
from tornado.netutil import bind_sockets

ALL = (*HOSTILE, *LEGAL)


@pytest.mark.parametrize("case", ALL, ids=lambda it: it.name.replace(" ", "-"))
def test_the_parser(case: Case) -> None:
    """In one piece, octet by octet, and from the caches."""
    cached, uncached = Ours(), Ours(cached=False)
    wire = case.wire + TAIL
    octets = [wire[at : at + 1] for at in range(len(wire))]
    assert not verdict(case, cached)
    assert not verdict(case, uncached, octets)
    assert not verdict(case, cached)
    assert not verdict(case, cached)


def test_there_are_enough_and_their_names_are_distinct() -> None:
    assert len({it.name for it in ALL}) == len(ALL)
    assert len(HOSTILE) >= 250
    assert len(LEGAL) >= 50


@pytest.fixture(scope="module")
def tornado_server() -> Iterator[tuple[str, int]]:
    """Tornado's server, in a thread of its own."""
    quiet()
    ready, addresses, ends = threading.Event(), list[tuple[str, int]](), list[asyncio.Event]()
    loops: list[asyncio.AbstractEventLoop] = []

    def answer(request: HTTPServerRequest) -> None:
        assert request.connection
        request.connection.write_headers(ResponseStartLine("", 204, ""), type(request.headers)())
        request.connection.finish()

    async def serve() -> None:
        (sock,) = bind_sockets(0, "127.0.0.1")
        server = HTTPServer(answer, max_body_size=1000)
        server.add_socket(sock)
        addresses.append(sock.getsockname())
        ends.append(asyncio.Event())
        loops.append(asyncio.get_running_loop())
        ready.set()
        await ends[0].wait()
        server.stop()
        await server.close_all_connections()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    yield addresses[0]
    loops[0].call_soon_threadsafe(ends[0].set)
    thread.join(10)


def test_the_driver_over_sockets(tornado_server: tuple[str, int]) -> None:
    """What a server says of the corpus: Tornado's own agrees with itself, simulated."""
    simulated = Simulated()
    for case in (*HOSTILE[::5], *LEGAL):
        if "behind" in case.name:
            continue  # it carries out what it does not answer
        got = statuses(tornado_server, case)
        told = simulated([case.wire, TAIL])
        assert [it for it in got if it < 400] == [204] * len(told.requests), case.name
        if not verdict(case, simulated):
            assert sum(it < 400 for it in got) == expected(case), case.name
    simulated.close()
