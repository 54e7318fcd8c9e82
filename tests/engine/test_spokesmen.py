"""Whom a connection counts under whose peer speaks for others."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest
from engine import hall
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler, stream_request_body
from tornado.websocket import WebSocketHandler

from leeward._core.config import Config
from leeward.engine.connection import Connection
from leeward.engine.engine import Engine

ONE, OTHER = "192.0.2.1", "192.0.2.2"
PROXY = ("127.0.0.1", 1)

#: Whom each answer waits for, in the order of their requests.
waiting: list[asyncio.Future[None]] = []


class Held(RequestHandler):
    async def get(self) -> None:
        waiting.append(asyncio.get_running_loop().create_future())
        await waiting[-1]
        self.write(self.request.remote_ip or "")

    post = get


class Ready(RequestHandler):
    def get(self) -> None:
        self.write(self.request.remote_ip or "")

    post = get


@stream_request_body
class Hasty(RequestHandler):
    """Answers before it has the body."""

    def prepare(self) -> None:
        self.finish("enough")

    def data_received(self, chunk: bytes) -> None: ...


class Socket(WebSocketHandler): ...


class Late(WebSocketHandler):
    async def prepare(self) -> None:
        waiting.append(asyncio.get_running_loop().create_future())
        await waiting[-1]


class Takes(RequestHandler):
    """Takes the stream, and answers by itself."""

    def get(self) -> None:
        self.detach().write(b"HTTP/1.1 200 mine\r\n\r\n")


class Tunnel(RequestHandler):
    """Has answered when it takes the stream, and not by a 101."""

    def get(self) -> None:
        self.finish("go on")
        self.detach()


class Declines(RequestHandler):
    """Says 101, and goes on in HTTP."""

    def get(self) -> None:
        self.set_status(101)
        self.finish()


APPLICATION = Application(
    [
        ("/", Ready),
        ("/held", Held),
        ("/hasty", Hasty),
        ("/ws", Socket),
        ("/late", Late),
        ("/takes", Takes),
        ("/tunnel", Tunnel),
        ("/declines", Declines),
    ],
    log_function=lambda handler: None,
)

UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


PATHS = ("/", "/held", "/held", "/ws", "/takes", "/tunnel", "/declines")


@pytest.fixture(autouse=True)
def _nobody_waits() -> Iterator[None]:
    waiting.clear()
    yield
    waiting.clear()


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(**given: Any) -> None:
        asyncio.run(test(**given))

    return run


def ask(client: str, path: str = "/", more: str = "", method: str = "GET", body: str = "") -> bytes:
    said = f"X-Forwarded-For: {client}\r\n" if client else ""
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{said}{more}\r\n{body}".encode()


@contextlib.asynccontextmanager
async def worker(application: Any = APPLICATION, **settings: Any) -> AsyncIterator[Engine]:
    """Of one connection for each client, and 127.0.0.1 and Unix sockets are believed."""
    given = {"max_conns_per_ip": 1, "forwarded_allow_ips": ("127.0.0.1", "unix:")} | settings
    made = Engine(application, Config("", **given), hall.Counters(), lambda: None)
    try:
        yield made
    finally:
        members = list(made.live)
        for future in waiting:
            future.cancel()
        for member in members:
            member.connection_lost(None)
        await asyncio.sleep(0.01)
        assert not made.addresses._counts, "they count on when nobody is there"


def connected(made: Engine, peer: Any = PROXY) -> tuple[Connection, hall.Transport]:
    """The proxy, or `peer`, has opened a connection."""
    member, transport = Connection(made, peer), hall.Transport()
    member.family = socket.AF_INET  # there is no socket to ask for it
    made.add(member)
    member.connection_made(transport)
    return member, transport


async def answered(transport: hall.Transport, count: int = 1) -> list[bytes]:
    """The next `count` answers."""
    async with asyncio.timeout(10):
        while b"".join(transport.written).count(b"HTTP/1.1 ") < count:
            await asyncio.sleep(0)
    said = b"".join(transport.written).split(b"HTTP/1.1 ")[1:]
    transport.written.clear()
    assert len(said) == count
    return said


async def held(count: int) -> None:
    """So many requests wait for their answer."""
    async with asyncio.timeout(10):
        while len(waiting) < count:
            await asyncio.sleep(0)


async def release(transport: hall.Transport) -> bytes:
    waiting.pop(0).set_result(None)
    return (await answered(transport))[0]


def counts(made: Engine) -> dict[str, int]:
    return dict(made.addresses._counts)


@in_a_loop
async def test_one_connection_carries_one_client_after_the_other() -> None:
    """Each counts until it has its answer; a second request of the same gets 503 meanwhile, and
    its connection is kept."""
    async with worker() as made:
        first, one = connected(made)
        second, two = connected(made)
        assert not counts(made)
        first.data_received(ask(ONE, "/held"))
        await held(1)
        assert counts(made) == {ONE: 1}
        second.data_received(ask(ONE))
        (refused,) = await answered(two)
        assert refused.startswith(b"503 ") and b"\r\nRetry-After: " in refused
        assert b"Connection: close" not in refused and not two.closed
        assert made.counters.shed == 1
        second.data_received(ask(OTHER, "/held"))
        await held(2)
        assert counts(made) == {ONE: 1, OTHER: 1}
        assert (await release(one)).endswith(ONE.encode())
        assert counts(made) == {OTHER: 1}
        first.data_received(ask(OTHER))
        assert (await answered(one))[0].startswith(b"503 ")
        assert (await release(two)).endswith(OTHER.encode())
        first.data_received(ask(OTHER))
        assert (await answered(one))[0].startswith(b"200 ")


@in_a_loop
async def test_pipelined_requests_count_one_after_the_other() -> None:
    """What waits behind a request counts when its turn comes."""
    async with worker() as made:
        member, transport = connected(made)
        member.data_received(ask(ONE, "/held") + ask(ONE, "/held") + ask(OTHER, "/held"))
        for client in (ONE, ONE, OTHER):
            await held(1)
            assert counts(made) == {client: 1}
            assert (await release(transport)).startswith(b"200 ")
        assert not counts(made)


@in_a_loop
async def test_a_client_that_leaves_counts_no_more() -> None:
    """Its proxy closes the connection, while its handler may work on."""
    async with worker() as made:
        member, _ = connected(made)
        member.data_received(ask(ONE, "/held"))
        await held(1)
        member.connection_lost(None)
        assert not counts(made)


@pytest.mark.parametrize("path, more", [("/ws", UPGRADE), ("/takes", ""), ("/tunnel", "")])
@in_a_loop
async def test_what_is_taken_over_counts_to_its_end(path: str, more: str) -> None:
    """Also if the answer was whole before that."""
    async with worker() as made:
        member, transport = connected(made)
        member.data_received(ask(ONE, path, more))
        await answered(transport)
        assert counts(made) == {ONE: 1}
        second, two = connected(made)
        second.data_received(ask(ONE, path, more))
        assert (await answered(two))[0].startswith(b"503 ")
        member.connection_lost(None)
        assert not counts(made)
        second.data_received(ask(ONE, path, more))
        await answered(two)
        assert counts(made) == {ONE: 1}


@in_a_loop
async def test_a_101_that_nobody_follows() -> None:
    """HTTP goes on, and the next request is the next client's."""
    async with worker() as made:
        member, transport = connected(made)
        member.data_received(ask(ONE, "/declines"))
        await answered(transport)
        assert not counts(made)


@pytest.mark.parametrize(
    "more, body, kept",
    [
        ("Content-Length: 3\r\n", "abc", True),
        ("Content-Length: 65537\r\n", "", False),
        ("Transfer-Encoding: chunked\r\n", "", False),
        ("Content-Length: 3\r\nExpect: 100-continue\r\n", "", False),
    ],
)
@in_a_loop
async def test_a_refused_body(more: str, body: str, kept: bool) -> None:
    """A short one is read, and the connection goes on; others are not waited for."""
    async with worker() as made:
        first, _ = connected(made)
        first.data_received(ask(ONE, "/held"))
        await held(1)
        member, transport = connected(made)
        member.data_received(ask(ONE, "/", more, "POST"))
        if kept:
            await asyncio.sleep(0)
            assert not transport.written
            member.data_received(body.encode())
        (refused,) = await answered(transport)
        assert refused.startswith(b"503 ")
        assert (b"Connection: close" in refused) is not kept
        if kept:
            member.data_received(ask(OTHER))
            assert (await answered(transport))[0].startswith(b"200 ")


@in_a_loop
async def test_an_answer_before_the_body() -> None:
    """Who still sends counts until the connection has ended."""
    async with worker() as made:
        member, transport = connected(made)
        member.data_received(ask(ONE, "/hasty", "Content-Length: 1000\r\n", "POST"))
        await answered(transport)
        assert counts(made) == {ONE: 1}


@in_a_loop
async def test_an_answer_that_is_not_taken() -> None:
    """It counts until the last of it has left us."""
    async with worker() as made:
        member, _ = connected(made)
        member.data_received(ask(ONE, "/held"))
        await held(1)
        member.pause_writing()
        waiting.pop().set_result(None)
        async with asyncio.timeout(10):
            while member.exchange is None or not member.exchange.write_finished:
                await asyncio.sleep(0)
        assert counts(made) == {ONE: 1}
        member.resume_writing()
        async with asyncio.timeout(10):
            while counts(made):
                await asyncio.sleep(0)


@in_a_loop
async def test_a_body_that_is_wrong() -> None:
    """400, and it counts no more when the connection has ended."""
    async with worker() as made:
        member, transport = connected(made)
        chunked = "Transfer-Encoding: chunked\r\n"
        member.data_received(ask(ONE, "/held", chunked, "POST", "zz\r\n"))
        assert (await answered(transport))[0].startswith(b"400 ")
        member.connection_lost(None)
        assert not counts(made)


@pytest.mark.parametrize(
    "said, client",
    [
        ("2001:db8:1:2:3::4", "2001:db8:1:2::"),
        ("::ffff:192.0.2.1", ONE),
        (f"203.0.113.9, {ONE}, 127.0.0.1", ONE),
        ("", "127.0.0.1"),
        ("unknown", "127.0.0.1"),
    ],
)
@in_a_loop
async def test_whom_it_speaks_for(said: str, client: str) -> None:
    """An IPv6 client is its /64, as when it comes itself; without a word it is the peer."""
    async with worker() as made:
        member, _ = connected(made)
        member.data_received(ask(said, "/held"))
        await held(1)
        assert counts(made) == {client: 1}


@in_a_loop
async def test_who_is_not_believed() -> None:
    """Counts by the connection, from its first to its last moment, whatever he says."""
    async with worker(forwarded_allow_ips=("10.0.0.0/8",)) as made:
        member, transport = connected(made)
        assert counts(made) == {"127.0.0.1": 1}
        member.data_received(ask(ONE, "/held"))
        await held(1)
        assert counts(made) == {"127.0.0.1": 1}
        await release(transport)
        assert counts(made) == {"127.0.0.1": 1}


@in_a_loop
async def test_a_unix_socket() -> None:
    """Those who come through it count under whom they speak for, or not at all."""
    async with worker() as made:
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.setblocking(False)
            made.accept(ours, "")
            loop = asyncio.get_running_loop()
            for said, found in ((ONE, {ONE: 1}), ("", {})):
                await loop.sock_sendall(theirs, ask(said, "/held"))
                await held(1)
                assert counts(made) == found
                waiting.pop().set_result(None)
                async with asyncio.timeout(10):
                    assert (await loop.sock_recv(theirs, 4096)).startswith(b"HTTP/1.1 200 ")


@in_a_loop
async def test_a_balancer_before_the_proxy() -> None:
    """Whom the PROXY header tells counts by the connection, unless he speaks for others."""
    async with worker(proxy_protocol="v1", forwarded_allow_ips=(ONE,)) as made:
        members = [Connection(made, PROXY) for _ in range(4)]
        for member in members:
            made.add(member)
        assert [made.introduce(it, (ONE, 2)) for it in members[:2]] == [True, True]
        assert [made.introduce(it, (OTHER, 2)) for it in members[2:]] == [True, False]
        for member in members[2:]:
            made.remove(member)
        assert not {ONE, OTHER} & counts(made).keys()
        for member in members[:2]:
            made.remove(member)


@pytest.mark.parametrize("trusted, client", [((), "10.0.0.9"), (("10.0.0.9",), ONE)])
@in_a_loop
async def test_a_programs_own_xheaders(trusted: tuple[str, ...], client: str) -> None:
    """Everybody speaks for others then; a proxy of `trusted_downstream` is no client."""
    http = HTTPServer(APPLICATION, xheaders=True, trusted_downstream=list(trusted))
    async with worker(http, forwarded_allow_ips=()) as made:
        member, transport = connected(made)
        assert not counts(made)
        member.data_received(ask(f"{ONE}, 10.0.0.9", "/held"))
        await held(1)
        assert counts(made) == {client: 1}
        second, two = connected(made)
        second.data_received(ask(f"{ONE}, 10.0.0.9"))
        assert (await answered(two))[0].startswith(b"503 ")
        assert second.context.remote_ip == "127.0.0.1"
        assert (await release(transport)).endswith(client.encode())
        second.data_received(ask(""))
        assert (await answered(two))[0].endswith(b"127.0.0.1")


@pytest.mark.parametrize("by", ["flag", "program"])
@in_a_loop
async def test_a_bound_that_is_set_and_lifted(by: str) -> None:
    """Those who have a request in hand, or a WebSocket, count from then on; who waits does not.

    A request whose body is on its way keeps the address that it was told.
    """
    peers = ("127.0.0.1",) if by == "flag" else ()
    http = HTTPServer(APPLICATION, xheaders=by == "program")
    bounds = {"forwarded_allow_ips": peers}
    async with worker(http, max_conns_per_ip=0, **bounds) as made:
        links = [connected(made) for _ in range(4)]
        for (member, transport), request in zip(
            links,
            [ask(ONE, "/held"), ask(ONE, "/ws", UPGRADE), ask(OTHER), ask("", "/held")],
            strict=True,
        ):
            member.data_received(request)
            if b"/held" not in request:
                await answered(transport)
        await held(2)
        body, last = connected(made)
        body.data_received(ask(OTHER, "/", "Content-Length: 3\r\n", "POST", "ab"))
        assert not counts(made)
        made.tune(Config("", max_conns_per_ip=9))
        expected = {ONE: 2, OTHER: 1, "127.0.0.1": 1}
        assert counts(made) == expected
        made.tune(Config("", max_conns_per_ip=1))
        assert counts(made) == expected
        body.data_received(b"c")
        assert (await answered(last))[0].endswith(OTHER.encode())
        made.tune(Config("", max_conns_per_ip=0))
        await release(links[0][1])
        body.data_received(ask(ONE))
        assert (await answered(last))[0].startswith(b"200 ")
        made.tune(Config("", max_conns_per_ip=1))
        assert counts(made) == {ONE: 1, "127.0.0.1": 1}
        body.data_received(ask(ONE))
        assert (await answered(last))[0].startswith(b"503 ")


@in_a_loop
async def test_a_bound_for_those_who_are_not_believed() -> None:
    """It is their connections that count, with a request in hand too."""
    async with worker(max_conns_per_ip=0) as made:
        member, _ = connected(made, (OTHER, 1))
        member.data_received(ask(ONE, "/held"))
        await held(1)
        made.tune(Config("", max_conns_per_ip=1))
        assert counts(made) == {OTHER: 1}


@in_a_loop
async def test_a_websocket_that_opens_after_that() -> None:
    """Its request counted, and it counts on."""
    async with worker(max_conns_per_ip=0) as made:
        member, transport = connected(made)
        member.data_received(ask(ONE, "/late", UPGRADE))
        await held(1)
        made.tune(Config("", max_conns_per_ip=1))
        assert (await release(transport)).startswith(b"101 ")
        assert counts(made) == {ONE: 1}


@in_a_loop
async def test_another_bound_alone() -> None:
    """Where only --limit-concurrency is set, each client may have any number."""
    async with worker(max_conns_per_ip=0, limit_concurrency=9) as made:
        links = [connected(made) for _ in range(3)]
        for member, _ in links:
            member.data_received(ask(ONE, "/held"))
        await held(3)
        assert not counts(made)


@in_a_loop
async def test_nothing_is_looked_at_without_the_setting() -> None:
    """A request is not asked for whom it comes."""
    async with worker(max_conns_per_ip=0) as made:
        assert not made._bounded
    async with worker(forwarded_allow_ips=()) as made:
        assert not made._bounded
        made.tune(Config("", max_conns_per_ip=1, limit_concurrency=1))
        assert made._bounded


@pytest.mark.parametrize("seed", range(20))
@in_a_loop
async def test_any_weather(seed: int) -> None:
    """Whatever comes and goes, the table has each connection that works for somebody, and no
    more: nobody has more than he may, and at the end it is empty."""
    dice = random.Random(seed)
    clients = [ONE, OTHER, "2001:db8::1", "2001:db8::2"]
    async with worker(max_conns_per_ip=2) as made:
        links: list[tuple[Connection, hall.Transport]] = []
        for _ in range(300):
            match dice.randrange(6):
                case 0 if len(links) < 12:
                    links.append(connected(made))
                case 1 if links:
                    links.pop(dice.randrange(len(links)))[0].connection_lost(None)
                case 2 if waiting:
                    future = waiting.pop(dice.randrange(len(waiting)))
                    if not future.done():
                        future.set_result(None)
                case 3 | 4 | 5 if links:
                    path = dice.choice(PATHS)
                    more = UPGRADE if path == "/ws" else ""
                    dice.choice(links)[0].data_received(ask(dice.choice(clients), path, more))
            for _ in range(3):
                await asyncio.sleep(0)
            found = counts(made)
            assert found == Counter(it.counts_as for it in made.live if it.counts_as), seed
            assert all(0 < it <= 2 for it in found.values()), seed
