"""TLS between a connection and its socket: every byte once and in order, and each way to end."""

from __future__ import annotations

import asyncio
import contextlib
import random
import select
import socket
import ssl
import subprocess
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from certificates import OPENSSL, Contexts, contexts, needs_openssl
from engine import hall
from engine.port import Port, run, serving
from tornado.web import Application, RequestHandler

from leeward._core.config import Config
from leeward.engine.tls import Tls

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
WIRE = memoryview(bytearray(256 * 1024))
INTAKE = memoryview(bytearray(256 * 1024))
MIB = 1024 * 1024
SEED = random.SystemRandom().randrange(1 << 30)

pytestmark = needs_openssl


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    return contexts(tmp_path_factory.mktemp("ca"))


# --- without sockets --------------------------------------------------------------------------


class Raw(hall.Transport):
    """The socket's transport.  Takes `room` bytes, then is full until `drain`."""

    def __init__(self) -> None:
        super().__init__()
        self.room = 1 << 40
        self.upper: Any = None

    def write(self, data: Any) -> None:
        assert not self.closed and not self.ended
        super().write(data)
        self.room -= len(data)
        if self.room <= 0:
            self.upper.pause_writing()

    def drain(self, room: int) -> None:
        was_full, self.room = self.room <= 0, room
        if was_full:
            self.upper.resume_writing()

    def taken(self) -> bytes:
        data = b"".join(self.written)
        self.written.clear()
        return data


class Upper(asyncio.BufferedProtocol):
    """What the plain text is for."""

    def __init__(self, keeps: bool = False) -> None:
        self.came = bytearray()
        self.full = False
        self.events: list[str] = []
        self.keeps = keeps

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.events.append("made")

    def get_buffer(self, sizehint: int) -> memoryview:
        return INTAKE

    def buffer_updated(self, nbytes: int) -> None:
        self.came += INTAKE[:nbytes]

    def eof_received(self) -> bool:
        self.events.append("eof")
        return self.keeps

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append("lost" if exc is None else type(exc).__name__)

    def pause_writing(self) -> None:
        assert not self.full
        self.full = True

    def resume_writing(self) -> None:
        assert self.full
        self.full = False


class Pair:
    """A client's half of TLS, and ours; bytes pass when the test says so."""

    def __init__(self, tls: Contexts, keeps: bool = False, **how: Any) -> None:
        self.upper, self.raw = Upper(keeps), Raw()
        self.ours = Tls(asyncio.get_running_loop(), self.upper, tls[0], WIRE, INTAKE)
        self.raw.upper = self.ours
        self.ours.connection_made(self.raw)
        self._incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = tls[1].wrap_bio(self._incoming, self.outgoing, server_hostname="localhost")
        self.came = bytearray()

    def shake(self) -> None:
        for _ in range(4):
            with contextlib.suppress(ssl.SSLWantReadError):
                self.client.do_handshake()
            self.send()
            self.receive()

    def say(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[self.client.write(left) :]

    def send(self, cut: Callable[[int], int] = lambda left: left) -> None:
        """To the server, in pieces of at most `cut` bytes."""
        data = self.outgoing.read()
        while data:
            piece = data[: min(cut(len(data)), len(WIRE))]
            self.ours.get_buffer(-1)[: len(piece)] = piece
            self.ours.buffer_updated(len(piece))
            data = data[len(piece) :]

    def receive(self) -> bool:
        """What the server has sent; was it its end?"""
        self._incoming.write(self.raw.taken())
        try:
            while piece := self.client.read(65536):
                self.came += piece
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLZeroReturnError:
            pass
        return True


async def turn() -> None:
    """An end is said in a turn of its own."""
    await asyncio.sleep(0)


def test_every_byte_once_and_in_order(tls: Contexts) -> None:
    """Whatever the cuts, both ways at once, and however little the socket takes."""
    print(f"seed {SEED}")
    dice = random.Random(SEED)

    async def conversation() -> None:
        pair = Pair(tls)
        pair.shake()
        assert pair.upper.events == ["made"]
        up, down = bytearray(), bytearray()
        for _ in range(dice.randrange(1, 12)):
            for _ in range(dice.randrange(3)):
                part = dice.randbytes(dice.choice((0, 1, 100, 16384, 16385, 300_000)))
                up += part
                pair.say(part)
            if dice.random() < 0.5:
                pair.raw.drain(dice.choice((1, 10_000, 200_000, 1 << 40)))
            for _ in range(dice.randrange(3)):
                part = dice.randbytes(dice.choice((0, 1, 100, 16384, 16385, 300_000)))
                down += part
                pair.ours.write(part)
                assert pair.upper.full == (pair.raw.room <= 0)
            pair.send(lambda left: dice.choice((1, 5, 1000, 17_000, left)) if left < 99 else left)
            pair.receive()
        pair.ours.close()
        assert pair.ours.is_closing()
        for _ in range(100):
            pair.raw.drain(200_000)
            await turn()
            if pair.receive():
                break
        assert pair.upper.came == up and pair.came == down
        assert pair.raw.ended and not pair.raw.closed  # waits for the client's end
        assert pair.ours.get_write_buffer_size() == 0

    for _ in range(60):
        asyncio.run(conversation())


def test_byte_by_byte(tls: Contexts) -> None:
    async def case() -> None:
        pair = Pair(tls)
        for _ in range(4):
            with contextlib.suppress(ssl.SSLWantReadError):
                pair.client.do_handshake()
            pair.send(lambda left: 1)
            pair.receive()
        pair.say(b"a" * 20_000)
        pair.send(lambda left: 1)
        assert pair.upper.came == b"a" * 20_000

    asyncio.run(case())


def test_a_request_that_comes_with_the_handshake(tls: Contexts) -> None:
    async def case() -> None:
        pair = Pair(tls)
        for _ in range(4):
            with contextlib.suppress(ssl.SSLWantReadError):
                pair.client.do_handshake()
                pair.say(b"at once")
            pair.send()
            pair.receive()
            if pair.upper.came:
                break
        assert pair.upper.events == ["made"] and pair.upper.came.startswith(b"at once")

    asyncio.run(case())


@pytest.mark.parametrize("how", ["fin", "close_notify", "both"])
@pytest.mark.parametrize("keeps", [False, True])
def test_the_end_of_a_client_is_told_once(how: str, keeps: bool, tls: Contexts) -> None:
    """keeps:  the protocol has something to say yet."""

    async def case() -> None:
        pair = Pair(tls, keeps)
        pair.shake()
        pair.say(b"last words")
        if how != "fin":
            with contextlib.suppress(ssl.SSLWantReadError):
                pair.client.unwrap()
        pair.send()
        if how != "close_notify":
            assert pair.ours.eof_received()  # it closes the socket itself
        assert pair.upper.came == b"last words" and pair.upper.events == ["made", "eof"]
        await turn()
        assert pair.raw.closed != keeps
        if keeps:
            pair.ours.write(b"an answer")
            pair.ours.close()
            await turn()
            assert pair.receive() and pair.came == b"an answer" and pair.raw.closed
        pair.ours.connection_lost(None)
        assert pair.upper.events == ["made", "eof", "lost"]

    asyncio.run(case())


def test_what_comes_after_our_end_is_not_handed_on(tls: Contexts) -> None:
    async def case() -> None:
        pair = Pair(tls)
        pair.shake()
        pair.ours.close()
        pair.ours.write(b"too late")
        await turn()
        pair.say(b"still there?")
        pair.send()
        assert pair.receive() and not pair.came and not pair.upper.came
        assert pair.raw.ended and not pair.raw.closed
        with contextlib.suppress(ssl.SSLError):
            pair.client.unwrap()
        pair.send()
        assert pair.raw.closed and pair.upper.events == ["made"]

    asyncio.run(case())


def test_reading_goes_on_behind_our_end(tls: Contexts) -> None:
    """`write_eof` ends one direction."""

    async def case() -> None:
        pair = Pair(tls)
        pair.shake()
        pair.ours.write(b"an answer")
        pair.ours.write_eof()
        await turn()
        pair.say(b"the rest of a body")
        pair.send()
        assert pair.receive() and pair.came == b"an answer"
        assert pair.upper.came == b"the rest of a body" and not pair.ours.is_closing()
        pair.ours.close()
        assert pair.raw.closed, "it has lingered"

    asyncio.run(case())


def test_our_end_is_said_once(tls: Contexts) -> None:
    """Even where the socket was full with it."""

    async def case() -> None:
        pair = Pair(tls)
        pair.shake()
        pair.raw.room = 1
        pair.ours.close()
        await turn()
        sent = pair.raw.taken()
        pair.raw.drain(1 << 40)
        await turn()
        assert sent and not pair.raw.written and pair.raw.ended

    asyncio.run(case())


def test_bytes_that_are_not_the_clients(tls: Contexts) -> None:
    """What came before them is handed on, and the protocol hears why it is lost."""

    async def case() -> None:
        pair = Pair(tls)
        pair.shake()
        pair.say(b"good")
        good = pair.outgoing.read()
        pair.say(b"changed on its way")
        bad = bytearray(pair.outgoing.read())
        bad[-1] ^= 1
        pair.outgoing.write(good + bytes(bad))
        pair.send()
        assert pair.upper.came == b"good" and pair.raw.closed
        pair.ours.connection_lost(None)
        assert pair.upper.events == ["made", "SSLError"]

    asyncio.run(case())


def test_an_answer_amid_what_is_deciphered(tls: Contexts) -> None:
    """OpenSSL has a part of what came: ended there, the answer was lost by a reset."""

    class Refusing(Upper):
        def buffer_updated(self, nbytes: int) -> None:
            super().buffer_updated(nbytes)
            if len(self.came) < 2 * len(INTAKE):
                self.transport.write(b"413")
                self.transport.write_eof()

        def connection_made(self, transport: Any) -> None:
            self.transport = transport

    async def case() -> None:
        pair = Pair(tls)
        pair.upper = Refusing()
        pair.ours.set_protocol(pair.upper)
        pair.shake()
        for _ in range(150):
            pair.say(b"x" * 10_000)
        pair.send()
        await turn()
        assert pair.receive() and pair.came == b"413"
        assert len(pair.upper.came) == 1_500_000 and not pair.raw.closed

    asyncio.run(case())


def test_nothing_is_kept_behind_close_notify(tls: Contexts) -> None:
    """It was, as long as the answer took: 400 MB of one client's."""

    async def case() -> None:
        pair = Pair(tls, keeps=True)
        pair.shake()
        with contextlib.suppress(ssl.SSLWantReadError):
            pair.client.unwrap()
        pair.send()
        for _ in range(10):
            pair.outgoing.write(bytes(100_000))
            pair.send()
        assert pair.ours._incoming.pending == 0 and not pair.raw.closed

    asyncio.run(case())


def test_nothing_is_enciphered_for_who_has_gone(tls: Contexts) -> None:
    async def case() -> None:
        pair = Pair(tls)
        pair.shake()
        pair.raw.room = 1
        pair.ours.write(b"x" * MIB)
        written = len(pair.raw.taken())
        assert written < 200_000, "what the socket does not take waits as it is"
        pair.raw.closed = True
        pair.ours.resume_writing()
        assert not pair.raw.written and pair.ours.get_write_buffer_size() > MIB - 200_000
        pair.ours.connection_lost(None)
        assert pair.ours.get_write_buffer_size() == 0

    asyncio.run(case())


def test_who_is_closed_while_nobody_reads_is_read_to_his_end(tls: Contexts) -> None:
    class Reads(Raw):
        reads = True

        def pause_reading(self) -> None:
            self.reads = False

        def resume_reading(self) -> None:
            self.reads = True

    async def case() -> None:
        pair = Pair(tls)
        pair.shake()
        raw = pair.ours._raw = Reads()
        pair.ours.pause_reading()
        assert not raw.reads
        pair.ours.close()
        assert raw.reads

    asyncio.run(case())


def test_half_a_record_is_known(tls: Contexts) -> None:
    """A request may have begun of which nobody else sees a byte."""

    async def case() -> None:
        pair = Pair(tls)
        pair.shake()
        assert not pair.ours.half_a_record
        pair.say(b"x" * 10_000)
        record = pair.outgoing.read()
        for part, half in ((record[:5000], True), (record[5000:], False)):
            pair.outgoing.write(part)
            pair.send()
            assert pair.ours.half_a_record is half
        assert pair.ours.get_extra_info("half a record") is False
        assert pair.upper.came == b"x" * 10_000

    asyncio.run(case())


def test_what_is_lost_holds_no_memory(tls: Contexts) -> None:
    """OpenSSL's buffers are as large as what went through them; a cycle kept them."""

    async def case() -> None:
        pair = Pair(tls)
        pair.shake()
        known = weakref.ref(pair.ours._ssl)
        pair.ours.connection_lost(None)
        assert known() is None and pair.ours.get_extra_info("ssl_object") is None
        pair.ours.write(b"too late")
        pair.ours.close()
        pair.ours.abort()
        await turn()
        assert pair.upper.events == ["made", "lost"]

    asyncio.run(case())


@pytest.mark.parametrize("how", ["no tls", "fin", "reset", "cancelled"])
def test_no_handshake(how: str, tls: Contexts) -> None:
    """The protocol hears of nothing; who waits for the handshake does."""

    async def main() -> None:
        pair = Pair(tls)
        if how == "no tls":
            pair.outgoing.write(b"\x16\x03\x01\x00\x05hello")
            pair.send()
            assert pair.raw.taken()[:1] == b"\x15", "an alert"
            expected: type[BaseException] = ssl.SSLError
        elif how == "fin":
            assert not pair.ours.eof_received()
            expected = ConnectionResetError
        elif how == "reset":
            pair.ours.connection_lost(BrokenPipeError())
            expected = BrokenPipeError
        else:
            pair.ours.shaken.cancel()
            pair.ours.abort()
            expected = asyncio.CancelledError
        with pytest.raises(expected):
            await pair.ours.shaken
        pair.ours.connection_lost(None)
        assert pair.raw.closed and pair.upper.events == []

    asyncio.run(main())


# --- with sockets -----------------------------------------------------------------------------


class Large(RequestHandler):
    def get(self) -> None:
        self.write(b"0123456789abcdef" * (MIB // 16) * 24)


class Hello(RequestHandler):
    def get(self) -> None:
        self.write("hello")


ROWS: Any = [("/large", Large), ("/", Hello)]


def get_slowly(port: Port, tls: ssl.SSLContext) -> bytes:
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        plain.connect(port.address)
        with tls.wrap_socket(plain, server_hostname="localhost") as client:
            client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = bytearray()
            while piece := client.recv(65536):
                answer += piece
            return bytes(answer)


@LOOPS
def test_a_large_answer(loop: str, tls: Contexts) -> None:
    """Whole and in order, and behind it the server's own end (`recv` would raise without)."""

    async def main() -> None:
        app = Application(ROWS, log_function=lambda _: None)
        async with serving(app, Config(""), tls[0]) as port:
            answer = await asyncio.to_thread(get_slowly, port, tls[1])
            _, _, body = answer.partition(b"\r\n\r\n")
            assert body == b"0123456789abcdef" * (MIB // 16) * 24
            await port.gone()

    run(main(), loop)


def renew_keys(port: Port) -> bytes:
    """By `openssl s_client`, whose command K renews the keys of both directions."""
    command = [OPENSSL, "s_client", "-connect", f"127.0.0.1:{port.address[1]}", "-tls1_3"]
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as client:
        assert client.stdin is not None and client.stdout is not None
        said = b""
        for part, until in ((request, 1), (b"K\n", 0), (request, 2), (b"K\n", 0), (request, 3)):
            client.stdin.write(part)
            client.stdin.flush()
            while said.count(b"\r\n\r\nhello") < until:
                assert select.select([client.stdout], [], [], 20)[0], said
                more = client.stdout.read1(65536)  # type: ignore[attr-defined]
                assert more, said
                said += more
            if not until:
                while said.count(b"KEYUPDATE") < said.count(b"hello"):
                    assert select.select([client.stdout], [], [], 20)[0], said
                    said += client.stdout.read1(65536)  # type: ignore[attr-defined]
        client.stdin.close()
        client.kill()
        return said


@LOOPS
def test_keys_are_renewed(loop: str, tls: Contexts) -> None:
    async def main() -> None:
        app = Application(ROWS, log_function=lambda _: None)
        async with serving(app, Config(""), tls[0]) as port:
            said = await asyncio.to_thread(renew_keys, port)
            assert said.count(b"hello") == 3
            await port.gone()

    run(main(), loop)


@LOOPS
@pytest.mark.parametrize("how", ["silent", "left", "cut"])
def test_a_handshake_that_does_not_come(how: str, loop: str, tls: Contexts) -> None:
    async def main() -> None:
        app = Application(ROWS, log_function=lambda _: None)
        async with serving(app, Config("", silent_timeout=0.2), tls[0]) as port:
            reader, writer = await port.connect()
            writer.write(b"\x16\x03\x01")
            while not port.server.live:
                await asyncio.sleep(0.001)
            (member,) = port.server.live
            if how == "left":
                writer.close()
            elif how == "cut":
                member.cut()
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b"" or how == "left"
            await port.gone()
            writer.close()

    run(main(), loop)
