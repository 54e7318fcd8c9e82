"""leeward.engine.telling, .standing and the registry: what is told of a connection is true."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from engine.hall import Counters, connection, engine
from tornado import gen
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

from leeward._core.config import Config
from leeward._core.connection import Life
from leeward._core.conns import Conn, Identity, Query
from leeward.engine.connection import Connection
from leeward.engine.engine import Engine
from leeward.engine.registry import POLICY_VIOLATION
from leeward.engine.standing import Standing

GET = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n"
MINE = Identity(slot=2, generation=5, pid=4711, ordinal=1)


class Plain(RequestHandler):
    def get(self) -> None:
        self.write("plain")


class Waits(RequestHandler):
    async def get(self) -> None:
        await self.application.settings["gate"].wait()
        self.write("went on")


APPLICATION = Application([("/plain", Plain), ("/waits", Waits)], log_function=lambda it: None)


def told(made: Engine, query: Query | None = None) -> list[Conn]:
    return [conn for _, conn in made.told(MINE, query or Query())]


def states(made: Engine) -> dict[str, int]:
    """What the page would say."""
    counters: Any = made.counters
    return {
        key: getattr(counters, key)
        for key in ("open", "new", "in_flight", "upgraded", "closing")
        if getattr(counters, key)
    }


def run(body: Callable[[Engine], Awaitable[None]]) -> None:
    async def main() -> None:
        APPLICATION.settings["gate"] = asyncio.Event()
        made = engine(APPLICATION)
        made.counters = Counters()
        await body(made)
        made.close_rest()

    asyncio.run(main())


def test_all_that_a_connection_knows_of_itself_has_slots() -> None:
    """With a dict beside them, of more than 30 keys, each request costs 5 to 10 % more.

    CPython's SHARED_KEYS_MAX_SIZE: beyond it not even methods are found at once.
    """

    async def body(made: Engine) -> None:
        member, _ = connection(made)
        member.data_received(GET % b"plain")
        await asyncio.sleep(0)
        assert not hasattr(member, "__dict__")

    run(body)


def test_the_numbers_follow_the_life() -> None:
    """NEW, ACTIVE, IDLE, CLOSED: in the registry and in the page, and none is left over."""

    async def body(made: Engine) -> None:
        member, _ = connection(made)
        other, _ = connection(made)
        assert states(made) == {"open": 2, "new": 2}
        member.data_received(b"GET /wai")
        assert states(made) == {"open": 2, "new": 1, "in_flight": 1}
        assert [it.ends for it in told(made)] == ["head", "first byte"]
        member.data_received(b"ts HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.sleep(0)
        first, second = told(made)
        assert (first.id, first.state, first.url, first.requests) == ("1", "active", "/waits", 1)
        assert (second.id, second.state, second.received, second.requests) == ("2", "new", 0, 0)
        assert first.received == len(GET % b"waits")
        assert re.fullmatch(r".*test_telling\.py:\d+ Waits\.get", first.waits_at)
        assert (first.slot, first.generation, first.pid) == (2, 5, 4711)
        APPLICATION.settings["gate"].set()
        while member.life is not Life.IDLE:
            await asyncio.sleep(0)
        assert states(made) == {"open": 2, "new": 1}
        (first,) = told(made, Query(state="idle"))
        assert (first.url, first.waits_at, first.handler) == ("", "", "")
        assert first.sent > 0
        for it in (member, other):
            it.connection_lost(None)
        assert states(made) == {} and told(made) == []
        third, _ = connection(made)
        assert third.account.id == 3, "a number is never used again"

    run(body)


def test_a_pipelined_request_is_as_old_as_the_answer_before_it() -> None:
    """Not as old as its bytes, which have waited for their turn."""

    async def body(made: Engine) -> None:
        member, _ = connection(made)
        member.data_received(GET % b"waits" + GET % b"waits")
        await asyncio.sleep(0.02)
        APPLICATION.settings["gate"].set()
        before = member.account.moved
        while member.account.requests < 2:
            await asyncio.sleep(0)
        assert member.account.since >= before + 0.01

    run(body)


def test_the_client_behind_a_trusted_proxy() -> None:
    """Is told while its request is served, and can be asked for."""

    async def body(made: Engine) -> None:
        trusts = Engine(
            HTTPServer(APPLICATION, xheaders=True), Config(""), Counters(), lambda: None
        )
        for which, client in ((trusts, "198.51.100.1"), (made, "")):
            member, _ = connection(which)
            member.data_received(
                b"GET /waits HTTP/1.1\r\nHost: a\r\nX-Real-Ip: 198.51.100.1\r\n\r\n"
            )
            await asyncio.sleep(0)
            (conn,) = told(which)
            assert (conn.client, conn.peer) == (client, "127.0.0.1:1")
            assert len(told(which, Query(peer="198.51.100.0/24"))) == bool(client)
            assert len(told(which, Query(peer="127.0.0.1"))) == 1
        trusts.close_rest()

    run(body)


def test_the_end_that_a_person_wants() -> None:
    """HTTP is cut at once; what is no WebSocket has no farewell."""

    async def body(made: Engine) -> None:
        member, transport = connection(made)
        member.data_received(GET % b"waits")
        assert made.end(member) is False and transport.closed
        assert states(made)["closing"] == 1
        member.connection_lost(None)
        assert states(made) == {}

    run(body)


def test_a_websocket_that_cannot_be_told_is_cut() -> None:
    """An application may override close(), and it may raise."""

    class Stubborn:
        def close(self, code: int, reason: str) -> None:
            assert (code, reason) == (POLICY_VIOLATION, "ended by the operator")
            raise RuntimeError("never")

    async def body(made: Engine) -> None:
        member, transport = connection(made)
        member.life = Life.UPGRADED
        made.changes(Life.NEW, Life.UPGRADED)
        member._websocket = Stubborn()  # type: ignore[assignment]
        assert made.end(member) is True and transport.closed

    run(body)


# --- standing -----------------------------------------------------------------------------


async def innermost() -> None:
    await asyncio.sleep(3600)


async def outer() -> None:
    await innermost()


async def piece_by_piece() -> Any:
    yield 1
    await asyncio.sleep(3600)


async def consumer() -> None:
    async for _ in piece_by_piece():
        pass


@gen.coroutine
def old() -> Any:
    yield older()


@gen.coroutine
def older() -> Any:
    yield asyncio.sleep(3600)


async def of_old() -> None:
    await old()


async def gathers() -> None:
    done = asyncio.create_task(asyncio.sleep(0))
    await asyncio.gather(done, innermost())


async def waits() -> None:
    await asyncio.wait({asyncio.create_task(innermost())})


async def groups() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(innermost())


async def a_ring() -> None:
    await asyncio.shield(asyncio.current_task())  # type: ignore[arg-type]


async def bare() -> None:
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize(
    ("make", "stands"),
    [
        (outer, "innermost"),
        (consumer, "piece_by_piece"),
        (of_old, "older"),
        (gathers, "innermost"),
        (waits, "innermost"),
        (groups, "innermost"),
        (lambda: asyncio.wait_for(outer(), 3600), "innermost"),
        (lambda: asyncio.sleep(3600), ""),
        (bare, "bare"),
        (a_ring, "a_ring"),
    ],
)
def test_where_a_task_stands(make: Callable[[], Any], stands: str) -> None:
    """The innermost frame that is ours, through whatever is awaited; a ring has an end."""

    async def main() -> None:
        task = asyncio.create_task(make())
        for _ in range(5):
            await asyncio.sleep(0)
        found = Standing(asyncio.get_running_loop()).waits_at(task, None)
        assert found.rpartition(" ")[2] == stands, found
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert Standing(asyncio.get_running_loop()).waits_at(task, None) == ""

    asyncio.run(main())


def test_a_connection_without_a_transport_is_told_too() -> None:
    """In its TLS handshake there is nothing but an address; a unix socket has not even that."""

    async def body(made: Engine) -> None:
        for address, peer in ((("::1", 5, 0, 0), "[::1]:5"), ("", "unix")):
            member = Connection(made, address)
            made.add(member)
            conn = told(made)[-1]
            assert (conn.peer, conn.local, conn.tls, conn.state) == (peer, "", "", "new")
            member.connection_lost(None)

    run(body)
