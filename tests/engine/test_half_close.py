"""A client that has said all it will say (FIN) is heard to the end, and still gets its answer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from typing import Any

import pytest
from certificates import Contexts, contexts, needs_openssl
from engine.port import PATIENCE, Port, run, serving
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler, stream_request_body
from tornado.websocket import WebSocketHandler

from leeward._core.config import Config
from leeward.engine.orphans import runs
from leeward.engine.rules import LEGAL

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])

REQUESTS = {
    "get": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "post": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    "chunked": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n0\r\n\r\n",
    "1.0": b"GET / HTTP/1.0\r\n\r\n",
}


class Slow(RequestHandler):
    """Answers when it has heard that its client has gone."""

    left: asyncio.Event

    async def get(self) -> None:
        await Slow.left.wait()
        with contextlib.suppress(Exception):  # Tornado: the stream is closed
            await self.finish("late")

    post = get

    def on_connection_close(self) -> None:
        Slow.left.set()


async def ask(engine: str, request: bytes) -> bytes:
    Slow.left = asyncio.Event()
    app = Application([("/", Slow)], log_function=lambda _: None)
    async with serving(app, Config("", engine=engine)) as port:
        reader, writer = await port.connect()
        writer.write(request)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer


@LOOPS
@pytest.mark.parametrize("name", REQUESTS)
def test_the_answer_is_sent_and_the_connection_closed(name: str, loop: str) -> None:
    answer: Any = run(ask("leeward", REQUESTS[name]), loop)
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"late")


def test_tornado_loses_it() -> None:
    """Which is why it stands in the list."""
    assert run(ask("tornado", REQUESTS["get"])) == b""
    assert "half-close" in {rule.name for rule in LEGAL}


def test_half_a_request_gets_none() -> None:
    """What is not complete will never be."""

    async def main() -> bytes:
        async with serving(Application([("/", Slow)]), Config("")) as port:
            reader, writer = await port.connect()
            writer.write(REQUESTS["post"][:-1])
            writer.write_eof()
            answer = await reader.read()
            writer.close()
            return answer

    assert run(main()) == b""


class Goes(RequestHandler):
    """Sends a piece for each permission."""

    go_on: asyncio.Event

    async def get(self) -> None:
        await self.flush()
        while True:
            await Goes.go_on.wait()
            Goes.go_on.clear()
            self.write("piece")
            await self.flush()


@LOOPS
def test_whoever_reads_on_has_not_left(loop: str) -> None:
    """Until something is sent nothing tells: a drain asks, and cuts no download."""

    async def main() -> None:
        Goes.go_on = asyncio.Event()
        app = Application([("/", Goes)], log_function=lambda _: None)
        async with serving(app, Config("", on_disconnect="notify")) as port:
            reader, writer = await port.connect()
            writer.write(REQUESTS["get"])
            await reader.readuntil(b"\r\n\r\n")
            assert port.server.doubtful() == 0
            writer.write_eof()
            (member,) = port.server.live
            while not member.ended:
                await asyncio.sleep(0.001)
            assert port.server.doubtful() == 1
            Goes.go_on.set()
            await reader.readuntil(b"piece")
            assert port.server.doubtful() == 0
            port.server.close_rest()
            writer.close()
            await port.gone()

    run(main(), loop)


# --- while the application works on a part of it ----------------------------------------------


@stream_request_body
class Pieces(RequestHandler):
    """Takes its time for the first piece of a body, and says how the request has ended."""

    first: asyncio.Event
    go_on: asyncio.Event
    ends: asyncio.Future[tuple[str, int]]

    def prepare(self) -> None:
        self.came = 0

    async def data_received(self, chunk: bytes) -> None:
        self.came += len(chunk)
        Pieces.first.set()
        await Pieces.go_on.wait()

    def post(self) -> None:
        Pieces.ends.set_result(("whole", self.came))
        self.finish("ok")

    def on_connection_close(self) -> None:
        super().on_connection_close()
        if not Pieces.ends.done():
            Pieces.ends.set_result(("left", self.came))

    @classmethod
    def reset(cls) -> None:
        cls.first, cls.go_on = asyncio.Event(), asyncio.Event()
        cls.ends = asyncio.get_running_loop().create_future()


HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

#: What comes, what comes behind it while the application is at work, and how that ends.
PIECES = {
    "in one": (HEAD + 2000 * b"a", b"", ("whole", 2000)),
    "in two": (HEAD + 1000 * b"a", 1000 * b"b", ("whole", 2000)),
    "a half": (HEAD + 1000 * b"a", 999 * b"b", ("left", 1999)),
    "chunked": (CHUNKED + b"4\r\nabcd\r\n", b"3\r\nefg\r\n0\r\n\r\n", ("whole", 7)),
    "half a chunk": (CHUNKED + b"4\r\nabcd\r\n", b"3\r\nef", ("left", None)),
}


@pytest.mark.parametrize("name", PIECES)
def test_a_fin_while_the_application_is_at_work(name: str) -> None:
    """The whole request was dropped, though all of it was here."""
    first, more, expected = PIECES[name]

    async def main() -> tuple[bytes, tuple[str, int]]:
        Pieces.reset()
        app = Application([("/", Pieces)], log_function=lambda _: None)
        async with serving(app, Config("")) as port:
            reader, writer = await port.connect()
            writer.write(first)
            await Pieces.first.wait()
            (member,) = port.server.live
            writer.write(more)
            writer.write_eof()
            while not member.ended:
                await asyncio.sleep(0.001)
            Pieces.go_on.set()
            answer = await reader.read()
            writer.close()
            await port.gone()
            return answer, await Pieces.ends

    answer, (how, came) = run(main())
    assert how == expected[0] and came == (expected[1] or came)
    assert answer.endswith(b"\r\n\r\nok") if how == "whole" else answer == b""


@stream_request_body
class Noted(RequestHandler):
    """Takes its time for the first of a request, and notes in which order it is called.

    Does not pass on what it is told.
    """

    said: list[str]
    at_work: asyncio.Event
    go_on: asyncio.Event
    told: asyncio.Event
    where: str
    fails = False

    async def prepare(self) -> None:
        if Noted.where == "prepare":
            await self._work()

    async def data_received(self, chunk: bytes) -> None:
        if Noted.where == "answered":
            await self.finish("early")
        await self._work()

    async def _work(self) -> None:
        Noted.said.append("begins")
        Noted.at_work.set()
        try:
            await Noted.go_on.wait()
        except asyncio.CancelledError:
            Noted.said.append("cancelled")
            raise
        Noted.said.append("goes on")
        if Noted.fails:
            raise RuntimeError("the disk is full")

    def post(self) -> None:
        Noted.said.append("commits half a body")

    def on_connection_close(self) -> None:
        Noted.said.append("left")
        Noted.told.set()

    def on_finish(self) -> None:
        Noted.said.append(f"finished {self.get_status()}")

    @classmethod
    def reset(cls, where: str = "data_received", fails: bool = False) -> None:
        cls.said, cls.where, cls.fails = [], where, fails
        cls.at_work, cls.go_on, cls.told = asyncio.Event(), asyncio.Event(), asyncio.Event()


async def begin_upload(port: Port, send: bytes = HEAD + 1000 * b"a") -> socket.socket:
    """Until its handler is at work on what has come."""
    client = socket.create_connection(port.address)
    client.sendall(send)
    await Noted.at_work.wait()
    return client


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


async def nothing_is_left(port: Port) -> None:
    """Until no task is at work for a handler."""
    while port.server.orphans() or any(runs(it)[0] is not None for it in asyncio.all_tasks()):
        await asyncio.sleep(0.001)


@LOOPS
@pytest.mark.parametrize("where", ["prepare", "data_received", "answered"])
@pytest.mark.parametrize("end", ["reset", "cut", "drain", "deadline"])
def test_the_end_of_a_client_is_told_behind_what_is_at_work(
    end: str, where: str, loop: str
) -> None:
    """It came in the middle: what a piece was being written to had been closed under it."""

    async def main() -> None:
        Noted.reset(where)
        app = Application([("/", Noted)], log_function=lambda _: None)
        async with serving(app, Config("", on_disconnect="notify")) as port:
            client = await begin_upload(port)
            (member,) = port.server.live
            with client:
                if end == "reset":
                    reset(client)
                elif end == "cut":
                    member.cut()
                else:
                    if end == "drain":
                        member.part(True)
                    else:
                        member.expire()
                    client.close()
                await port.gone()
            before = Noted.said.copy()
            assert "left" not in before
            if where != "answered":
                while not port.server.orphans():  # its time to end by itself is over
                    await asyncio.sleep(0.001)
            Noted.go_on.set()
            await Noted.told.wait()
            if where != "answered":  # Tornado waits for a body that is forgotten then
                await nothing_is_left(port)
            assert Noted.said == [*before, "goes on", "left"]
            Noted.said.clear()
            assert member.exchange is None and member._delegate is None

    run(main(), loop)
    assert not Noted.said


@LOOPS
@pytest.mark.parametrize("engine", ["leeward", "tornado"])
@pytest.mark.parametrize("where", ["prepare", "data_received"])
@pytest.mark.parametrize("by", ["policy", "person", "drain"])
@pytest.mark.parametrize("came", ["half", "all", "all in pieces"])
def test_what_is_at_work_for_a_client_that_left_is_ended_where_it_waits(
    came: str, by: str, where: str, engine: str, loop: str
) -> None:
    """The handler ended beside it, and it went on with what that had let go.

    Also where the rest of the body waits behind it: what was not taken is not committed.
    """
    send = HEAD + 1000 * b"a"
    if came == "all":
        send = HEAD.replace(b"2000", b"1000") + 1000 * b"a"
    elif came == "all in pieces":
        send = CHUNKED + 3 * (b"3e8\r\n" + 1000 * b"a" + b"\r\n") + b"0\r\n\r\n"

    async def main() -> None:
        Noted.reset(where)
        app = Application([("/", Noted)], log_function=lambda _: None)
        policy = "cancel" if by == "policy" else "notify"
        async with serving(app, Config("", engine=engine, on_disconnect=policy)) as port:
            with await begin_upload(port, send):
                (member,) = port.server.live
                if by == "drain":
                    port.server.close_rest()
                else:
                    member.cut()
                await port.gone()
                if by == "person":
                    while not port.server.orphans():
                        await asyncio.sleep(0.001)
                    for orphan in port.server.leaving.every():
                        port.server.end(orphan)
                await Noted.told.wait()
                await nothing_is_left(port)

    run(main(), loop)
    assert sorted(Noted.said) == ["begins", "cancelled", "finished 499", "left"]
    assert Noted.said.index("left") > Noted.said.index("cancelled")


@LOOPS
def test_under_tornados_own_server_nothing_ends_before_what_is_at_work(loop: str) -> None:
    """Its body was ended under it: `_execute` was over while a piece was being written."""

    async def main() -> None:
        Noted.reset()
        app = Application([("/", Noted)], log_function=lambda _: None)
        config = Config("", engine="tornado", on_disconnect="notify")
        async with serving(app, config) as port:
            with await begin_upload(port):
                for member in tuple(port.server.live):
                    member.cut()
                await port.gone()
                while port.server.leaving._told:  # its time to end by itself is over
                    await asyncio.sleep(0.001)
                await asyncio.sleep(0)
                assert port.server.orphans()
                Noted.go_on.set()
                await Noted.told.wait()
                await nothing_is_left(port)

    run(main(), loop)
    assert Noted.said == ["begins", "goes on", "left"]


@pytest.mark.parametrize("how", ["a future", "a task"])
def test_what_a_handler_hands_out_is_waited_for_no_longer_and_goes_on(how: str) -> None:
    """A `data_received` may give what others wait for too."""

    class Shares(Noted):
        shared: Any

        def data_received(self, chunk: bytes) -> Any:
            Noted.at_work.set()
            return Shares.shared

    async def main() -> None:
        Noted.reset()
        work = asyncio.ensure_future(Noted.go_on.wait())
        Shares.shared = work if how == "a task" else asyncio.Future()
        others = asyncio.gather(Shares.shared)
        app = Application([("/", Shares)], log_function=lambda _: None)
        async with serving(app, Config("", on_disconnect="cancel")) as port:
            reset(await begin_upload(port))
            await Noted.told.wait()
            assert not Shares.shared.done()
            Noted.go_on.set()
            if how == "a future":
                Shares.shared.set_result(True)
            assert await others == [True]
            await work
            await nothing_is_left(port)

    run(main())
    assert sorted(Noted.said) == ["finished 499", "left"]


def test_what_fails_behind_the_end_of_a_client_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """As under Tornado: nothing was closed under it that could have been the reason."""

    async def main() -> None:
        Noted.reset(fails=True)
        app = Application([("/", Noted)], log_function=lambda _: None)
        async with serving(app, Config("")) as port:
            reset(await begin_upload(port))
            await port.gone()
            Noted.go_on.set()
            await Noted.told.wait()
            await nothing_is_left(port)

    run(main())
    assert [it.exc_info[1].args for it in caplog.records if it.exc_info] == [("the disk is full",)]


@LOOPS
@pytest.mark.parametrize("how", ["stream_request_body", "decompress_request"])
def test_a_small_request_to_who_reads_it_in_pieces(how: str, loop: str) -> None:
    """All of it and its FIN in one go, as from `nc -N`: it got no answer."""

    async def main() -> bytes:
        Pieces.reset()
        Pieces.go_on.set()
        Slow.left = asyncio.Event()
        Slow.left.set()
        handler = Pieces if how == "stream_request_body" else Slow
        app = Application([("/", handler)], log_function=lambda _: None)
        server = HTTPServer(app, decompress_request=how == "decompress_request")
        async with serving(server, Config("")) as port:
            reader, writer = await port.connect()
            writer.write(REQUESTS["post"])
            writer.write_eof()
            answer = await reader.read()
            writer.close()
            return answer

    assert run(main(), loop).endswith((b"\r\n\r\nok", b"\r\n\r\nlate"))


# --- over TLS ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    return contexts(tmp_path_factory.mktemp("ca"))


class Counted(RequestHandler):
    came = 0

    def post(self) -> None:
        Counted.came = len(self.request.body)


class Client:
    """A client that blocks; with `tls` one that can say close_notify and go on reading."""

    def __init__(self, plain: socket.socket, tls: ssl.SSLContext | None) -> None:
        self._plain = plain
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = None
        if tls is not None:
            self._tls = tls.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
            while self._wants_more(self._tls.do_handshake):
                self._flush()
                self._incoming.write(plain.recv(65536))
            self._flush()

    @staticmethod
    def _wants_more(call: Callable[[], object]) -> bool:
        try:
            call()
        except ssl.SSLWantReadError:
            return True
        return False

    def _flush(self) -> None:
        self._plain.sendall(self._outgoing.read())

    def send(self, data: bytes) -> None:
        if self._tls is None:
            self._plain.sendall(data)
            return
        left = memoryview(data)
        while left:
            left = left[self._tls.write(left) :]
        self._flush()

    def end(self, how: str) -> None:
        if how == "close_notify":
            assert self._tls is not None and self._wants_more(self._tls.unwrap)
            self._flush()
        self._plain.shutdown(socket.SHUT_WR)

    def rest(self) -> bytes:
        """What comes until the server ends."""
        back = b""
        with contextlib.suppress(ConnectionResetError, ssl.SSLZeroReturnError):
            while piece := self._plain.recv(65536):
                if self._tls is None:
                    back += piece
                    continue
                self._incoming.write(piece)
                with contextlib.suppress(ssl.SSLWantReadError):
                    while piece := self._tls.read(65536):
                        back += piece
        return back


def send_and_leave(
    port: Port,
    tls: ssl.SSLContext | None,
    *parts: bytes,
    end: str = "fin",
    sent: Callable[[], None] = lambda: None,
) -> bytes:
    """From a thread; returns what came back.

    end:   "fin" without TLS's farewell, as most that leave, or "close_notify" before it.
    sent:  called when all is sent.
    """
    with socket.create_connection(port.address) as plain:
        client = Client(plain, tls)
        for part in parts:
            client.send(part)
        client.end(end)
        sent()
        return client.rest()


@needs_openssl
@LOOPS
@pytest.mark.parametrize("size", [200_000, 600_000])
def test_all_that_came_before_a_fin_is_heard(size: int, loop: str, tls: Contexts) -> None:
    """Of 600,000 bytes that a client sent and left, 557,056 were."""

    async def main() -> None:
        Counted.came = 0
        app = Application([("/", Counted)], log_function=lambda _: None)
        async with serving(app, Config(""), tls[0]) as port:
            head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size
            await asyncio.to_thread(send_and_leave, port, tls[1], head, b"a" * size)
            await port.gone()

    run(main(), loop)
    assert Counted.came == size


@needs_openssl
@LOOPS
@pytest.mark.parametrize("end", ["fin", "close_notify"])
@pytest.mark.parametrize("name", REQUESTS)
def test_over_tls_too_the_answer_is_sent(name: str, end: str, loop: str, tls: Contexts) -> None:
    """The loops' own TLS closes; its close_notify ends one direction (RFC 8446 section 6.1)."""

    async def main() -> bytes:
        Slow.left = asyncio.Event()
        app = Application([("/", Slow)], log_function=lambda _: None)
        async with serving(app, Config(""), tls[0]) as port:
            answer = await asyncio.to_thread(send_and_leave, port, tls[1], REQUESTS[name], end=end)
            await port.gone()
            return answer

    answer: Any = run(main(), loop)
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"late")


@needs_openssl
@LOOPS
@pytest.mark.parametrize("name", PIECES)
def test_a_fin_over_tls_while_the_application_is_at_work(
    name: str, loop: str, tls: Contexts
) -> None:
    first, more, expected = PIECES[name]

    async def main() -> tuple[bytes, tuple[str, int]]:
        Pieces.reset()
        app = Application([("/", Pieces)], log_function=lambda _: None)
        async with serving(app, Config(""), tls[0]) as port:
            client = asyncio.to_thread(send_and_leave, port, tls[1], first, more)
            leaving = asyncio.ensure_future(client)
            await Pieces.first.wait()
            while any(not member.ended for member in port.server.live):
                await asyncio.sleep(0.001)
            Pieces.go_on.set()
            answer = await leaving
            await port.gone()
            return answer, await Pieces.ends

    answer, (how, _) = run(main(), loop)
    assert how == expected[0]
    assert answer.endswith(b"\r\n\r\nok") if how == "whole" else answer == b""


HELLO = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
MESSAGE = b"\x82\xfe" + struct.pack(">H", 1000) + bytes(4) + b"a" * 1000


class Echo(WebSocketHandler):
    """Answers nothing before `begin`; what waits for its client is then too much."""

    begin: asyncio.Event
    left: asyncio.Event
    came = 0

    async def on_message(self, message: str | bytes) -> None:
        Echo.came += 1
        await self.write_message(message, binary=True)
        await Echo.begin.wait()

    def on_close(self) -> None:
        Echo.left.set()


@needs_openssl
@LOOPS
@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("end", ["fin", "close_notify"])
def test_a_websocket_that_lags_hears_and_answers_all(
    end: str, encrypted: bool, loop: str, tls: Contexts
) -> None:
    """Reading was paused when the end came: of a million bytes 571,000 were heard, over TLS."""

    async def main() -> int:
        Echo.begin, Echo.left, Echo.came = asyncio.Event(), asyncio.Event(), 0
        begin = asyncio.get_running_loop().call_soon_threadsafe
        app = Application([("/", Echo)], log_function=lambda _: None)
        theirs, ours = tls if encrypted else (None, None)
        async with serving(app, Config(""), theirs) as port:
            parts = [HELLO, *[MESSAGE * 100] * 10]
            sent = lambda: begin(Echo.begin.set)  # noqa: E731
            back = await asyncio.to_thread(send_and_leave, port, ours, *parts, end=end, sent=sent)
            await Echo.left.wait()
            await port.gone()
            return back.count(b"\x82~" + struct.pack(">H", 1000))

    if end == "close_notify" and not encrypted:
        pytest.skip("is TLS's")
    assert run(main(), loop) == 1000 == Echo.came


class Piles(WebSocketHandler):
    """Awaits nothing that it writes, and writes much more than it reads."""

    slowly: bool
    answered: int
    begun: asyncio.Event
    begin: asyncio.Event

    async def _after_a_while(self) -> None:
        Piles.begun.set()
        await Piles.begin.wait()
        self._answer()

    def on_message(self, message: str | bytes) -> Any:
        if Piles.slowly:
            return self._after_a_while()
        return self._answer()

    def _answer(self) -> None:
        Piles.answered += 1
        self.write_message(PILE, binary=True)


PILE = 64 * 1024 * b"p"


@needs_openssl
@LOOPS
@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("slowly", [False, True], ids=["at once", "slowly"])
def test_a_websocket_hears_and_answers_all_though_too_much_waits_for_its_client(
    slowly: bool, encrypted: bool, loop: str, tls: Contexts
) -> None:
    """Of 200 answers a part came: the end was taken for near while the messages waited unread."""

    async def main() -> int:
        Piles.slowly, Piles.answered = slowly, 0
        Piles.begun, Piles.begin = asyncio.Event(), asyncio.Event()
        app = Application([("/", Piles)], log_function=lambda _: None)
        theirs, ours = tls if encrypted else (None, None)
        read = threading.Event()
        async with serving(app, Config(""), theirs) as port:
            client = asyncio.to_thread(
                send_and_leave, port, ours, HELLO, 200 * SMALL, sent=lambda: read.wait(PATIENCE)
            )
            reading = asyncio.ensure_future(client)
            if slowly:
                await Piles.begun.wait()
                (member,) = port.server.live
                while not member.ended:  # its messages are all here
                    await asyncio.sleep(0.001)
                Piles.begin.set()
            while not Piles.answered or any(not it.choked for it in port.server.live):
                await asyncio.sleep(0.001)
            read.set()
            back = await reading
            await port.gone()
            return back.count(PILE)

    assert run(main(), loop) == 200


SMALL = b"\x82\x81" + bytes(4) + b"m"


# --- when the application hears of it ---------------------------------------------------------


class Waits(RequestHandler):
    """Registers in `prepare` what `on_connection_close` lets go."""

    said: list[str]
    heard: asyncio.Event

    def prepare(self) -> None:
        Waits.said.append("prepare")
        self.future: asyncio.Future[None] = asyncio.Future()

    async def get(self) -> None:
        Waits.said.append("get")
        await self.future

    def on_connection_close(self) -> None:
        Waits.said.append("left")
        self.future.set_result(None)
        Waits.heard.set()


@needs_openssl
@LOOPS
@pytest.mark.parametrize("accelerate", [True, False])
@pytest.mark.parametrize("end", ["fin", "close_notify"])
def test_a_client_that_leaves_at_once_is_told_behind_its_handlers_begin(
    end: str, accelerate: bool, loop: str, tls: Contexts
) -> None:
    """Where tasks are plain ones it was told before: what is registered then is kept for ever."""

    async def main() -> None:
        Waits.said, Waits.heard = [], asyncio.Event()
        app = Application([("/", Waits)], log_function=lambda _: None)
        async with serving(app, Config("", accelerate=accelerate), tls[0]) as port:
            await asyncio.to_thread(send_and_leave, port, tls[1], REQUESTS["get"], end=end)
            await Waits.heard.wait()
            await port.gone()

    run(main(), loop)
    assert Waits.said == ["prepare", "get", "left"]
