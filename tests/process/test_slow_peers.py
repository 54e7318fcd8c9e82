"""Slow peers are closed in time, each by the setting of its state, and slow live ones never."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import pytest
from certificates import Authority, needs_openssl
from process.slow_clients import (
    CELLS,
    LATEST,
    PATIENCE,
    SECOND,
    SHORT,
    UPGRADE,
    Address,
    Peer,
    idle,
    past_its_time,
    silent,
    together,
)
from process.support import APPS

from leeward.testing import Service, serve

# --- what lives -------------------------------------------------------------------------------


async def upload(at: Address) -> None:
    """1 KB/s, for several times each of the timeouts."""
    peer = await Peer.connect(at)
    peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6000\r\n\r\n")
    for _ in range(24):
        await asyncio.sleep(0.25)
        peer.send(b"x" * 250)
    assert (await peer.read_until(b"6000")).startswith(b"HTTP/1.1 200 ")


async def download(at: Address) -> None:
    """A reader that takes something now and then, and pauses for less than the timeout."""
    peer = await Peer.connect(at, receive=65536)
    peer.send(b"GET /?size=30000000 HTTP/1.1\r\nHost: a\r\n\r\n")
    await peer.read_until(b"\r\n\r\n")
    left, ends = 30_000_000, time.monotonic() + 6.0
    async with asyncio.timeout(PATIENCE):
        while left:
            if time.monotonic() < ends:
                await asyncio.sleep(1.2)
            piece = await peer.reader.read(400_000)
            assert piece, left
            left -= len(piece)


async def long_poll(at: Address) -> None:
    peer = await Peer.connect(at)
    peer.send(b"GET /wait?seconds=6 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await peer.read_until(b"event\n\n")).startswith(b"HTTP/1.1 200 ")


async def events(at: Address) -> None:
    peer = await Peer.connect(at)
    peer.send(b"GET /wait?seconds=3&events=2 HTTP/1.1\r\nHost: a\r\n\r\n")
    for _ in range(2):
        await peer.read_until(b"event\n\n")


async def websocket(at: Address) -> None:
    peer = await Peer.connect(at)
    peer.send(UPGRADE)
    await peer.read_until(b"\r\n\r\n")
    await asyncio.sleep(6.0)
    peer.send(b"\x81\x82\0\0\0\0hi")
    assert await asyncio.wait_for(peer.reader.readexactly(4), PATIENCE) == b"\x81\x02hi"


async def expects(at: Address) -> None:
    peer = await Peer.connect(at)
    peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    await peer.read_until(b"100 Continue\r\n\r\n")
    await asyncio.sleep(0.8)
    peer.send(b"ok")
    assert (await peer.read_until(b"\r\n\r\n2")).startswith(b"HTTP/1.1 200 ")


async def pipeline(at: Address) -> None:
    peer = await Peer.connect(at)
    one = b"GET /wait?seconds=2 HTTP/1.1\r\nHost: a\r\n\r\n"
    peer.send(one * 3)
    for _ in range(3):
        await peer.read_until(b"event\n\n")


ALIVE = (upload, download, long_poll, events, websocket, expects, pipeline)


def address_of(service: Service) -> Address:
    found = service.wait_line(r"^  at +(?:https?://([\d.]+):(\d+)|unix:(\S+))")
    return found[3] if found[3] else (found[1], int(found[2]))


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_slow_peers_are_closed_and_live_ones_are_not(loop: str) -> None:
    """All at the same time, so that nobody's deadline is mistaken for another's."""
    with serve("slow_peers:make_app", "--loop", loop, *SHORT, cwd=APPS) as service:
        service.wait_ready(1)
        together(address_of(service), *CELLS, past_its_time, *ALIVE)
        for text in ("reading header", "reading body", "writing: nothing is taken"):
            service.wait_line(f"Timeout {re.escape(text)} from 127.0.0.1")
        service.wait_line(r"waiting for an answer from .* behind GET '/impatient\?seconds=30' \(")


def test_peers_of_a_unix_socket_are_looked_at_alike(tmp_path: Path) -> None:
    address = str(tmp_path / "it.sock")
    with serve("slow_peers:make_app", "--uds", address, *SHORT, bind=None, cwd=APPS) as service:
        service.wait_ready(1)
        together(address, *CELLS, upload, download, websocket)


@needs_openssl
def test_a_handshake_that_does_not_come_is_silence(tmp_path: Path) -> None:
    """A byte of it is none of a request."""
    Authority(tmp_path).make(tmp_path / "cert.pem", tmp_path / "key.pem")
    files = (f"--ssl-certfile={tmp_path}/cert.pem", f"--ssl-keyfile={tmp_path}/key.pem")

    async def half_handshake(at: Address) -> None:
        peer = await Peer.connect(at)
        peer.send(b"\x16\x03\x01\x02\x00")
        assert SECOND <= await peer.closed() <= LATEST

    with serve("slow_peers:make_app", *files, *SHORT, cwd=APPS) as service:
        service.wait_ready(1)
        together(address_of(service), silent, half_handshake)


def test_tornados_own_server_closes_what_is_idle() -> None:
    flags = ("--engine", "tornado", "--idle-timeout", "1s")
    with serve("slow_peers:make_app", *flags, cwd=APPS) as service:
        service.wait_ready(1)
        together(address_of(service), idle, silent, websocket, long_poll)


@pytest.mark.parametrize("engine", ["leeward", "tornado"])
def test_a_programs_own_timeout_is_honoured_and_the_operators_wins(
    engine: str, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from tornado.httpserver import HTTPServer\n"
        "from tornado.ioloop import IOLoop\n"
        "from tornado.web import Application, RequestHandler\n"
        "class Hello(RequestHandler):\n"
        "    def get(self):\n"
        "        self.write('xxxxx')\n"
        "server = HTTPServer(Application([('/', Hello)]), idle_connection_timeout=TIMEOUT)\n"
        "server.listen(0, '127.0.0.1')\n"
        "IOLoop.current().start()\n".replace("TIMEOUT", "1")
    )
    flags = ("--kind", "script", "--engine", engine)
    with serve(str(program), *flags, bind=None, cwd=tmp_path) as service:
        service.wait_ready(1)
        together(address_of(service), idle, silent)
    program.write_text(program.read_text().replace("timeout=1)", "timeout=1000)"))
    flags = (*flags, "--idle-timeout=1s", "--silent-timeout=1s")
    with serve(str(program), *flags, bind=None, cwd=tmp_path) as service:
        service.wait_ready(1)
        together(address_of(service), idle)
