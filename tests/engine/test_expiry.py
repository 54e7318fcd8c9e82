"""Each state of a connection has its deadline, and what is alive is not ended by any."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from engine import hall
from engine.clock import Clock
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler, stream_request_body
from tornado.websocket import WebSocketHandler

import leeward
from leeward._core.config import Config
from leeward._core.connection import Life
from leeward._core.record import replace
from leeward.engine.connection import Connection
from leeward.engine.engine import Engine
from leeward.limits import ATTRIBUTE, DECLARED, Deadlines

GET = b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /%s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Hello(RequestHandler):
    def get(self) -> None:
        self.write("hello")

    def post(self) -> None:
        self.write(str(len(self.request.body)))


class Poll(RequestHandler):
    """Answers when the test says so."""

    left = 0

    async def get(self) -> None:
        if self.get_argument("begin", ""):
            self.write("begun ")
            self.flush()
        await self.application.settings["gate"].wait()
        self.write("answered")

    def on_connection_close(self) -> None:
        Poll.left += 1


@stream_request_body
class Slowly(RequestHandler):
    """Takes its time with each piece of the body."""

    left = 0

    async def data_received(self, chunk: bytes) -> None:
        await self.application.settings["gate"].wait()

    def post(self) -> None:
        self.write("taken")

    def on_connection_close(self) -> None:
        Slowly.left += 1


class Events(RequestHandler):
    async def get(self) -> None:
        while True:
            self.write("data: x\n\n")
            await self.flush()
            await asyncio.sleep(600)


class Socket(WebSocketHandler):
    def on_message(self, message: str | bytes) -> None:
        self.write_message(message)


class World:
    """One engine with its clock; connections without sockets."""

    def __init__(self, config: Config, clock: Clock, own: dict[str, Any]) -> None:
        self.clock = clock
        self.gate = asyncio.Event()
        self.application = Application(
            [("/", Hello), ("/poll", Poll), ("/slowly", Slowly), ("/events", Events)]
            + [("/ws", Socket)]
            + [(f"/{name}", kind) for name, kind in DECLARING.items()],
            gate=self.gate,
            log_function=lambda _: None,
        )
        served: Any = HTTPServer(self.application, **own) if own else self.application
        self.engine = Engine(served, config, hall.Counters(), lambda: None)

    def connect(self) -> tuple[Connection, hall.Transport]:
        return hall.connection(self.engine)

    async def lives(self, transport: hall.Transport, seconds: float) -> bool:
        """Is it open after `seconds`?"""
        await self.clock.advance(seconds)
        return not transport.closed

    async def ends(self, transport: hall.Transport, most: float) -> float:
        """Seconds until it is closed; at most `most`."""
        started = self.clock.now()
        while not transport.closed:
            assert self.clock.now() - started <= most, "not closed"
            await self.clock.advance(0.25, 0.25)
        return self.clock.now() - started


DECLARING: dict[str, type[RequestHandler]] = {}


@asynccontextmanager
async def world(own: dict[str, Any] | None = None, **settings: Any) -> AsyncIterator[World]:
    config = Config("", **settings, given=tuple(settings))
    yield World(config, Clock(), own or {})


Case = Callable[[World], Awaitable[None]]


def run(case: Case, own: dict[str, Any] | None = None, **settings: Any) -> None:
    async def main() -> None:
        async with world(own, **settings) as here:
            await case(here)
            here.engine.close_rest()

    asyncio.run(main())


def answer(transport: hall.Transport) -> bytes:
    return b"".join(transport.written)


@pytest.fixture(autouse=True)
def _undeclared() -> Iterator[None]:
    before = frozenset(DECLARED)
    yield
    DECLARING.clear()
    DECLARED.intersection_update(before)
    Poll.left = Slowly.left = 0


# --- the cells that need no socket ----------------------------------------------------------------


def test_who_sends_nothing_is_closed_without_a_word() -> None:
    async def case(here: World) -> None:
        _, transport = here.connect()
        assert 29.0 <= await here.ends(transport, 60.0) <= 32.0
        assert answer(transport) == b""
        assert here.engine.ends.counts == {"silent": 1}

    run(case)


def test_half_a_header_is_answered_by_408(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def case(here: World) -> None:
        member, transport = here.connect()
        member.data_received(b"GET / HTTP/1.1\r\nHos")
        assert 9.0 <= await here.ends(transport, 60.0) <= 12.0
        assert answer(transport).startswith(
            b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n"
        )

    run(case)
    assert "Timeout reading header from" in caplog.text


def test_a_header_a_byte_a_second_is_no_longer() -> None:
    async def case(here: World) -> None:
        member, transport = here.connect()
        seconds = 0
        for octet in GET % b"" + b"x" * 100:
            if transport.closed:
                break
            member.data_received(bytes([octet]))
            await here.clock.advance(1.0)
            seconds += 1
        assert 9 <= seconds <= 12
        assert answer(transport).startswith(b"HTTP/1.1 408 ")

    run(case)


def test_the_second_header_of_a_connection_has_its_time_too() -> None:
    async def case(here: World) -> None:
        member, transport = here.connect()
        member.data_received(GET % b"" + b"GET / HT")
        await here.clock.advance(0.1)
        assert member.life is Life.ACTIVE
        assert 9.0 <= await here.ends(transport, 60.0) <= 12.0
        assert answer(transport).count(b"hello") == 1

    run(case)


@pytest.mark.parametrize("head", [POST % (b"", 100), CHUNKED + b"64\r\n"], ids=["sized", "chunked"])
def test_half_a_body_is_answered_by_408(head: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def case(here: World) -> None:
        member, transport = here.connect()
        member.data_received(head + b"x" * 50)
        assert 29.0 <= await here.ends(transport, 60.0) <= 32.0
        assert answer(transport).startswith(b"HTTP/1.1 408 ")
        assert here.engine.ends.counts == {"body": 1}

    run(case)
    assert "Timeout reading body from" in caplog.text
    assert "behind POST '/'" in caplog.text


@pytest.mark.parametrize("head", [POST % (b"", 100), CHUNKED], ids=["sized", "chunked"])
def test_a_body_a_byte_each_ten_seconds_is_ended(head: bytes) -> None:
    async def case(here: World) -> None:
        member, transport = here.connect()
        member.data_received(head)
        seconds = 0
        while not transport.closed and seconds < 100:
            member.data_received(b"1\r\nx\r\n" if head is CHUNKED else b"x")
            await here.clock.advance(10.0)
            seconds += 10
        assert seconds <= 50
        assert answer(transport).startswith(b"HTTP/1.1 408 ")

    run(case)


def test_a_streaming_handler_hears_that_its_body_does_not_come() -> None:
    async def case(here: World) -> None:
        here.gate.set()
        member, transport = here.connect()
        member.data_received(POST % (b"slowly", 100) + b"x")
        await here.ends(transport, 60.0)
        assert Slowly.left == 1

    run(case)


def test_an_idle_connection_is_closed_without_a_word() -> None:
    async def case(here: World) -> None:
        member, transport = here.connect()
        member.data_received(GET % b"")
        await here.clock.advance(0.1)
        written = len(transport.written)
        assert 74.0 <= await here.ends(transport, 100.0) <= 77.0
        assert len(transport.written) == written
        assert here.engine.ends.counts == {"idle": 1}

    run(case)


# --- what lives -----------------------------------------------------------------------------------


@pytest.mark.parametrize("head", [POST % (b"", 600_000), CHUNKED], ids=["sized", "chunked"])
def test_a_live_upload_of_a_kilobyte_a_second_survives(head: bytes) -> None:
    async def case(here: World) -> None:
        member, transport = here.connect()
        member.data_received(head)
        for _ in range(600):
            data = b"x" * 1000
            member.data_received(b"3e8\r\n%b\r\n" % data if head is CHUNKED else data)
            await here.clock.advance(1.0)
        if head is CHUNKED:
            member.data_received(b"0\r\n\r\n")
        await here.clock.advance(1.0)
        assert answer(transport).endswith(b"600000")

    run(case)


def test_the_application_may_take_its_time_with_a_body() -> None:
    async def case(here: World) -> None:
        member, transport = here.connect()
        member.data_received(POST % (b"slowly", 2) + b"x")
        assert await here.lives(transport, 300.0)
        here.gate.set()
        await here.clock.advance(1.0)
        assert await here.lives(transport, 20.0)
        assert await here.ends(transport, 30.0) > 0.0

    run(case)


def test_a_long_poll_and_a_handler_may_last_for_ever() -> None:
    async def case(here: World) -> None:
        member, transport = here.connect()
        member.data_received(GET % b"poll")
        assert await here.lives(transport, 1000.0)
        here.gate.set()
        await here.clock.advance(0.1)
        assert answer(transport).endswith(b"answered")

    run(case, idle_timeout=0.5, silent_timeout=0.5, header_timeout=0.5, body_timeout=0.5)


def test_rare_events_and_an_idle_websocket_survive_a_tiny_idle_timeout() -> None:
    async def case(here: World) -> None:
        events, stream = here.connect()
        events.data_received(GET % b"events")
        socket, upgraded = here.connect()
        socket.data_received(UPGRADE)
        assert await here.lives(stream, 1300.0)
        assert not upgraded.closed
        assert answer(stream).count(b"data: x") == 3
        assert socket.life is Life.UPGRADED
        socket.data_received(b"\x81\x82\x00\x00\x00\x00hi")
        await here.clock.advance(0.1)
        assert answer(upgraded).endswith(b"\x81\x02hi")

    run(case, idle_timeout=0.5)


def test_a_client_that_expects_100_gets_its_time_for_the_body() -> None:
    async def case(here: World) -> None:
        member, transport = here.connect()
        head = POST % (b"", 5)
        member.data_received(head[:-2] + b"Expect: 100-continue\r\n\r\n")
        assert answer(transport) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert await here.lives(transport, 25.0)
        member.data_received(b"hello")
        await here.clock.advance(0.1)
        assert answer(transport).endswith(b"5")

    run(case)


def test_pipelined_requests_wait_for_the_one_before_them() -> None:
    async def case(here: World) -> None:
        member, transport = here.connect()
        member.data_received(GET % b"poll" + GET % b"" + GET % b"")
        assert await here.lives(transport, 500.0)
        here.gate.set()
        await here.clock.advance(1.0, 0.05)
        assert answer(transport).count(b"HTTP/1.1 200") == 3

    run(case)


def test_zero_is_never() -> None:
    async def case(here: World) -> None:
        silent, half, body, idle = (here.connect() for _ in range(4))
        half[0].data_received(b"GET /")
        body[0].data_received(POST % (b"", 10))
        idle[0].data_received(GET % b"")
        await here.clock.advance(3000.0, 100.0)
        assert not any(it[1].closed for it in (silent, half, body, idle))

    run(case, idle_timeout=0.0, silent_timeout=0.0, header_timeout=0.0, body_timeout=0.0)


# --- the handler ----------------------------------------------------------------------------------


def test_a_handler_past_its_time_is_answered_for_and_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def case(here: World) -> None:
        member, transport = here.connect()
        member.data_received(GET % b"poll")
        assert 4.0 <= await here.ends(transport, 60.0) <= 7.0
        assert answer(transport).startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        member.connection_lost(None)
        await here.clock.advance(0.1)
        assert Poll.left == 1
        here.gate.set()
        await here.clock.advance(0.1)
        assert b"answered" not in answer(transport)

    run(case, handler_timeout=5.0)
    assert f"behind GET '/poll' ({__name__}.Poll)" in caplog.text


def test_an_answer_that_has_begun_is_cut() -> None:
    async def case(here: World) -> None:
        member, transport = here.connect()
        member.data_received(GET % b"poll?begin=1")
        await here.ends(transport, 60.0)
        assert b"begun" in answer(transport)
        assert b"503" not in answer(transport)

    run(case, handler_timeout=5.0)


def test_an_answer_in_time_ends_the_handlers_deadline() -> None:
    async def case(here: World) -> None:
        member, transport = here.connect()
        member.data_received(GET % b"")
        assert await here.lives(transport, 60.0)

    run(case, handler_timeout=5.0)


# --- who may say otherwise ------------------------------------------------------------------------


def test_a_route_has_its_own_deadlines() -> None:
    @leeward.deadlines(handler=2, body=5.0, idle=3)
    class Own(Poll):
        async def post(self) -> None:
            self.write("posted")

    @leeward.deadlines(handler=0)
    class Patient(Own):
        pass

    DECLARING.update(own=Own, patient=Patient)

    async def case(here: World) -> None:
        quick, first = here.connect()
        quick.data_received(GET % b"own")
        slow, second = here.connect()
        slow.data_received(GET % b"patient")
        half, third = here.connect()
        half.data_received(POST % (b"own", 10))
        idle, fourth = here.connect()
        idle.data_received(POST % (b"own", 1) + b"x")
        assert 1.0 <= await here.ends(first, 60.0) <= 4.0
        assert await here.ends(fourth, 60.0) <= 4.0
        assert await here.ends(third, 60.0) <= 6.0
        assert await here.lives(second, 600.0)
        other, fifth = here.connect()
        other.data_received(GET % b"")
        assert await here.lives(fifth, 60.0)

    run(case)


@pytest.mark.parametrize("value", [-1, "5s", float("nan"), float("inf"), True])
@pytest.mark.parametrize("name", list(Deadlines.FIELDS))
def test_a_deadline_is_a_number_of_seconds(name: str, value: Any) -> None:
    """Who reads the error is told of which class it is."""
    with pytest.raises(ValueError, match=rf"test_expiry\.Poll: deadlines\({name}=.*expected"):
        leeward.deadlines(**{name: value})(Poll)
    assert not hasattr(Poll, ATTRIBUTE) and Poll not in DECLARED


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("header", "no route is known yet then; --header-timeout is for all"),
        ("silent", "no route is known yet then; --silent-timeout is for all"),
        ("hander", "expected one of body, rate, handler, poll, write, idle, ping, ping_timeout"),
    ],
)
def test_what_is_no_deadline_of_a_route_says_why(name: str, why: str) -> None:
    other: dict[str, Any] = {name: 5.0}
    with pytest.raises(TypeError, match=rf"test_expiry\.Poll: deadlines\({name}=…\): {why}"):
        leeward.deadlines(**other)(Poll)
    assert not hasattr(Poll, ATTRIBUTE) and Poll not in DECLARED


@pytest.mark.parametrize(("rate", "lives"), [(10, True), (0, True), (1000, False)])
def test_a_route_has_its_own_rate(rate: int, lives: bool) -> None:
    """50 bytes a second are too few by the settings."""

    @leeward.deadlines(rate=rate)
    class Own(Hello):
        pass

    DECLARING["own"] = Own

    async def case(here: World) -> None:
        (own, first), (other, second) = here.connect(), here.connect()
        own.data_received(POST % (b"own", 100_000))
        other.data_received(POST % (b"", 100_000))
        for _ in range(100):
            for member, transport in ((own, first), (other, second)):
                if not transport.closed:
                    member.data_received(b"x" * 50)
            await here.clock.advance(1.0)
        assert (not first.closed, second.closed) == (lives, True)
        assert here.engine.ends.counts["body"] == (1 if lives else 2)

    run(case)


@pytest.mark.parametrize("settings", [{}, {"max_poll_age": 200.0}, {"handler_timeout": 1.0}])
def test_a_route_has_its_own_age_of_polls(
    settings: dict[str, float], caplog: pytest.LogCaptureFixture
) -> None:
    """Ended as by the setting, in whose place it stands, and in that of --handler-timeout."""
    caplog.set_level(logging.INFO)

    @leeward.deadlines(poll=20)
    class Own(Poll):
        pass

    DECLARING["own"] = Own

    async def case(here: World) -> None:
        (member, transport), (late, late_transport) = here.connect(), here.connect()
        member.data_received(GET % b"own")
        assert 19.0 <= await here.ends(transport, 30.0) <= 22.0
        assert b"503 Service Unavailable" in answer(transport)
        assert b"Retry-After" in answer(transport)
        assert here.engine.ends.counts["poll"] == 1
        late.data_received(GET % b"own?begin=1")  # a chunked answer that is silent for as long
        assert 38.0 <= await here.ends(late_transport, 50.0) <= 44.0
        assert answer(late_transport).endswith(b"0\r\n\r\n")

    run(case, silent_timeout=0.0, **settings)
    assert "Older than deadlines(poll=20) from" in caplog.text
    assert "behind GET '/own'" in caplog.text


def test_a_route_may_poll_for_ever() -> None:
    @leeward.deadlines(poll=0)
    class Own(Poll):
        pass

    DECLARING["own"] = Own

    async def case(here: World) -> None:
        (own, first), (other, second) = here.connect(), here.connect()
        own.data_received(GET % b"own")
        other.data_received(GET % b"poll")
        assert 4.0 <= await here.ends(second, 10.0) <= 7.0
        assert await here.lives(first, 600.0)

    run(case, max_poll_age=5.0)


@pytest.mark.parametrize("path", [b"own", b"socket"])
def test_a_route_has_its_own_patience_with_readers(path: bytes) -> None:
    """Of an answer and of a WebSocket; one that says 0 is never cut."""

    @leeward.deadlines(write=10)
    class Own(Poll):
        pass

    @leeward.deadlines(write=0)
    class Patient(Poll):
        pass

    @leeward.deadlines(write=10, ping=0)
    class Talks(Socket):
        pass

    @leeward.deadlines(write=0, ping=0)
    class Listens(Socket):
        pass

    ours: tuple[type[RequestHandler], ...] = (Own, Patient)
    if path == b"socket":
        ours = (Talks, Listens)
    DECLARING.update(zip(("own", "patient"), ours, strict=True))

    async def case(here: World) -> None:
        ask = UPGRADE.replace(b"/ws", b"/%s") if path == b"socket" else GET
        members = [here.connect() for _ in range(3)]
        for (member, _), name in zip(members, (b"own", b"patient", b"ws"), strict=True):
            member.data_received(ask % (b"poll" if (name, ask) == (b"ws", GET) else name))
            await here.clock.advance(0.1)
            member.pause_writing()
        assert 8.0 <= await here.ends(members[0][1], 20.0) <= 11.0
        assert await here.ends(members[2][1], 60.0) >= 40.0
        assert await here.lives(members[1][1], 600.0)
        assert here.engine.ends.counts == {"write": 2}
        again, transport = here.connect()  # of the same class: the watch is there
        again.data_received(ask % b"own")
        again.pause_writing()
        again.resume_writing()
        assert await here.lives(transport, 15.0)

    run(case, ws_ping_interval=0.0)


@pytest.mark.parametrize(("own", "within"), [(20.0, 22.0), (0.0, 62.0)])
def test_the_last_bytes_have_the_patience_of_their_route(own: float, within: float) -> None:
    """Of a connection that closes behind them, when its request is over; never is a minute."""

    @leeward.deadlines(write=own)
    class Own(Hello):
        pass

    DECLARING["own"] = Own

    async def case(here: World) -> None:
        member, transport = here.connect()
        transport.get_write_buffer_size = lambda: 9  # type: ignore[method-assign]
        gone: list[float] = []
        transport.abort = lambda: gone.append(here.clock.now())  # type: ignore[method-assign]
        close = GET.replace(b"Host", b"Connection: close\r\nHost")
        started = here.clock.now()
        member.data_received(close % b"own")
        await here.clock.advance(0.1)  # the handler begins at once, or in the loop's next turn
        assert member.life is Life.CLOSING and member.exchange is None
        while not gone:
            assert here.clock.now() - started < 100.0
            await here.clock.advance(0.25, 0.25)
        assert within - 5.0 <= gone[0] - started <= within

    run(case, write_timeout=5.0)


def test_a_programs_own_timeouts_are_honoured() -> None:
    async def case(here: World) -> None:
        silent, half = here.connect(), here.connect()
        half[0].data_received(b"GET / HT")
        idle = here.connect()
        idle[0].data_received(GET % b"")
        body = here.connect()
        body[0].data_received(POST % (b"", 10))
        for number, most in ((silent, 6.0), (half, 1.0), (idle, 1.0)):
            assert await here.ends(number[1], most) <= most
        assert 12.0 <= await here.ends(body[1], 60.0) <= 17.0

    run(case, own={"idle_connection_timeout": 5, "body_timeout": 20})


def test_a_program_may_have_longer_ones() -> None:
    async def case(here: World) -> None:
        idle, body = here.connect(), here.connect()
        idle[0].data_received(GET % b"")
        body[0].data_received(POST % (b"", 10))
        assert await here.lives(idle[1], 500.0)
        assert await here.lives(body[1], 1.0)
        assert await here.ends(idle[1], 200.0) >= 90.0

    run(case, own={"idle_connection_timeout": 600, "body_timeout": 5000})


def test_the_operator_wins_over_the_program() -> None:
    async def case(here: World) -> None:
        idle, body = here.connect(), here.connect()
        idle[0].data_received(GET % b"")
        body[0].data_received(POST % (b"", 10))
        assert 6.0 <= await here.ends(idle[1], 60.0) <= 9.0
        assert await here.ends(body[1], 10.0) <= 10.0

    own = {"idle_connection_timeout": 600, "body_timeout": 5000}
    run(case, own=own, idle_timeout=7.0, body_timeout=9.0)


def test_set_body_timeout_is_for_the_whole_body() -> None:
    @stream_request_body
    class Upload(RequestHandler):
        def prepare(self) -> None:
            self.request.connection.set_body_timeout(100)  # type: ignore[attr-defined]

        def data_received(self, chunk: bytes) -> None:
            pass

    DECLARING["upload"] = Upload

    async def case(here: World) -> None:
        member, transport = here.connect()
        member.data_received(POST % (b"upload", 1_000_000))
        started = here.clock.now()
        while not transport.closed and here.clock.now() < started + 150:
            member.data_received(b"x" * 1000)
            await here.clock.advance(1.0)
        assert 99.0 <= here.clock.now() - started <= 103.0

    run(case)


def test_settings_change_while_connections_wait() -> None:
    async def case(here: World) -> None:
        silent, idle = here.connect(), here.connect()
        idle[0].data_received(GET % b"")
        await here.clock.advance(1.0)
        new = replace(here.engine.config, idle_timeout=3.0, silent_timeout=5.0)
        here.engine.tune(new)
        assert await here.ends(idle[1], 5.0) >= 2.0
        assert await here.ends(silent[1], 5.0) >= 1.0
        new = replace(here.engine.config, idle_timeout=0.0)
        here.engine.tune(new)
        member, transport = here.connect()
        member.data_received(GET % b"")
        assert await here.lives(transport, 100.0)

    run(case)


def test_settings_that_change_leave_a_route_its_own() -> None:
    """A connection that might wait for ever forgot it with any setting, of whatever."""

    @leeward.deadlines(idle=0)
    class Patient(Poll):
        async def post(self) -> None:
            self.write("posted")

    DECLARING.update(patient=Patient)

    async def case(here: World) -> None:
        (patient, first), (other, second) = here.connect(), here.connect()
        patient.data_received(POST % (b"patient", 1) + b"x")
        other.data_received(GET % b"")
        await here.clock.advance(50.0)
        here.engine.tune(replace(here.engine.config, log_level="debug"))
        assert await here.ends(second, 60.0) <= 27.0, "of other settings it is not renewed"
        here.engine.tune(replace(here.engine.config, idle_timeout=3.0))
        assert await here.lives(first, 600.0)
        patient.data_received(GET % b"")
        assert await here.ends(first, 60.0) <= 4.0

    run(case, idle_timeout=75.0)


def test_settings_that_change_are_none_of_a_routes() -> None:
    """Of the requests that are under way, and of those that come."""

    @leeward.deadlines(handler=9, body=9)
    class Own(Poll):
        async def post(self) -> None:
            self.write("posted")

    @leeward.deadlines(poll=9)
    class Old(Poll):
        pass

    @leeward.deadlines(write=9, poll=0)
    class Large(Poll):
        pass

    DECLARING.update(own=Own, old=Old, large=Large)

    async def case(here: World) -> None:
        async def ask() -> list[hall.Transport]:
            transports = []
            for request in (GET % b"own", POST % (b"own", 10), GET % b"old", GET % b"large"):
                member, transport = here.connect()
                member.data_received(request)
                transports.append(transport)
            member.pause_writing()
            await here.clock.advance(0.1)
            return transports

        async def all_end() -> None:
            await here.clock.advance(6.5)
            assert not any(it.closed for it in transports)
            await here.clock.advance(5.0)
            assert all(it.closed for it in transports)

        transports = await ask()
        short = {"handler_timeout": 0.0, "body_timeout": 2.0, "max_poll_age": 2.0}
        here.engine.tune(replace(here.engine.config, write_timeout=2.0, **short))
        await all_end()
        transports = await ask()
        await all_end()
        assert here.engine.ends.counts == {"handler": 2, "body": 2, "poll": 2, "write": 2}

    run(case)


def balanced(caplog: pytest.LogCaptureFixture, header: bytes, **settings: Any) -> list[str]:
    """What is said of a balancer that puts `header` on each of three requests."""
    caplog.clear()

    async def case(here: World) -> None:
        for _ in range(3):
            member, _transport = here.connect()
            member.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n" + header + b"\r\n")
            await here.clock.advance(0.1)

    run(case, **settings)
    return [it.getMessage() for it in caplog.records if "is in front" in it.getMessage()]


def test_a_balancer_that_is_more_patient_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    google, amazon = b"Via: 1.1 google\r\n", b"X-Amzn-Trace-Id: Root=1-67891233-abc\r\n"
    (line,) = balanced(caplog, google)
    assert "600 s" in line
    assert line.endswith("--idle-timeout 620s")
    assert not balanced(caplog, google, idle_timeout=620.0)
    assert not balanced(caplog, google, idle_timeout=0.0)
    assert not balanced(caplog, amazon)
    assert len(balanced(caplog, amazon, idle_timeout=60.0)) == 1
    assert not balanced(caplog, b"Via: 1.1 vegur\r\n")


# --- a client that has said FIN -------------------------------------------------------------------


def test_a_half_closed_client_has_half_a_minute_more_as_long_as_it_is_sent_something() -> None:
    async def case(here: World) -> None:
        member, transport = here.connect()
        member.data_received(GET % b"poll")
        assert member.eof_received()
        assert await here.ends(transport, 120.0) <= 65.0
        assert b"503" not in answer(transport)

    run(case)


@pytest.mark.parametrize("path", [b"poll", b"talks"])
def test_a_half_closed_client_that_takes_its_time_is_not_cut(path: bytes) -> None:
    """It was, by a look of the one deadline right before the other's, for which it is not late."""

    class Talks(Socket):
        async def on_message(self, message: str | bytes) -> None:  # type: ignore[override]
            await self.application.settings["gate"].wait()

    DECLARING["talks"] = Talks

    async def case(here: World) -> None:
        member, transport = here.connect()
        waits = 10_000
        transport.get_write_buffer_size = lambda: waits  # type: ignore[method-assign]
        if path == b"talks":
            member.data_received(UPGRADE.replace(b"/ws", b"/talks"))
            await here.clock.advance(0.1)
            member.data_received(b"\x81\x81\0\0\0\0a")
        else:
            member.data_received(GET % path)
        await here.clock.advance(0.1)
        member.pause_writing()
        assert member.eof_received()
        # Each 8.3 s, as no multiple of the looks: now and then it is right before one.
        for _ in range(300):
            await here.clock.advance(8.3, 0.25)
            assert not transport.closed
            waits -= 1
        assert await here.ends(transport, 70.0) >= 50.0
        assert here.engine.ends.counts == {"write": 1}

    run(case, ws_ping_interval=0.0, abandon_after=1e6)
