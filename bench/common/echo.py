"""A WebSocket client that only echoes: as little of its own as can be, beside the server."""

from __future__ import annotations

import asyncio
import time

#: "Hello, world" masked with zeros: a server unmasks it all the same.
_TEXT = b"Hello, world" * 2
FRAME = bytes([0x81, 0x80 | len(_TEXT), 0, 0, 0, 0]) + _TEXT
ECHOED = bytes([0x81, len(_TEXT)]) + _TEXT
HANDSHAKE = (
    "GET /echo HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def _one(port: int, until: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HANDSHAKE.format(port=port).encode())
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 101 " not in head.split(b"\r\n")[0]:
        raise ValueError(f"answered {head[:80]!r}")
    count = 0
    while time.monotonic() < until:
        writer.write(FRAME)
        back = await reader.readexactly(len(ECHOED))
        if back != ECHOED:
            raise ValueError(f"echoed {back!r}")
        count += 1
    writer.close()
    return count


def echoes(port: int, seconds: float, connections: int) -> int:
    """How many messages came back."""

    async def run() -> int:
        until = time.monotonic() + seconds
        return sum(await asyncio.gather(*(_one(port, until) for _ in range(connections))))

    return asyncio.run(run())
