"""WebSocket peers are asked by pings of ours, and the application does not notice."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib
import importlib.util
import json
import logging
import os
import socket
import threading
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from tornado.web import Application
from tornado.websocket import WebSocketClosedError, WebSocketHandler

import leeward
from leeward._core.config import Config
from leeward._core.record import replace
from leeward.adapters.serving import server
from leeward.adapters.streams import Stream
from leeward.engine.pings import Asked
from leeward.limits import DECLARED, Deadlines

INTERVAL = 0.2
#: Client and server share a loop, on a machine that may be busy: what is to survive has more.
AMPLE = 2.0
PING, PONG, CLOSE, TEXT, BINARY = 9, 10, 8, 1, 2
#: More than the kernel takes for a client that does not read: 4 MB to send, and what it receives.
MUCH = bytes(8_000_000)
both = pytest.mark.parametrize("by", ["leeward", "tornado"])


@pytest.fixture(autouse=True)
def _undeclared() -> Iterator[None]:
    before = frozenset(DECLARED)
    yield
    DECLARED.intersection_update(before)


class Counters:
    open = requests = in_flight = 0


class Quiet(WebSocketHandler):
    """Writes down what it is told."""

    def initialize(self, told: list[Any]) -> None:
        self.told = told

    async def open(self) -> None:
        self.told.append("open")
        if wait := self.get_query_argument("wait", ""):
            await asyncio.sleep(float(wait))

    def get_compression_options(self) -> dict[str, Any] | None:
        return {} if self.get_query_argument("compressed", "") else None

    async def on_message(self, message: str | bytes) -> None:
        self.told.append(message)
        if message == "ping":
            self.ping(b"mine")
        elif message == "wait":
            await asyncio.sleep(8 * INTERVAL)
        elif message == "close":
            self.close(4000)
        elif message == "stream":
            with contextlib.suppress(WebSocketClosedError):
                while True:
                    await self.write_message(MUCH, binary=True)

    def on_pong(self, data: bytes) -> None:
        self.told.append(("pong", data))

    def on_close(self) -> None:
        self.told.append("close")


class Client:
    """frames:  what the server has sent, taken as it comes; `answers` its pings or not."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.answers = True
        self.pings: list[bytes] = []

    async def frame(self) -> tuple[int, bytes]:
        """The next one.  Raises `IncompleteReadError` at the end."""
        async with asyncio.timeout(20):
            first, length = await self.reader.readexactly(2)
            if extended := {126: 2, 127: 8}.get(length, 0):
                length = int.from_bytes(await self.reader.readexactly(extended))
            payload = await self.reader.readexactly(length)
        if first & 0xF == PING:
            self.pings.append(payload)
            if self.answers:
                self.send(PONG, payload)
        return first & 0xF, payload

    async def pinged(self, times: int = 1) -> None:
        until = len(self.pings) + times
        while len(self.pings) < until:
            await self.frame()

    async def closed(self) -> bytes:
        """Reads to the end: the payload of the close frame."""
        payload = b""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                opcode, found = await self.frame()
                if opcode == CLOSE:
                    payload = found
        return payload

    def send(
        self, opcode: int, payload: bytes, *, fin: bool = True, deflated: bool = False
    ) -> None:
        mask = os.urandom(4)
        first = (0x80 if fin else 0) | (0x40 if deflated else 0) | opcode
        body = bytes(it ^ mask[at % 4] for at, it in enumerate(payload))
        self.writer.write(bytes((first, 0x80 | len(payload))) + mask + body)


class Served:
    def __init__(self, made: Any, path: Any, told: list[Any]) -> None:
        self.made, self.path, self.told = made, path, told
        self.pings = made.pings
        self.clients: list[Client] = []

    async def client(
        self, query: str = "", *, path: str = "", compressed: bool = False, small: bool = False
    ) -> Client:
        """small:  it takes no more than it reads."""
        sock = socket.socket(socket.AF_UNIX if isinstance(self.path, str) else socket.AF_INET)
        if small:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, self.path)
        reader, writer = await asyncio.open_connection(sock=sock, limit=2048 if small else 65536)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET /{path}?{query} HTTP/1.1",
            "Host: x",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            *(["Sec-WebSocket-Extensions: permessage-deflate"] if compressed else []),
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in head
        self.clients.append(Client(reader, writer))
        return self.clients[-1]

    def asked(self) -> Asked:
        """Its one client, as it is watched."""
        found: Asked
        (found,) = self.pings.of(Deadlines()).wheel._places
        return found

    async def behind(self) -> Asked:
        """Its one client, which has answered its last ping, and a message that waits for it."""
        asked = self.asked()
        await self.until(lambda: asked.heard >= asked.watch.asked)
        asked.handler.write_message(MUCH, binary=True)
        assert not asked.peer.can_send
        return asked

    async def until(self, look: Callable[[], Any]) -> None:
        async with asyncio.timeout(20):
            while not look():
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def served(
    by: str,
    *,
    path: str = "",
    interval: float = INTERVAL,
    timeout: float = AMPLE,
    patience: float = 60.0,
    application: Application | None = None,
    **settings: Any,
) -> AsyncIterator[Served]:
    told: list[Any] = []
    application = application or Application(
        [("/", Quiet, {"told": told})], log_function=lambda handler: None, **settings
    )
    config = Config(
        "",
        engine=by,
        ws_ping_interval=interval,
        ws_ping_timeout=timeout,
        peer_timeout=patience,
        write_timeout=patience,
    )
    made = server(application, config, Counters(), lambda: None, None)
    if path:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
    else:
        listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    loop = asyncio.get_running_loop()

    def accept() -> None:
        with contextlib.suppress(BlockingIOError):
            made.accept(*listener.accept())

    loop.add_reader(listener.fileno(), accept)
    found = Served(made, path or listener.getsockname(), told)
    try:
        yield found
    finally:
        for client in found.clients:
            client.writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await client.writer.wait_closed()
        loop.remove_reader(listener.fileno())
        listener.close()
        made.close_rest()
        await asyncio.sleep(0.01)
        assert not len(made.pings)


def run(story: Callable[[], Awaitable[None]], loop: str = "asyncio") -> None:
    """On an event loop of its own."""

    async def bounded() -> None:
        async with asyncio.timeout(40):
            await story()

    factory = importlib.import_module(loop).new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(bounded())


LOOPS = ["asyncio", *(["uvloop"] if importlib.util.find_spec("uvloop") else [])]


@both
def test_the_application_hears_nothing_of_our_pings(by: str) -> None:
    """A client that answers stays, its pongs reach nobody; those of the application's do."""

    async def story() -> None:
        async with served(by) as it:
            client = await it.client()
            await client.pinged(3)
            assert len({*client.pings}) == 1 and len(client.pings[0]) == 8
            client.send(TEXT, b"ping")
            while client.pings[-1] != b"mine":
                await client.frame()
            await it.until(lambda: ("pong", b"mine") in it.told)
            await client.pinged(2)
            assert it.told == ["open", "ping", ("pong", b"mine")]
            assert not it.pings.failures

    run(story)


@both
def test_who_does_not_answer_any_more_is_closed(by: str) -> None:
    """With 1011, `on_close` once, and counted."""

    async def story() -> None:
        async with served(by, timeout=2 * INTERVAL) as it:
            client = await it.client()
            await client.pinged()
            client.answers = False
            assert await client.closed() == b"\x03\xf3ping timeout"
            await it.until(lambda: "close" in it.told)
            await asyncio.sleep(INTERVAL)
            assert it.told == ["open", "close"]
            assert it.pings.failures == {"no answer": 1}
            assert not it.made.live

    run(story)


@both
def test_who_never_answered_is_told_and_left(by: str, caplog: pytest.LogCaptureFixture) -> None:
    """One line for all of them; they are pinged on, and what they send is served."""

    async def story() -> None:
        async with served(by, timeout=INTERVAL) as it:
            clients = [await it.client() for _ in range(3)]
            for client in clients:
                client.answers = False
                await client.pinged(4)
            assert it.pings.failures == {"never answered": 3}
            clients[0].send(TEXT, b"here")
            await it.until(lambda: "here" in it.told)
            assert len(it.made.live) == 3

    with caplog.at_level(logging.INFO, "leeward.pings"):
        run(story)
    assert 1 <= len(caplog.records) <= 2
    assert "never answered" in caplog.text and "127.0.0.1:" in caplog.text


@both
def test_who_speaks_is_not_asked(by: str) -> None:
    """Any byte is life; and one half frame after the other is no reason to ask."""

    async def story() -> None:
        async with served(by, interval=0.5) as it:
            client = await it.client()
            for _ in range(30):
                client.send(TEXT, b"x")
                await asyncio.sleep(0.03)
            assert it.told.count("x") == 30
            assert it.pings.sent == 0

    run(story)


@both
@pytest.mark.parametrize("theirs", [30, 0])
def test_an_application_that_asks_by_itself_is_left_alone(by: str, theirs: int) -> None:
    """Also one that has said by 0 that nobody is to ask."""

    async def story() -> None:
        async with served(by, websocket_ping_interval=theirs) as it:
            client = await it.client()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(3 * INTERVAL):
                    await client.frame()
            assert len(it.pings) == 0

    run(story)


@both
def test_nobody_is_asked_where_pings_are_off(by: str) -> None:
    """--ws-ping-interval 0s"""

    async def story() -> None:
        async with served(by, interval=0.0) as it:
            await it.client()
            assert len(it.pings) == 0

    run(story)


@both
def test_a_pong_between_the_fragments_of_a_compressed_message(by: str) -> None:
    """Tornado forgets at any control frame that the message is compressed: ours it must not see."""

    async def story() -> None:
        async with served(by) as it:
            client = await it.client("compressed=1", compressed=True)
            packer = zlib.compressobj(wbits=-15)
            packed = packer.compress(b"hello " * 9) + packer.flush(zlib.Z_SYNC_FLUSH)
            packed = packed[:-4]
            client.send(TEXT, packed[:5], fin=False, deflated=True)
            client.answers = True
            await client.pinged(2)  # its pongs go out between the two
            client.send(0, packed[5:])
            await it.until(lambda: "hello " * 9 in it.told)

    run(story)


@both
def test_an_application_at_work_is_no_dead_client(by: str) -> None:
    """While `open` or `on_message` waits nobody reads frames; the client answers all the same."""

    async def story() -> None:
        async with served(by) as it:
            client = await it.client(f"wait={8 * INTERVAL}")
            await client.pinged(4)
            client.send(TEXT, b"wait")
            await client.pinged(6)
            client.send(TEXT, b"end")
            await it.until(lambda: "end" in it.told)
            assert not it.pings.failures

    run(story)


@both
def test_an_application_that_does_not_read_has_not_heard(by: str) -> None:
    """The answer stands behind what it has not taken; that is not its client's fault."""

    async def story() -> None:
        async with served(by, timeout=2 * INTERVAL) as it:
            client = await it.client()
            await client.pinged(2)
            client.send(TEXT, b"wait")
            frame = b"\x82\xfe\xff\xff" + bytes(4 + 0xFFFF)
            client.writer.write(frame * 12)  # more than is read ahead
            await client.pinged(1)
            client.send(TEXT, b"end")
            await it.until(lambda: "end" in it.told)
            await client.pinged(2)
            assert not it.pings.failures

    run(story)


@both
def test_no_ping_follows_a_close_frame(by: str) -> None:
    """RFC 6455 §5.5.1: Tornado waits 5 s for the client's, in silence."""

    async def story() -> None:
        async with served(by) as it:
            client = await it.client()
            await client.pinged()
            client.send(TEXT, b"close")
            while (await client.frame())[0] != CLOSE:
                pass
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(4 * INTERVAL):
                    await client.frame()
            client.send(CLOSE, b"\x0f\xa0")
            await it.until(lambda: "close" in it.told)
            assert not it.pings.failures

    run(story)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_stall_of_ours_is_not_held_against_anybody(loop: str, by: str = "leeward") -> None:
    """Who answered while the loop did not turn has answered in time."""

    async def story() -> None:
        async with served(by) as it:
            client = await it.client()
            await client.pinged(2)
            client.answers = False
            await client.pinged()
            pong = bytes((0x8A, 0x88, 0, 0, 0, 0)) + client.pings[-1]
            fd = client.writer.get_extra_info("socket").fileno()
            client.answers = True
            answer = threading.Timer(AMPLE / 2, os.write, (fd, pong))
            answer.start()
            time.sleep(1.2 * AMPLE)
            answer.join()
            await client.pinged(3)
            assert not it.pings.failures

    run(story, loop)


@both
def test_unix_sockets_have_only_pings(by: str, tmp_path: Any) -> None:
    """There is no kernel that asks; a peer that is silent is ended as well."""

    async def story() -> None:
        async with served(by, path=f"{tmp_path}/s", timeout=2 * INTERVAL) as it:
            client = await it.client()
            await client.pinged(2)
            client.answers = False
            assert await client.closed() == b"\x03\xf3ping timeout"
            await it.until(lambda: "close" in it.told)

    run(story)


@both
def test_a_reset_while_a_ping_is_out_is_counted(by: str) -> None:
    """As what it is."""

    async def story() -> None:
        async with served(by, timeout=5.0) as it:
            client = await it.client()
            await client.pinged()
            client.answers = False
            await client.pinged()
            client.writer.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
            )
            client.writer.transport.abort()
            await it.until(lambda: "close" in it.told)
            assert it.pings.failures == {"reset": 1}

    run(story)


@both
def test_who_reads_slowly_is_not_dead(by: str) -> None:
    """As long as bytes move; its pong comes when it has read what came before the ping."""

    async def story() -> None:
        async with served(by, timeout=1.0) as it:
            client = await it.client(small=True)
            await client.pinged(2)
            asked, sent = it.asked(), it.pings.sent
            asked.handler.write_message(bytes(600_000), binary=True)
            assert asked.peer.can_send, "the kernel has taken it all"
            client.answers = False
            end = asyncio.get_running_loop().time() + 3.5
            while asyncio.get_running_loop().time() < end:  # three times the timeout
                assert await client.reader.read(20_000)
                await asyncio.sleep(0.05)
            assert it.pings.sent > sent and not it.pings.failures
            assert asked.peer.gauge().left < asked.watch.owed
            assert len(it.made.live) == 1

    run(story)


@both
@pytest.mark.parametrize("loop", LOOPS)
def test_who_was_not_sent_a_ping_need_not_answer_it(by: str, loop: str) -> None:
    """What is due while a message waits to be taken is sent when that has been taken."""

    async def story() -> None:
        async with served(by) as it:
            client = await it.client()
            await client.pinged(2)
            asked, sent = await it.behind(), it.pings.sent
            await it.until(lambda: asked.watch.asked > asked.heard)
            assert it.pings.sent == sent
            assert await client.frame() == (BINARY, MUCH)
            await client.pinged(2)
            assert not it.pings.failures

    run(story, loop)


@both
def test_who_is_always_behind_is_not_dead(by: str) -> None:
    """The application has the next message whenever one is taken; a ping seldom has its turn."""

    async def story() -> None:
        async with served(by, timeout=1.0) as it:
            client = await it.client()
            await client.pinged(2)
            client.send(TEXT, b"stream")
            end = asyncio.get_running_loop().time() + 4.5
            while asyncio.get_running_loop().time() < end:  # four times the timeout
                await client.frame()
                await asyncio.sleep(0.02)
            assert not it.pings.failures
            assert len(it.made.live) == 1

    run(story)


@both
def test_who_was_not_sent_a_ping_is_not_deaf(by: str) -> None:
    """It is told of when it has got one, and that is the first that counts."""

    async def story() -> None:
        async with served(by, timeout=INTERVAL) as it:
            client = await it.client()
            client.answers = False
            asked, due = await it.behind(), set[float]()
            while len(due) < 4:
                await it.until(lambda: asked.watch.asked not in {0.0, *due})
                due.add(asked.watch.asked)
            assert not it.pings.sent and not it.pings.failures
            assert await client.frame() == (BINARY, MUCH)
            await client.pinged()
            await it.until(lambda: it.pings.failures)
            assert it.pings.failures == {"never answered": 1}

    run(story)


@both
def test_a_reset_while_a_ping_is_held_back_is_none_of_its(by: str) -> None:
    """Nobody waited for an answer."""

    async def story() -> None:
        async with served(by) as it:
            client = await it.client()
            await client.pinged(2)
            asked = await it.behind()
            await it.until(lambda: asked.watch.asked > asked.heard)
            client.writer.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
            )
            client.writer.transport.abort()
            await it.until(lambda: "close" in it.told)
            assert not it.pings.failures

    run(story)


def test_who_stops_reading_is_ended_at_last() -> None:
    """A closed window is borne for as long as any other write, and no longer."""

    async def story() -> None:
        async with served("leeward", timeout=0.4, patience=2.0) as it:
            client = await it.client(small=True)
            await client.pinged(2)
            handler = next(iter(it.made.live))._websocket
            handler.write_message(b"x" * 3_000_000, binary=True)
            loop = asyncio.get_running_loop()
            begun = loop.time()
            await it.until(lambda: "close" in it.told)
            assert loop.time() - begun > 1.0

    run(story)


def test_pings_are_spread() -> None:
    """Forty that came at once are not asked at once."""

    async def story() -> None:
        async with served("leeward", interval=60.0) as it:
            for _ in range(40):
                await it.client()
            moments = set(it.pings.of(Deadlines()).wheel._places.values())
            assert len(moments) > 10

    run(story)


def test_a_ping_is_a_frame_of_its_own() -> None:
    """While the application writes as fast as it can, every frame comes whole."""

    async def story() -> None:
        async with served("leeward") as it:
            client = await it.client()
            handler = next(iter(it.made.live))._websocket
            seen: list[int] = []

            async def read() -> None:
                while seen.count(PING) < 3:
                    first, length = await client.reader.readexactly(2)
                    if length == 126:
                        length = int.from_bytes(await client.reader.readexactly(2))
                    payload = await client.reader.readexactly(length)
                    seen.append(first & 0xF)
                    if first & 0xF == PING:
                        client.send(PONG, payload)
                    else:
                        assert json.loads(payload) == ["x" * 1000]

            reading = asyncio.ensure_future(read())
            while not reading.done():
                await handler.write_message(json.dumps(["x" * 1000]))
                await asyncio.sleep(0)
            await reading
            assert seen.count(TEXT) > 10

    run(story)


@both
def test_who_is_connected_already_is_asked_as_is_set_later(by: str) -> None:
    """Pings that were off begin, amid a message too; then they are rarer, and off again."""

    async def story() -> None:
        async with served(by, interval=0.0) as it:
            client = await it.client()
            client.send(TEXT, b"half a ", fin=False)
            await it.until(lambda: it.told == ["open"])
            config = replace(it.made.config, ws_ping_interval=INTERVAL)
            it.made.tune(config)
            await client.pinged(2)
            client.send(0, b"message")
            await it.until(lambda: "half a message" in it.told)
            it.made.tune(replace(config, ws_ping_interval=60.0, ws_ping_timeout=60.0))
            it.made.tune(replace(config, ws_ping_interval=0.0))
            assert len(it.pings) == 0
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(3 * INTERVAL):
                    await client.frame()
            it.made.tune(replace(config, ws_ping_timeout=2 * INTERVAL))
            await client.pinged()
            client.answers = False
            assert (await client.closed())[:2] == b"\x03\xf3"
            await it.until(lambda: it.told[-1] == "close")
            assert it.pings.failures == {"no answer": 1}

    run(story)


def routes(told: list[Any], **own: dict[str, float]) -> Application:
    """A handler of its own class for each, with deadlines of its own."""
    rules: list[Any] = [("/", Quiet, {"told": told})]
    for name, said in own.items():
        kind = leeward.deadlines(**said)(type(name, (Quiet,), {}))
        rules.append((f"/{name}", kind, {"told": told}))
    return Application(rules, log_function=lambda handler: None)


@both
def test_a_route_has_its_own_pings(by: str) -> None:
    """More often than the others, or never, whatever is set while it is connected."""

    async def story() -> None:
        quick = {"ping": INTERVAL, "ping_timeout": 2 * INTERVAL}
        application = routes([], quick=quick, never={"ping": 0}, mute={"ping_timeout": 0})
        async with served(by, interval=60.0, application=application) as it:
            others = [await it.client(path=path) for path in ("", "never", "mute")]
            client = await it.client(path="quick")
            await client.pinged(2)
            assert len(it.pings) == 2, "the two that are asked at all"
            long = {"ws_ping_interval": 0.0, "ws_ping_timeout": 50.0, "peer_timeout": 70.0}
            config = replace(it.made.config, **long)
            it.made.tune(config)
            assert len(it.pings) == 1
            await client.pinged(2)
            it.made.tune(replace(config, ws_ping_interval=INTERVAL))
            await others[0].pinged()
            client.answers = False
            assert await client.closed() == b"\x03\xf3ping timeout"
            assert it.pings.failures == {"no answer": 1}
            assert others[1].pings == others[2].pings == []
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(3 * INTERVAL):
                    await others[1].frame()

    run(story)


@both
def test_a_route_is_asked_where_pings_are_off(by: str) -> None:
    """--ws-ping-interval 0s is for those that say nothing."""

    async def story() -> None:
        application = routes([], quick={"ping": INTERVAL})
        async with served(by, interval=0.0, application=application) as it:
            client = await it.client(path="quick")
            await client.pinged(2)

    run(story)


@both
def test_an_application_that_asks_by_itself_does_so_for_its_routes(by: str) -> None:
    """There is never a second one who asks."""

    async def story() -> None:
        application = routes([], quick={"ping": INTERVAL})
        application.settings["websocket_ping_interval"] = 30
        async with served(by, application=application) as it:
            await it.client(path="quick")
            assert len(it.pings) == 0

    run(story)


def test_who_never_answers_is_told_with_its_routes_time(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        own = {"ping": INTERVAL, "ping_timeout": INTERVAL / 2}
        async with served("leeward", timeout=INTERVAL, application=routes([], own=own)) as it:
            clients = [await it.client(path=path) for path in ("own", "")]
            for client in clients:
                client.answers = False
                await client.pinged(4)
            assert it.pings.failures == {"never answered": 2}
            for timeout in (INTERVAL, INTERVAL / 2):  # the second of them a second later
                await it.until(lambda it=timeout: f"within {it:g} s: 1, " in caplog.text)

    with caplog.at_level(logging.INFO, "leeward.pings"):
        run(story)


def test_who_stops_reading_has_the_patience_of_its_route() -> None:
    """Pings that wait behind what it does not take are not held against it before."""

    async def story() -> None:
        own = {"write": 30.0, "ping": INTERVAL, "ping_timeout": INTERVAL}
        async with served("leeward", patience=0.5, application=routes([], own=own)) as it:
            client = await it.client(path="own", small=True)
            await client.pinged(2)
            handler = next(iter(it.made.live))._websocket
            handler.write_message(b"x" * 3_000_000, binary=True)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(3.0):
                    await it.until(lambda: not it.made.live)
            assert not it.pings.failures

    run(story)


class Stingy:
    """A socket that takes `counts` bytes of what it is given, one after the other, then all."""

    def __init__(self, sock: socket.socket, counts: list[int]) -> None:
        self.sock, self.counts = sock, counts

    def send(self, data: bytes | memoryview) -> int:
        count = self.counts.pop(0) if self.counts else len(data)
        if not count:
            raise BlockingIOError
        return self.sock.send(data[:count])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)


class Nobody:
    """Is told by a stream, and does nothing about it."""

    def bytes_arrive(self, count: int) -> None: ...

    def bytes_leave(self) -> None: ...

    def has_closed(self) -> None: ...


@pytest.mark.parametrize("counts", [[], [3], [0], [1, 0, 2, 0]])
def test_a_ping_that_the_kernel_takes_in_parts_stays_whole(counts: list[int]) -> None:
    """What is written behind it comes behind it."""

    async def main() -> None:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        with contextlib.closing(theirs):
            stream = Stream(ours)
            stream.life = Nobody()
            stream.socket = Stingy(ours, list(counts))  # type: ignore[assignment]
            stream.write_frame(b"\x89\x0812345678")
            written = stream.write(b"\x81\x02hi")
            whole, got = b"\x89\x0812345678\x81\x02hi", b""
            while len(got) < len(whole):
                got += await asyncio.get_running_loop().sock_recv(theirs, 100)
            await written
            assert got == whole
            assert (stream.sent, stream.gauge().left) == (len(whole), len(whole))
            stream.close()
            stream.write_frame(b"\x89\x00")  # nothing, and no error

    asyncio.run(asyncio.wait_for(main(), 20))
