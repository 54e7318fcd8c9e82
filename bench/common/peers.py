"""The contenders and the sockets of `slow.py` and `greedy.py`."""

from __future__ import annotations

import asyncio
import socket
import sys

from common import contenders as c
from common.measure import wait_answer

UPGRADE = (
    b"GET %b HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n%b"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def _aiohttp(module: str, port: int, workers: int) -> list[str]:
    return [sys.executable, str(c.APPS / "peers.py"), str(port)]


CONTENDERS = (
    c.LEEWARD,
    c.TORNADO,
    c.GUNICORN,
    c.UVICORN,
    c.GRANIAN,
    c.Contender("aiohttp", "aiohttp", _aiohttp),
)


def wait(server: c.Server, deadline: float) -> None:
    wait_answer(server.port, deadline)


async def connect(port: int, receive: int = 0) -> socket.socket:
    """receive:  bytes of its own buffer, so that the kernel hides little of a stalled reader."""
    sock = socket.socket()
    if receive:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return sock


async def send(sock: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, data)


async def upgrade(port: int, path: bytes, receive: int = 0, extra: bytes = b"") -> socket.socket:
    sock = await connect(port, receive)
    await send(sock, UPGRADE % (path, extra))
    head = b""
    while b"\r\n\r\n" not in head:
        # A byte at a time: what comes behind the head is not read.
        piece = await asyncio.get_running_loop().sock_recv(sock, 1)
        if not piece:
            raise ConnectionError(f"no upgrade: {head[:80]!r}")
        head += piece
    return sock


def frame(payload: bytes, opcode: int = 2, first: int = 0x80) -> bytes:
    """A masked WebSocket frame; its mask is zero."""
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 65536:
        length = b"\xfe" + size.to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(8, "big")
    return bytes([first | opcode]) + length + b"\0\0\0\0" + payload
