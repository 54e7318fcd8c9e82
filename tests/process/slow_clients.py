"""Slow clients, each of which says whether it was closed in its time and in the right way.

They are written for the deadlines in `SHORT` and `PINGS`, and may be run side by side.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable

#: The defaults, divided by twenty or so.
SHORT = (
    "--silent-timeout=1.5s",
    "--header-timeout=1s",
    "--body-timeout=1.5s",
    "--write-timeout=2s",
    "--idle-timeout=1s",
)
#: For `vanished`.
PINGS = ("--ws-ping-interval=1s", "--ws-ping-timeout=1s")
#: By when each cell must be closed; a machine may be slow, a default is not forgotten so.
LATEST = 20.0
PATIENCE = 40.0
#: A second, less the millisecond to which uvloop's timers are rounded, and a margin.
SECOND = 0.99

UPGRADE = (
    b"GET /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


#: Those of the running test.
PEERS: list[Peer] = []


class Peer:
    """One client.  `said` is all that it was sent."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, born: float
    ) -> None:
        self.reader, self.writer = reader, writer
        self.born = born
        self.said = b""

    @classmethod
    async def connect(cls, address: tuple[str, int] | str, receive: int = 0) -> Peer:
        kind = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        sock = socket.socket(kind)
        if receive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        sock.setblocking(False)
        # The server's clock may run before we are told that we are connected.
        born = time.monotonic()
        await asyncio.get_running_loop().sock_connect(sock, address)
        peer = cls(*await asyncio.open_connection(sock=sock, limit=8192), born)
        PEERS.append(peer)
        return peer

    async def closed(self, trickle: bytes = b"", every: float = 1.0) -> float:
        """Seconds of life until the other side closed; sends `trickle` a byte at a time."""
        reading = asyncio.ensure_future(self._read())
        octets = iter(trickle)
        async with asyncio.timeout(PATIENCE):
            while not reading.done():
                octet = next(octets, None)
                if octet is not None:
                    self.writer.write(bytes([octet]))
                await asyncio.wait([reading], timeout=every if octet is not None else None)
        return time.monotonic() - self.born

    async def _read(self) -> None:
        try:
            while piece := await self.reader.read(65536):
                self.said += piece
        except ConnectionResetError:
            pass

    async def read_until(self, end: bytes) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(end), PATIENCE)

    def send(self, data: bytes) -> None:
        self.writer.write(data)


Address = tuple[str, int] | str
Cell = Callable[[Address], Awaitable[None]]


# --- the cells ------------------------------------------------------------------------------------


async def silent(at: Address) -> None:
    peer = await Peer.connect(at)
    assert SECOND <= await peer.closed() <= LATEST
    assert peer.said == b""


async def half_header(at: Address) -> None:
    peer = await Peer.connect(at)
    peer.send(b"GET / HTTP/1.1\r\nHo")
    assert 0.8 <= await peer.closed() <= LATEST
    assert peer.said.startswith(b"HTTP/1.1 408 Request Timeout\r\n")


async def slow_header(at: Address) -> None:
    peer = await Peer.connect(at)
    assert 0.8 <= await peer.closed(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 500, 0.1) <= LATEST
    assert peer.said.startswith(b"HTTP/1.1 408 ")


async def half_body(at: Address) -> None:
    peer = await Peer.connect(at)
    peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf")
    assert SECOND <= await peer.closed() <= LATEST
    assert peer.said.startswith(b"HTTP/1.1 408 ")


async def slow_body(at: Address) -> None:
    peer = await Peer.connect(at)
    peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
    assert SECOND <= await peer.closed(b"x" * 500, 0.3) <= LATEST
    assert peer.said.startswith(b"HTTP/1.1 408 ")


async def idle(at: Address) -> None:
    peer = await Peer.connect(at)
    peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await peer.read_until(b"xxxxx")
    assert 0.8 <= await peer.closed() <= LATEST
    assert peer.said == b""


async def stalls(at: Address, path: bytes) -> float:
    """Seconds until who takes nothing of a large answer is cut."""
    peer = await Peer.connect(at, receive=4096)
    peer.send(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
    await peer.read_until(b"\r\n\r\n")
    sock = peer.writer.get_extra_info("socket")
    # Only a connection that is gone takes nothing more: half of a request is not answered.
    async with asyncio.timeout(PATIENCE):
        while True:
            await asyncio.sleep(0.2)
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or peer.writer.is_closing():
                break
            try:
                peer.send(b"\r\n")
                await peer.writer.drain()
            except ConnectionError:
                break
    return time.monotonic() - peer.born


async def stalled_reader(at: Address) -> None:
    assert 1.5 <= await stalls(at, b"/?size=30000000") <= LATEST


async def past_its_time(at: Address) -> None:
    peer = await Peer.connect(at)
    peer.send(b"GET /impatient?seconds=30 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert 0.4 <= await peer.closed() <= LATEST
    assert peer.said.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")


async def vanished(at: Address) -> None:
    """A WebSocket that answers one ping and no other; who never answers any is not closed."""
    peer = await Peer.connect(at)
    peer.send(UPGRADE)
    await peer.read_until(b"\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        first, size = await peer.reader.readexactly(2)
        assert first == 0x89, first
        payload = await peer.reader.readexactly(size)
    peer.send(bytes((0x8A, 0x80 | size, 0, 0, 0, 0)) + payload)
    answered = time.monotonic()
    await peer.closed()
    assert SECOND <= time.monotonic() - answered <= LATEST
    assert b"\x03\xf3" in peer.said, "1011"


CELLS = (silent, half_header, slow_header, half_body, slow_body, idle, stalled_reader)


async def drop() -> None:
    """All that are still there."""
    for peer in PEERS:
        peer.writer.transport.abort()
    PEERS.clear()
    await asyncio.sleep(0)


def together(address: Address, *cells: Cell) -> None:
    async def main() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for cell in cells:
                    group.create_task(cell(address), name=cell.__name__)  # type: ignore[arg-type]
        finally:
            await drop()

    asyncio.run(main())
