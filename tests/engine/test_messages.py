"""Whole messages read and written at once are what Tornado's protocol makes of them."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import random
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any
from unittest import mock

import pytest
from engine.hall import ACCELERATIONS, Counters, connection
from engine.rfc6455 import BINARY, CONT, PING, PONG, TEXT, close, deflated, frame
from engine.sides import quiet
from tornado import gen
from tornado.web import Application
from tornado.websocket import WebSocketClosedError, WebSocketHandler, WebSocketProtocol13

from leeward._core.config import Config
from leeward._core.record import replace
from leeward.engine import messages
from leeward.engine.accelerate import messages as accelerations
from leeward.engine.accelerate.install import installed
from leeward.engine.engine import Engine

MOST = 80_000
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)
WHO: contextvars.ContextVar[str] = contextvars.ContextVar("WHO", default="nobody")


class Told(WebSocketHandler):
    """Writes down what it hears, and where; says it again."""

    def initialize(self, heard: list[Any], waits: bool = False, deflate: bool = False) -> None:
        self.heard, self.waits, self.deflate = heard, waits, deflate

    def get_compression_options(self) -> dict[str, Any] | None:
        return {} if self.deflate else None

    def open(self) -> None:
        WHO.set("it")
        self.task = asyncio.current_task()

    def on_message(self, message: str | bytes) -> Any:
        here = asyncio.current_task() is self.task and self.task is not None
        self.heard.append((type(message), message, WHO.get(), here))
        sent = self.write_message(message, isinstance(message, bytes))
        return self.wait(sent) if self.waits else None

    async def wait(self, sent: Any) -> None:
        await sent
        await asyncio.sleep(0)
        self.heard.append("waited")

    def on_pong(self, data: bytes) -> None:
        self.heard.append(("pong", data))

    def on_close(self) -> None:
        self.heard.append(("closed", self.close_code, self.close_reason))


class Client:
    """One whose octets come as from the loop."""

    def __init__(self, served: Engine) -> None:
        self.served = served
        self.member, self.transport = connection(served)
        self.loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        """And wait until nothing is due."""
        self.at_once(data)
        await self.settle()

    def at_once(self, data: bytes, then: Callable[[], object] = lambda: None) -> None:
        """then:  called when the read is over, in the same turn."""

        def come() -> None:
            if not self.transport.closed:
                self.member.data_received(data)
            then()

        self.loop.call_soon(come)

    async def settle(self) -> None:
        for _ in range(3000):
            await asyncio.sleep(0)
            if not self.loop._ready:  # type: ignore[attr-defined]
                return
        raise AssertionError("it turns and turns")

    @property
    def protocol(self) -> WebSocketProtocol13:
        handler = self.member._websocket
        assert handler is not None and isinstance(handler.ws_connection, WebSocketProtocol13)
        return handler.ws_connection

    def leave(self) -> None:
        self.member.connection_lost(None)


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    quiet()
    installed.remove()
    yield
    installed.remove()


def run(work: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(work)


@contextlib.asynccontextmanager
async def talking(accelerate: bool = True, **keywords: Any) -> Any:
    """A client behind its handshake, and what its handler hears."""
    heard: list[Any] = []
    if not accelerate:
        installed.remove()
    rules: Any = [("/", Told, {"heard": heard, **keywords})]
    application = Application(rules, websocket_max_message_size=MOST)
    served = Engine(application, Config("", accelerate=accelerate), Counters(), lambda: None)
    served.ready()
    client = Client(served)
    await client.send(UPGRADE)
    assert b"".join(client.transport.written).startswith(b"HTTP/1.1 101 ")
    client.transport.written.clear()
    yield client, heard
    if not client.member.lost:
        client.leave()
    await client.settle()
    served.close_rest()


# --- the same ------------------------------------------------------------------------------------


def _frames(draw: random.Random, ours: bytes, deflate: bool) -> Iterator[bytes]:
    """What clients send."""
    text = "".join(draw.choices("aé€😀", k=draw.choice((0, 1, 30, 31, 63, 200)))).encode()
    packed, bits = (deflated(text), 0x40) if deflate else (text, 0)
    yield from draw.choice(
        [
            *[[frame(TEXT, text, key=draw.randbytes(4))]] * 12,
            *[[frame(BINARY, draw.randbytes(draw.choice((0, 1, 125, 126, 127, 300))))]] * 6,
            *[[frame(TEXT, packed, bits=bits)]] * 2,
            *[[ours]] * 2,
            [frame(BINARY, bytes(draw.choice((65535, 65536, 70000))))],
            [frame(TEXT, b"long form", form=16)],
            [frame(TEXT, b"longest form", form=64)],
            [frame(PING, b"p")],
            [frame(PONG, b"theirs")],
            [frame(TEXT, text, fin=False), frame(PING), ours, frame(CONT, b"end")],
            [frame(BINARY, b"a", fin=False), frame(CONT, b"b", fin=False), frame(CONT)],
            [frame(TEXT, packed[:1], bits=bits, fin=False), frame(CONT, packed[1:])],
        ]
    )


def _wrong(draw: random.Random) -> bytes:
    """What ends a conversation."""
    text = b"abc"
    return draw.choice(
        [
            frame(TEXT, text + b"\xff"),
            frame(TEXT, text + b"\xc3"),
            frame(BINARY, b"x", bits=0x20),
            frame(TEXT, deflated(text), bits=0x40),
            frame(TEXT, text, mask=False),
            frame(BINARY, bytes(MOST + 1)),
            frame(BINARY, b"", length=2**63),
            frame(CONT, b"of nothing"),
            frame(3, b"x"),
            frame(TEXT, b"part", fin=False) + frame(TEXT, b"amid parts"),
            close(1000, b"bye"),
            close(1005),
        ]
    )


def _pieces(seed: int, ours: bytes, deflate: bool) -> list[bytes]:
    """A conversation, cut where frames end, or anywhere."""
    draw = random.Random(seed)
    wire = [it for _ in range(draw.choice((3, 10, 60))) for it in _frames(draw, ours, deflate)]
    if seed % 3:
        wire += [_wrong(draw), frame(TEXT, b"too late")]
    elif seed == 0:
        wire += [frame(BINARY, bytes(MOST + 1))]  # whole, in one piece
    kind = seed % 4
    if kind == 0:
        return wire
    if kind == 1:
        return [it for each in wire for it in (each[:2], each[2:])]
    joined, found = b"".join(wire), []
    while joined:
        step = draw.choice((1, 2, 7, 40, 41, 2000)) if kind == 2 else draw.choice((40, 65536))
        found.append(joined[:step])
        joined = joined[step:]
    return found


async def observed(seed: int, accelerate: bool) -> list[Any]:
    """Heard by the handler, by the client, and counted."""
    deflate, waits = seed % 5 == 0, seed % 2 == 0
    with mock.patch("os.urandom", lambda size: bytes(range(size))):
        async with talking(accelerate, deflate=deflate, waits=waits) as (client, heard):
            protocol = client.protocol
            # Behind its first two octets our pong looks like a text.
            ours = frame(PONG, bytes(range(8)), key=b"\x81\x83\0\0")
            for piece in _pieces(seed, ours, deflate):
                if client.transport.closed:
                    break
                await client.send(piece)
            counts = [
                getattr(protocol, f"_{what}_bytes_{way}")
                for what in ("wire", "message")
                for way in ("in", "out")
            ]
            if client.transport.closed:
                counts = []  # how far it had read what is thrown away is nobody's concern
            ended = client.transport.closed
            written = b"".join(client.transport.written)
            client.leave()
            await client.settle()
    return [list(heard), written, counts, ended]


SEEDS = range(64)


@pytest.fixture(scope="module")
def plain() -> list[list[Any]]:
    """What is observed without accelerations."""
    quiet()
    return [run(observed(seed, False)) for seed in SEEDS]


def test_it_is_the_same_as_without(plain: list[list[Any]]) -> None:
    for seed, theirs in zip(SEEDS, plain, strict=True):
        assert run(observed(seed, True)) == theirs, seed
    assert sum(it[-1] for it in plain) > 20, "some break a rule"
    assert sum(len(it[0]) for it in plain) > 500


MUTANTS = {
    "the key is elsewhere": ("start = at + 2 + _KEY", "start = at + 3 + _KEY"),
    "64 bits are 16": ("2 if size == 126 else 8", "2"),
    "of any size": ("0 <= size <= protocol.params.max_message_size", "0 <= size"),
    "not masked": ("not 0 <= size <=", "not -200 <= size <="),
    "not whole": ("or stop > end\n", "or False\n"),
    "compressed, not agreed upon": (
        "_PLAIN if protocol._decompressor is None else _DEFLATE",
        "_DEFLATE",
    ),
    "amid parts": ("            or guard.inside\n", ""),
    "without an end": ("or self._at_once + _READS >= AT_ONCE", ""),
    "nobody counts": ("protocol._wire_bytes_in += stop - at", ""),
    "taken twice": ("            self._at = stop\n", ""),
    "taken twice from what waits": ("        del self._data[:stop]\n", ""),
    "the rest is lost": ("return data[at:] if at else data", 'return b""'),
    "the rest comes twice": (
        '        self._fresh, self._at = b"", 0\n        return',
        "        return",
    ),
    "our pong comes through": (
        "rest if self.asked is None else self.asked.sieve.feed(rest)",
        "rest",
    ),
    "within a frame": ("or not (self.asked is None or self.asked.sieve.between)", ""),
    "control frames": ("            or data[0] & _CONTROL\n", ""),
    "what is told of compression": (
        "            self._frame_compressed = bool(first & COMPRESSED)\n",
        "            pass\n",
    ),
    "compressed is plain": ("if first & COMPRESSED:\n", "if False:\n"),
    "text is not counted": ("self._message_bytes_in += len(data)", ""),
    "text is bytes": ("if first == TEXT:", "if False:"),
    "no 1007": ("                    stream.fail(NOT_UTF8)\n", ""),
    "nobody waits": ("            await handled_future\n", "            pass\n"),
    "binary is text": ("_BINARY if binary else TEXT", "TEXT"),
    "small is medium": ("if size < 126:", "if size < 127:"),
    "medium is large": ("elif size <= 0xFFFF:", "elif size < 0xFFFF:"),
    "nothing is compressed": ("if self._compressor:", "if False:"),
    "written, not counted": ("self._wire_bytes_out += len(frame)", ""),
    "said, not counted": ("self._message_bytes_out += len(data)", ""),
}
#: These change how it is done and not what comes of it: the tests below look.
COSTS = {"without an end", "control frames"}


@contextlib.contextmanager
def living(old: str, new: str) -> Iterator[None]:
    """With one mistake, in whichever of the two modules it is."""
    with contextlib.ExitStack() as stack:
        for module in (messages, accelerations):
            text = Path(module.__file__ or "").read_text(encoding="utf-8")
            if old not in text:
                continue
            assert text.count(old) == 1, old
            made = ModuleType(module.__name__)
            exec(compile(text.replace(old, new), "<mutant>", "exec", dont_inherit=True), vars(made))
            if module is messages:
                for name, it in vars(made.Messages).items():
                    if isinstance(it, FunctionType):
                        stack.enter_context(mock.patch.object(messages.Messages, name, it))
                break
            makes = {"message read": made.read, "message write": made.write}
            stack.callback(installed.remove)
            installed.install(
                tuple(replace(it, make=makes.get(it.name, it.make)) for it in ACCELERATIONS)
            )
            break
        else:
            raise AssertionError(f"nowhere: {old}")
        yield


@pytest.mark.parametrize("name", sorted(MUTANTS.keys() - COSTS))
def test_a_mistake_is_noticed(name: str, plain: list[list[Any]]) -> None:
    with living(*MUTANTS[name]):
        for seed, theirs in zip(SEEDS, plain, strict=True):
            try:
                if run(observed(seed, True)) != theirs:
                    return
            except Exception:
                return  # it raises where nothing may
    raise AssertionError(f"nobody notices: {name}")


# --- how it is done ------------------------------------------------------------------------------


async def _told_at_once(
    data: bytes, before: bytes = b"", accelerate: bool = True
) -> tuple[int, int]:
    """Messages that were heard when the read was over, and in the end."""
    with mock.patch("os.urandom", bytes):
        async with talking(accelerate) as (client, heard):
            if before:
                await client.send(before)
                heard.clear()
            counts: list[int] = []
            client.at_once(data, lambda: counts.append(len(heard)))
            await client.settle()
            return counts[0], len(heard)


def test_a_message_is_told_within_the_read_that_brings_it() -> None:
    assert run(_told_at_once(frame(TEXT, b"hi"))) == (1, 1)
    assert run(_told_at_once(frame(TEXT, b"hi") * 20)) == (20, 20)
    assert run(_told_at_once(frame(TEXT, b"hi"), accelerate=False)) == (0, 1)


def test_what_came_before_makes_no_difference() -> None:
    ours, hi = frame(PONG, bytes(8)), frame(TEXT, b"hi")
    for before in (hi, ours, frame(BINARY, b"x" * 70000)):
        assert run(_told_at_once(hi, before)) == (1, 1)
    with living(*MUTANTS["control frames"]):
        assert run(_told_at_once(hi, ours)) == (0, 1)


def test_a_burst_does_not_keep_everybody_else_waiting() -> None:
    soon, all_of_them = run(_told_at_once(frame(TEXT, b"hi") * 2000))
    assert soon < 100 and all_of_them == 2000
    with living(*MUTANTS["without an end"]):
        assert run(_told_at_once(frame(TEXT, b"hi") * 200))[0] == 200


def test_what_ends_a_program_ends_it_from_there() -> None:
    ends: list[object] = []

    async def work() -> None:
        async with talking() as (client, _):
            client.served.exits = ends.append
            with mock.patch.object(Told, "on_message", side_effect=SystemExit(3)):
                client.at_once(frame(TEXT, b"hi"), lambda: ends.append("read"))
                await client.settle()

    with pytest.raises(SystemExit):  # the task's own end says it too
        run(work())
    assert [type(it) for it in ends] == [SystemExit, str]


def test_who_is_called_from_a_task_is_not_entered_in_another() -> None:
    """A test of an application's own that plays the transport."""

    async def work() -> list[Any]:
        async with talking() as (client, heard):
            client.member.data_received(frame(TEXT, b"hi"))
            await client.settle()
            return list(heard)

    assert run(work()) == [(str, "hi", "it", True)]


PATCHED = ("_receive_frame", "_read_bytes", "_handle_message", "_run_callback")


@pytest.mark.parametrize("own", [False, True], ids=["class", "instance"])
@pytest.mark.parametrize("name", [*PATCHED, "write_message", "_write_frame"])
def test_what_is_patched_is_called_for_the_next_message(name: str, own: bool) -> None:
    async def work() -> None:
        async with talking() as (client, heard):
            await client.send(frame(TEXT, b"one"))
            holder: Any = client.protocol if own else WebSocketProtocol13
            original = getattr(holder, name)
            with mock.patch.object(holder, name, autospec=not own, side_effect=original) as patched:
                # The protocol waits in the function that was there before.
                await client.send(frame(TEXT, b"two"))
                await client.send(frame(TEXT, b"three"))
                assert patched.call_count
            assert [it[1] for it in heard] == ["one", "two", "three"]

    run(work())


# --- what write_message returns ------------------------------------------------------------------


def _handler(client: Client) -> WebSocketHandler:
    handler = client.member._websocket
    assert handler is not None
    return handler


@pytest.mark.parametrize("accelerate", [True, False])
def test_a_written_message_is_told_a_turn_later(accelerate: bool) -> None:
    async def work() -> None:
        async with talking(accelerate) as (client, _):
            handler, turns = _handler(client), []
            asyncio.get_running_loop().call_soon(turns.append, 1)
            written = handler.write_message("a")
            assert asyncio.isfuture(written) and not written.done()
            await written
            assert turns and written.done() and written.result() is None
            later = handler.write_message("b")
            await client.settle()
            assert later.done()  # nobody has waited for it
            both = await asyncio.gather(handler.write_message("c"), handler.write_message("d"))
            assert both == [None, None]
            await asyncio.wait_for(handler.write_message("e"), 5)
            said: list[Any] = []
            handler.write_message("f").add_done_callback(said.append)
            await client.settle()
            assert len(said) == 1

    run(work())


@pytest.mark.parametrize("accelerate", [True, False])
def test_who_writes_without_end_lets_the_others_have_their_turn(accelerate: bool) -> None:
    async def work() -> None:
        async with talking(accelerate) as (client, _):
            turns: list[int] = []

            async def natively() -> None:
                while len(turns) < 5:
                    await _handler(client).write_message("x")

            @gen.coroutine
            def by_generator() -> Any:
                while len(turns) < 5:
                    yield _handler(client).write_message("x")

            def turn() -> None:
                turns.append(1)
                if len(turns) < 5:
                    client.loop.call_soon(turn)

            for way in (natively, by_generator):
                turns.clear()
                client.loop.call_soon(turn)
                async with asyncio.timeout(5):
                    await way()

    run(work())


def test_a_writer_that_is_cancelled_takes_nobody_along() -> None:
    async def work() -> None:
        async with talking() as (client, _):
            one, other = (asyncio.ensure_future(_say(_handler(client), it)) for it in "ab")
            await asyncio.sleep(0)
            one.cancel()
            assert await asyncio.gather(one, other, return_exceptions=True) == [mock.ANY, "done"]
            assert one.cancelled()

    async def _say(handler: WebSocketHandler, message: str) -> str:
        await handler.write_message(message)
        return "done"

    run(work())


@pytest.mark.parametrize("accelerate", [True, False])
def test_a_slow_reader_is_waited_for_and_one_that_has_left_is_told(accelerate: bool) -> None:
    async def work() -> None:
        async with talking(accelerate) as (client, _):
            handler, member = _handler(client), client.member
            member.pause_writing()
            written = handler.write_message("x" * 1000)
            await client.settle()
            assert not written.done()
            member.resume_writing()
            await asyncio.wait_for(written, 5)
            member.pause_writing()
            written, protocol = handler.write_message("x"), client.protocol
            client.leave()
            with pytest.raises(WebSocketClosedError):
                await written
            with pytest.raises(WebSocketClosedError):
                handler.write_message("x")
            with pytest.raises(WebSocketClosedError):
                protocol.write_message("x")

    run(work())


def test_frames_are_as_tornado_writes_them() -> None:
    """Of each size, of each kind."""

    async def work(accelerate: bool) -> list[bytes]:
        async with talking(accelerate) as (client, _):
            handler = _handler(client)
            for size in (0, 1, 125, 126, 127, 65535, 65536):
                handler.write_message("x" * size)
                handler.write_message(b"y" * size, binary=True)
                handler.write_message(b"text in octets")
            handler.write_message({"a": "é"})
            handler.write_message("é", binary=True)
            for wrong in (None, 1, bytearray(b"x")):
                with pytest.raises((AssertionError, TypeError)):
                    handler.write_message(wrong)  # type: ignore[arg-type]
            with pytest.raises(UnicodeEncodeError):
                handler.write_message("\ud800")
            return list(client.transport.written)

    assert run(work(True)) == run(work(False))
