"""WebSockets of an unmodified application are as strict as RFC 6455, case by case."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import tornado
from engine.hall import served
from engine.rfc6455 import CASES, CLOSE, EMPTY, GONE, MOST, SOON, Answers, Case
from engine.sides import quiet
from tornado.web import Application
from tornado.websocket import WebSocketHandler

from leeward.engine import exchange, frames

SIDES = ["leeward", "leeward plain", "tornado"]
LOOPS = ["asyncio", *(["uvloop"] if importlib.util.find_spec("uvloop") else [])]
PATIENCE = 20


class Seen(NamedTuple):
    """answers, close:  by the client, as in `Case`;  told:  the application."""

    answers: Answers
    close: int
    told: tuple[Any, ...]


class Echo(WebSocketHandler):
    """Sends back what it hears; `told` gets it too, and the end last."""

    def initialize(self, told: asyncio.Queue[tuple[Any, ...]]) -> None:
        self.told, self.heard = told, []

    def get_compression_options(self) -> dict[str, Any] | None:
        return {} if self.get_argument("deflate", "") else None

    async def on_message(self, message: str | bytes) -> None:
        self.heard.append(message if len(message) < 1000 else len(message))
        await self.write_message(message, binary=isinstance(message, bytes))

    def on_ping(self, data: bytes) -> None:
        self.heard.append(("ping", data))

    def on_pong(self, data: bytes) -> None:
        self.heard.append(("pong", data))

    def on_close(self) -> None:
        self.told.put_nowait((*self.heard, "closed", self.close_code, self.close_reason))


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    quiet()
    yield


def _answers(data: bytes, deflate: bool) -> tuple[Answers, int]:
    """The data frames and pongs that a server sent, and its close code."""
    found: list[tuple[int, bytes]] = []
    close, at = GONE, 0
    inflate = zlib.decompressobj(wbits=-15)
    while at < len(data):
        first, second = data[at], data[at + 1]
        assert second < 0x80, "a server does not mask"
        assert first & 0xB0 == 0x80, "whole frames, no reserved bits"
        assert close == GONE, "nothing follows a close frame"
        size, at = second, at + 2
        if size == 126:
            size, at = struct.unpack_from("!H", data, at)[0], at + 2
        elif size == 127:
            size, at = struct.unpack_from("!Q", data, at)[0], at + 8
        payload = data[at : at + size]
        assert len(payload) == size, "a frame was cut"
        at += size
        if first & 0x40:
            assert deflate
            payload = inflate.decompress(payload + b"\0\0\xff\xff")
        if first & 0x0F == CLOSE:
            close = struct.unpack("!H", payload[:2])[0] if payload else EMPTY
        else:
            found.append((first & 0x0F, payload))
    return tuple(found), close


async def _converse(port: int, case: Case, told: asyncio.Queue[tuple[Any, ...]]) -> Seen:
    loop = asyncio.get_running_loop()
    extension = "Sec-WebSocket-Extensions: permessage-deflate\r\n" if case.deflate else ""
    handshake = (
        f"GET /{'?deflate=1' if case.deflate else ''} HTTP/1.1\r\nHost: a\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{extension}\r\n"
    )
    data = bytearray()
    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", port))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_sendall(client, handshake.encode())
        while b"\r\n\r\n" not in data:
            data += await loop.sock_recv(client, 65536)

        async def receive() -> None:
            # A reset behind the close frame: what we sent meanwhile came too late.
            with contextlib.suppress(ConnectionResetError):
                while piece := await loop.sock_recv(client, 2**20):
                    data.extend(piece)

        receiving = asyncio.ensure_future(receive())
        step = case.chop or len(case.wire)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for start in range(0, len(case.wire), step):
                await loop.sock_sendall(client, case.wire[start : start + step])
                await asyncio.sleep(0)
        await receiving
    head, _, frames = bytes(data).partition(b"\r\n\r\n")
    assert b" 101 " in head and (b"deflate" in head) is case.deflate
    return Seen(*_answers(frames, case.deflate), await told.get())


def run(by: str, loop: str, *cases: Case) -> list[Seen]:
    """What comes of the cases, one after the other, at one server."""

    async def work() -> list[Seen]:
        told: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
        rules: Any = [("/", Echo, {"told": told})]
        application = Application(rules, websocket_max_message_size=MOST)
        found = []
        async with served(application, by) as port:
            for case in cases:
                async with asyncio.timeout(PATIENCE):
                    found.append(await _converse(port, case, told))
        return found

    made: Any = asyncio
    if loop == "uvloop":
        import uvloop

        made = uvloop
    with asyncio.Runner(loop_factory=made.new_event_loop) as runner:
        return runner.run(work())


def _differing(side: str, seen: list[Seen], cases: tuple[Case, ...]) -> list[str]:
    """The cases whose outcome at this side is not the expected one."""
    wrong = []
    for it, case in zip(seen, cases, strict=True):
        expected = (case.answers, case.close)
        if side == "tornado" and case.tornado is not None:
            expected = case.tornado
        if it[:2] != expected:
            wrong.append(f"{case.name}: {_short(it[:2])}, expected {_short(expected)}")
    return wrong


def _short(outcome: tuple[Answers, int]) -> str:
    return f"{[(opcode, data[:20], len(data)) for opcode, data in outcome[0]]} {outcome[1]}"


@pytest.fixture(scope="module")
def by_tornado() -> list[Seen]:
    return run("tornado", "asyncio", *(it for it in CASES if not _hangs(it)))


def _hangs(case: Case) -> bool:
    """Before 6.6 Tornado does not tell the application of this one's end."""
    return case.name.startswith("reason ") and case.close == 1007 and tornado.version_info < (6, 6)


@pytest.mark.parametrize("loop", LOOPS)
def test_each_case_ends_as_it_must(loop: str, by_tornado: list[Seen]) -> None:
    """And the application is told what Tornado tells it, but for what it must not hear."""
    ours = run("leeward", loop, *CASES)
    assert _differing("leeward", ours, CASES) == []
    theirs = iter(by_tornado)
    for case, mine in zip(CASES, ours, strict=True):
        if _hangs(case):
            assert mine.told[-2:] == (None, None), case.name
        elif next(theirs).told != mine.told:
            assert case.differs, (case.name, mine.told)


def test_what_tornado_s_server_makes_of_them(by_tornado: list[Seen]) -> None:
    """The control: it fails where the table says so, and nowhere else."""
    cases = tuple(it for it in CASES if not _hangs(it))
    assert _differing("tornado", by_tornado, cases) == []


@pytest.mark.parametrize("loop", LOOPS)
def test_it_does_not_wait_for_the_rest_of_what_is_wrong(loop: str) -> None:
    assert _differing("leeward", run("leeward", loop, *SOON), SOON) == []


def test_whatever_the_pieces_it_is_the_same() -> None:
    """Octet by octet, and in two pieces cut anywhere in the frame that matters."""
    small = tuple(it for it in CASES if len(it.wire) < 400)
    assert len(small) > 150
    chopped = tuple(it._replace(chop=chop) for it in small for chop in (1, 5))
    assert _differing("leeward", run("leeward plain", "asyncio", *chopped), chopped) == []


def test_the_table_is_long_and_its_names_are_distinct() -> None:
    assert len({it.name for it in CASES}) == len(CASES) >= 200
    assert sum(it.tornado is not None for it in CASES) >= 60


MUTANTS = {
    "not masked": ("if second < 0x80:", "if False:"),
    "any bits": ("if bits and not (", "if False and not ("),
    "RSV1 on control frames": (" and opcode in (1, 2)):", "):"),
    "any opcode": ("opcode > _PONG or not final", "not final"),
    "control in parts": ("opcode > _PONG or not final", "opcode > _PONG"),
    "control of any size": (" or size > 125", ""),
    "data opcodes": ("opcode > 2 or (opcode == 0)", "(opcode == 0)"),
    "parts of nothing": (" or (opcode == 0) is not self.inside:", ":"),
    "lengths above 2^63": ("if size >= 1 << 63:", "if False:"),
    "any code": ("int.from_bytes(payload[:2]) not in CODES", "False"),
    "1004": ("range(1000, 1004)", "range(1000, 1007)"),
    "1012": ("range(1007, 1015)", "range(1007, 1012)"),
    "4999": ("range(3000, 5000)", "range(3000, 4000)"),
    "any reason": ("payload[2:].decode()", "payload[2:]"),
    "text is not looked at": ("opcode == _TEXT and not bits", "False"),
    "binary is text": ("opcode == _TEXT and not bits", "not bits"),
    "compressed is text": ("opcode == _TEXT and not bits", "opcode == _TEXT"),
    "the key does not turn": ("turn = self._seen % 4", "turn = 0"),
    "the end of text": ("masked), final)", "masked), False)"),
    "pings are text": ("if not self._text or self._opcode >= _CLOSE or", "if not self._text or"),
    "what was seen is seen again": ("self._check(piece[self._seen :]", "self._check(piece[:]"),
    "parts begin anew": (
        "        if final:\n            self.inside",
        "        if True:\n            self.inside",
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mistake_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted one, in the guard."""
    old, new = MUTANTS[name]
    text = Path(frames.__file__).read_text(encoding="utf-8")
    assert text.count(old) == 1, name
    made = ModuleType("leeward.engine.frames")
    exec(compile(text.replace(old, new), f"<{name}>", "exec", dont_inherit=True), vars(made))
    monkeypatch.setattr(exchange, "guard", made.guard)
    # A case that fails may well not end by itself.
    monkeypatch.setattr(f"{__name__}.PATIENCE", 1)
    small = tuple(it for it in CASES if len(it.wire) < 400)
    # The quick ones first: most mistakes are seen by these.
    for cases in (small, tuple(it._replace(chop=1) for it in small), SOON):
        try:
            seen = run("leeward plain", "asyncio", *cases)
        except (TimeoutError, AssertionError):
            return
        if _differing("leeward", seen, cases):
            return
    pytest.fail(f"nobody notices: {name}")
