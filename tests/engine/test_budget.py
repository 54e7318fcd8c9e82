"""A greedy client costs at most 16 MiB, and what is no greed is served whole."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import socket
import tracemalloc
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from certificates import Contexts, contexts, needs_openssl
from engine import port as ports
from engine.greedy import MIB, PATIENCE, Served, frame, run, served
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, ResponseStartLine
from tornado.routing import PathMatches, Rule, RuleRouter
from tornado.web import Application, RequestHandler, stream_request_body
from tornado.websocket import WebSocketClosedError, WebSocketHandler

import leeward
from leeward._core.config import Config
from leeward._core.connection import Life
from leeward._core.record import replace
from leeward.limits import DECLARED

BOUND = 16 * MIB
LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


class Echo(WebSocketHandler):
    """Awaits nothing that it writes."""

    closed = 0

    def on_message(self, message: str | bytes) -> None:
        self.write_message(message, binary=True)

    def on_close(self) -> None:
        Echo.closed += 1


class Compressed(Echo):
    largest = 0

    def get_compression_options(self) -> dict[str, Any]:
        return {}

    def on_message(self, message: str | bytes) -> None:
        Compressed.largest = max(Compressed.largest, len(message))


class Feed(WebSocketHandler):
    """Everybody gets what is published, whether he reads or not."""

    readers: set[Feed]

    def open(self, *args: str, **kwargs: str) -> None:
        self.readers.add(self)
        if self.get_argument("burst", ""):
            for _ in range(30):
                self.write_message(b"x" * MIB, binary=True)

    def on_close(self) -> None:
        self.readers.discard(self)


class Large(RequestHandler):
    def get(self) -> None:
        size = int(self.get_argument("size"))
        if self.get_argument("flush", ""):
            # As old applications send files.
            for _ in range(size // 65536):
                self.write(b"x" * 65536)
                self.flush()
        else:
            if self.get_argument("chunked", ""):
                self.flush()
            self.write(b"x" * size)

    def post(self) -> None:
        self.write(str(len(self.request.body)))


class Events(RequestHandler):
    """Events that nobody waits for."""

    async def get(self) -> None:
        while not self.request.connection.stream.closed():  # type: ignore[attr-defined]
            self.write(b"x" * 65536)
            self.flush()
            await asyncio.sleep(0)


def application(**settings: Any) -> Application:
    Feed.readers = set()
    Echo.closed = Compressed.largest = 0
    rows = [("/echo", Echo), ("/feed", Feed), ("/large", Large), ("/events", Events)]
    return Application(
        [*rows, ("/compressed", Compressed)],  # type: ignore[list-item]
        log_function=lambda _: None,
        **settings,
    )


@pytest.fixture(autouse=True)
def _undeclared() -> Iterator[None]:
    before = frozenset(DECLARED)
    yield
    DECLARED.intersection_update(before)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    return contexts(tmp_path_factory.mktemp("ca"))


async def unread_echo(here: Served, total: int) -> None:
    """Send without reading until nothing moves, then read it all."""
    client = await here.connect(65536)
    await client.upgrade(b"echo")
    message = frame(os.urandom(65536))
    count = total // 65536
    sending = asyncio.ensure_future(client.write_all(message, count))
    await here.steady()
    assert not sending.done(), "the server has taken it all, and keeps it"
    assert here.most <= BOUND // 2
    back = len(frame(b"x" * 65536)) - 4
    assert await client.read(count * back) == count * back
    await sending
    assert here.most <= BOUND // 2


@LOOPS
def test_an_echo_that_nobody_reads_stops_reading(loop: str) -> None:
    async def case() -> None:
        async with served(application(), Config("")) as here:
            await unread_echo(here, 90 * MIB)

    run(loop, case)


@needs_openssl
@LOOPS
def test_an_echo_over_tls_that_nobody_reads_stops_reading(loop: str, tls: Contexts) -> None:
    async def case() -> None:
        async with served(application(), Config(""), tls) as here:
            await unread_echo(here, 30 * MIB)

    run(loop, case)


@LOOPS
def test_a_flood_of_pings_grows_nothing(loop: str) -> None:
    """Tornado 6.6 leaves out pongs that nobody reads; before it we stop reading.

    Two bytes of a pong cost far more than two bytes.
    """

    async def case() -> None:
        async with served(application(), Config("")) as here:
            client = await here.connect(4096)
            await client.upgrade(b"echo")
            sending = asyncio.ensure_future(client.write_all(frame(b"", opcode=9) * 1000, 200))
            (member,) = here.engine.live
            await here.until(lambda: sending.done() or member.choked, "all sent, or nothing read")
            assert here.most <= BOUND // 2
            assert len(member._flushing) * 200 <= BOUND // 2
            sending.cancel()

    run(loop, case)


@LOOPS
def test_who_does_not_read_what_is_published_is_cut(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Those who read get it all."""

    async def case() -> None:
        async with served(application(), Config("")) as here:
            deaf = await here.connect(65536)
            await deaf.upgrade(b"feed")
            live = await here.connect(65536)
            await live.upgrade(b"feed")
            reading = asyncio.ensure_future(live.read(10**9))
            published = 0
            async with asyncio.timeout(PATIENCE):
                while len(Feed.readers) == 2:
                    for reader in Feed.readers:
                        with contextlib.suppress(WebSocketClosedError):  # until it has been told
                            reader.write_message(b"x" * 65536, binary=True)
                    published += 65536
                    here.held()
                    await asyncio.sleep(0.001)
            assert 4 * MIB <= published <= BOUND
            assert here.most <= BOUND
            (member,) = here.engine.live
            for _ in range(100):
                for reader in Feed.readers:
                    await reader.write_message(b"x" * 65536, binary=True)
            member.cut()
            assert await reading >= published + 100 * 65536 - 65536

    run(loop, case)
    (line,) = [it.getMessage() for it in caplog.records if "wait to be read" in it.getMessage()]
    assert f"behind GET '/feed' ({__name__}.Feed)" in line


@LOOPS
def test_events_that_nobody_reads_end(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    async def case() -> None:
        async with served(application(), Config("")) as here:
            client = await here.connect(4096)
            client.writer.write(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
            await here.until(lambda: bool(here.engine.live), "connected")
            await here.until(lambda: not here.engine.live, "cut")
            assert here.most <= BOUND

    run(loop, case)
    assert f"({__name__}.Events)" in caplog.text


@LOOPS
def test_one_turn_may_write_more_than_the_budget(loop: str) -> None:
    """Thirty megabytes at once to a client that reads, and messages meanwhile."""

    async def case() -> None:
        async with served(application(), Config("")) as here:
            client = await here.connect(65536)
            await client.upgrade(b"feed?burst=1")
            for _ in range(5):
                for reader in Feed.readers:
                    reader.write_message(b"y", binary=True)
                await asyncio.sleep(0)
            expected = 30 * (MIB + 10) + 5 * 3
            assert await client.read(expected) == expected

    run(loop, case)


@LOOPS
@pytest.mark.parametrize("how", ["", "&chunked=1", "&flush=1"])
def test_a_large_answer_is_no_greed(loop: str, how: str) -> None:
    """Written at once, or piece by piece without waiting: the application has it in memory."""
    size = 24 * MIB

    async def case() -> None:
        async with served(application(), Config("")) as here:
            client = await here.connect(65536)
            head = b"GET /large?size=%d%b HTTP/1.1\r\nHost: a\r\n\r\n"
            client.writer.write(head % (size, how.encode()))
            await here.steady()  # it waits for its reader
            got = await client.read(size)
            assert got == size
            client.writer.write(head % (5, b""))  # the connection goes on
            tail = b""
            async with asyncio.timeout(PATIENCE):
                while not tail.endswith(b"\r\n\r\nxxxxx"):
                    piece = await client.reader.read(65536)
                    assert piece
                    tail = (tail + piece)[-200:]

    run(loop, case)


@LOOPS
def test_pipelined_requests_are_not_kept(loop: str) -> None:
    async def case() -> None:
        async with served(application(), Config("")) as here:
            client = await here.connect(4096)
            request = b"GET /large?size=60000 HTTP/1.1\r\nHost: a\r\n\r\n" * 100
            sending = asyncio.ensure_future(client.write_all(request, 20_000))
            await here.steady()
            assert not sending.done()
            assert here.most <= MIB
            sending.cancel()

    run(loop, case)


@LOOPS
def test_a_header_without_end_is_refused(loop: str) -> None:
    async def case() -> None:
        async with served(application(), Config("")) as here:
            client = await here.connect()
            client.writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n")
            for _ in range(200):
                client.writer.write(b"X-Flood: " + b"x" * 8000 + b"\r\n")
                here.held()
            assert (await client.reader.read(64)).startswith(b"HTTP/1.1 431 ")
            assert here.most <= MIB

    run(loop, case)


@LOOPS
def test_chunks_of_one_byte_are_read_in_little_memory(loop: str) -> None:
    async def case() -> None:
        async with served(application(), Config("")) as here:
            client = await here.connect()
            head = b"POST /large HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            client.writer.write(head)
            for _ in range(20):
                client.writer.write(b"1\r\nx\r\n" * 10_000)
                await client.writer.drain()
                here.held()
            client.writer.write(b"0\r\n\r\n")
            assert (await client.reader.readuntil(b"200000")).startswith(b"HTTP/1.1 200")
            assert here.most <= MIB
            # Extensions may be as long as the body, and not longer.
            client.writer.write(head + b"1;a=" + b"x" * 15_000 + b"\r\nx\r\n")
            client.writer.write(b"1;a=" + b"x" * 15_000 + b"\r\nx\r\n")
            assert (await client.reader.read(64)).startswith(b"HTTP/1.1 400 ")

    run(loop, case)


@LOOPS
def test_a_compressed_message_is_no_larger_than_a_plain_one(loop: str) -> None:
    """Tornado's `websocket_max_message_size`, 10 MiB unless the application says otherwise."""

    async def case() -> None:
        async with served(application(), Config("")) as here:
            client = await here.connect()
            deflate = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
            await client.upgrade(b"compressed", deflate)
            packer = zlib.compressobj(9, zlib.DEFLATED, -15)
            zeros = bytes(MIB)
            bomb = b"".join(packer.compress(zeros) for _ in range(64))
            bomb += packer.flush(zlib.Z_SYNC_FLUSH)
            assert bomb.endswith(b"\0\0\xff\xff")
            client.writer.write(frame(bomb[:-4], first=0xC0))
            assert await client.read(10**6) <= 200
            assert Compressed.largest == 0

    run(loop, case)


@LOOPS
def test_a_compressed_body_is_no_larger_than_a_plain_one(loop: str) -> None:
    """On Tornado 6.4 too, which does not count what it inflates."""
    largest = 0

    class Counting(Large):
        def post(self) -> None:
            nonlocal largest
            largest = max(largest, len(self.request.body))

    async def case() -> None:
        rows: Any = [("/", Counting)]
        http: Any = HTTPServer(
            Application(rows, log_function=lambda _: None),
            decompress_request=True,
            max_body_size=4 * MIB,
        )
        async with served(http, Config("")) as here:
            for size, status in ((3 * MIB, b"200"), (32 * MIB, b"400")):
                body = gzip.compress(bytes(size))
                client = await here.connect()
                client.writer.write(
                    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\n"
                    b"Content-Length: %d\r\n\r\n" % len(body) + body
                )
                answer = await asyncio.wait_for(client.reader.read(64), PATIENCE)
                assert answer.startswith(b"HTTP/1.1 " + status), answer
        assert largest == 3 * MIB

    run(loop, case)


@stream_request_body
class Counted(RequestHandler):
    """Keeps nothing of its body."""

    def prepare(self) -> None:
        self.came = 0

    def data_received(self, chunk: bytes) -> None:
        self.came += len(chunk)

    def post(self) -> None:
        self.write(str(self.came))


INFLATED = [Application([("/kept", Large), ("/counted", Counted)], log_function=lambda _: None)]


def _by_a_function(request: Any) -> None:
    request.connection.write_headers(ResponseStartLine("", 200, "OK"), HTTPHeaders())
    request.connection.finish()


# By way of routers of the application's own.
INFLATED += [RuleRouter([Rule(PathMatches("/.*"), INFLATED[0])])]  # type: ignore[list-item]
INFLATED += [HTTPServer(_by_a_function, decompress_request=True)]  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("way", "path", "kind", "size", "ratio", "status"),
    [
        (0, "kept", "zeros", 60, 100, 413),
        (1, "kept", "zeros", 60, 100, 413),
        (2, "kept", "zeros", 60, 100, 413),
        (0, "kept", "zeros", 20, 0, 200),
        (0, "kept", "zeros", 7, 100, 200),
        (0, "kept", "table", 12, 100, 200),
        (0, "counted", "zeros", 60, 100, 200),
        (1, "counted", "zeros", 60, 100, 200),
    ],
)
def test_a_bomb_of_gzip_costs_no_more_than_others(
    way: int, path: str, kind: str, size: int, ratio: int, status: int
) -> None:
    """Above 8 MiB a body that is kept may become a hundred times larger, and no more."""
    line = b"".join(b"%d;%x;ok\n" % (it, it * 7919 % 65521) for it in range(65536))
    body = bytes(size * MIB) if kind == "zeros" else (line * 40)[: size * MIB]
    packed = gzip.compress(body, 1)
    head = (
        f"POST /{path} HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\n"
        f"Content-Length: {len(packed)}\r\n\r\n"
    )

    async def case() -> None:
        config = Config("", decompress=True, max_inflate_ratio=ratio)
        async with served(INFLATED[way], config) as here:
            client = await here.connect()
            tracemalloc.start()
            try:
                client.writer.write(head.encode() + packed)
                answer = await asyncio.wait_for(client.reader.read(64), PATIENCE)
                grown = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert answer.startswith(b"HTTP/1.1 %d " % status), answer
            if status == 413 or path == "counted":
                assert grown < BOUND, f"{grown / MIB:.1f} MiB"
            assert here.engine.refusals["inflate-ratio"] == (status == 413)

    run("asyncio", case)


@LOOPS
@pytest.mark.parametrize("handler", [b"echo", b"large?size=60000000"])
def test_a_stalled_reader_is_cut(loop: str, handler: bytes) -> None:
    """Within the timeout, and not before: one that moves is not."""

    async def case() -> None:
        config = Config("", write_timeout=1.5, given=("write_timeout",))
        async with served(application(), config) as here:
            stalled = await here.connect(65536)
            moving = await here.connect(65536)
            for client in (stalled, moving):
                if handler == b"echo":
                    await client.upgrade(handler)
                    client.writer.write(frame(bytes(6 * MIB)))
                else:
                    client.writer.write(b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % handler)
            loop_ = asyncio.get_running_loop()
            started = loop_.time()
            while len(here.engine.live) > 1:
                assert loop_.time() < started + PATIENCE
                await moving.read(200_000 if handler != b"echo" else 60_000)
                await asyncio.sleep(0.1)
            assert loop_.time() - started >= 1.3
            (member,) = here.engine.live
            assert member.life is (Life.UPGRADED if handler == b"echo" else Life.ACTIVE)
            assert here.engine.ends.counts == {"write": 1}
            with pytest.raises(ConnectionResetError):  # the kernel keeps nothing for it
                while await asyncio.wait_for(stalled.reader.read(MIB), PATIENCE):
                    pass

    run(loop, case)


@LOOPS
@pytest.mark.parametrize("handler", [b"hasty/echo", b"hasty/large?size=60000000"])
def test_a_stalled_reader_is_cut_when_its_route_says_so(loop: str, handler: bytes) -> None:
    """Not before, not by the settings, and nobody else; the kernel knows of it too."""
    hasty, patient = leeward.deadlines(write=1.5, ping=0), leeward.deadlines(write=0, ping=0)
    kinds = {"large": Large, "echo": Echo}
    rows: Any = [
        (f"/{name}/{path}", said(type(path, (kind,), {})))
        for name, said in (("hasty", hasty), ("patient", patient))
        for path, kind in kinds.items()
    ]
    rows.extend((f"/{path}", kind) for path, kind in kinds.items())

    async def case() -> None:
        config = Config("", write_timeout=90.0, given=("write_timeout",))
        async with served(Application(rows, log_function=lambda _: None), config) as here:
            silent = {}
            for path in (handler, handler.replace(b"hasty/", b"patient/"), handler[6:]):
                client = await here.connect(65536)
                if b"echo" in path:
                    await client.upgrade(path)
                    client.writer.write(frame(bytes(6 * MIB)))
                else:
                    client.writer.write(b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
                await here.until(lambda: len(here.engine.live) == len(silent) + 1, "accepted")
                (member,) = set(here.engine.live) - set(silent)
                await here.until(lambda it=member: it._paused_writing, "it waits for its reader")
                sock = member.transport.get_extra_info("socket")
                option = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
                silent[member] = option / 1000
            assert [*silent.values()] == [60.0, 0.0, 0.0], "the longer of it and --peer-timeout"
            _, *others = silent
            here.engine.tune(replace(config, write_timeout=0.0))
            started = asyncio.get_running_loop().time()
            await here.until(lambda: len(here.engine.live) == 2, "cut")
            assert asyncio.get_running_loop().time() - started >= 0.8
            assert here.engine.live == set(others)
            here.engine.tune(replace(config, write_timeout=1.0))
            await here.until(lambda: len(here.engine.live) == 1, "cut by the setting")
            assert here.engine.live == {others[0]}
            assert here.engine.ends.counts == {"write": 2}

    run(loop, case)


@LOOPS
def test_a_frame_larger_than_what_is_read_ahead_arrives(loop: str) -> None:
    """Three of them while the application is busy with the first."""

    class Busy(WebSocketHandler):
        async def on_message(self, message: str | bytes) -> None:
            await asyncio.sleep(0.1)
            await self.write_message(str(len(message)))

    async def case() -> None:
        rows: Any = [("/busy", Busy)]
        async with served(Application(rows), Config("")) as here:
            client = await here.connect()
            await client.upgrade(b"busy")
            await client.write_all(frame(bytes(MIB)), 3)
            assert await client.read(3 * 9) == 3 * 9

    run(loop, case)


@needs_openssl
@LOOPS
def test_each_write_over_tls_is_flushed(loop: str, tls: Contexts) -> None:
    """With a limit of 0 asyncio's TLS pauses at once, and takes it back at the next write."""
    flushed: list[int] = []

    class Stream(RequestHandler):
        async def get(self) -> None:
            for number in range(5):
                self.write(f"event {number}\n")
                await self.flush()
                flushed.append(number)

    async def case() -> None:
        rows: Any = [("/", Stream)]
        async with served(Application(rows, log_function=lambda _: None), Config(""), tls) as here:
            client = await here.connect()
            client.writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await asyncio.wait_for(client.reader.readuntil(b"0\r\n\r\n"), PATIENCE)

    run(loop, case)
    assert flushed == [0, 1, 2, 3, 4]


class Sized(RequestHandler):
    def get(self) -> None:
        self.write(b"x" * int(self.get_argument("size")))


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("size", [100_000, 3_000_000])
def test_an_answer_that_waits_for_its_client_ends_well(size: int, loop: str) -> None:
    """Closed where the kernel had just taken the rest, asyncio closed twice, with a traceback."""

    async def main() -> int:
        app = Application([("/", Sized)], log_function=lambda _: None)
        here = asyncio.get_running_loop()
        async with ports.serving(app, Config("")) as port:
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1448)
                client.setblocking(False)
                await here.sock_connect(client, port.address)
                await here.sock_sendall(client, b"GET /?size=%d HTTP/1.0\r\n\r\n" % size)
                came = b""
                while piece := await here.sock_recv(client, 65536):
                    came += piece
            await port.gone()
            return came.count(b"x")

    assert ports.run(main(), loop) >= size
