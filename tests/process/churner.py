"""A process of clients that come and go, each in its own way.

    churner.py HOST PORT SOURCE SEED

It reads lines from its stdin: "COUNT WAYS", where WAYS are letters of `WAYS` below.  So many
clients come, `AT_ONCE` at a time, and go as a letter drawn for each says; then it says
"COUNT FAILED".  "let go" closes those that have stayed: nobody hears it if SOURCE is cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import sys
from collections.abc import Awaitable, Callable

AT_ONCE = 60
PATIENCE = 60.0
_ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
_POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n"
_UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_HELLO = b"\x81\x85\0\0\0\0hello"
_BYE = b"\x88\x82\0\0\0\0\x03\xe8"


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def hear(self, end: bytes) -> None:
        await self.reader.readuntil(end)

    async def closed(self) -> None:
        while await self.reader.read(4096):
            pass

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.close()


async def asks(it: Client) -> None:
    for _ in range(3):
        it.say(_ASK)
        await it.hear(b"here you are")


async def uploads(it: Client) -> None:
    it.say(_POST + b"x" * 2000)
    await it.hear(b"2000")


async def chats(it: Client) -> None:
    it.say(_UPGRADE)
    await it.hear(b"{}")  # it has said who it is
    it.say(_HELLO)
    await it.hear(b"hello")
    it.say(_BYE)
    await it.closed()


async def in_a_request(it: Client) -> None:
    it.say(_ASK[:-5])


async def in_a_handshake(it: Client) -> None:
    it.say(_UPGRADE)


async def in_a_body(it: Client) -> None:
    it.say(_POST + b"x" * 1000)


async def in_a_message(it: Client) -> None:
    it.say(_UPGRADE)
    await it.hear(b"{}")
    it.say(_HELLO[:-2])


async def in_a_poll(it: Client) -> None:
    it.say(b"GET /poll HTTP/1.1\r\nHost: x\r\n\r\n")


async def after_an_answer(it: Client) -> None:
    it.say(_ASK)
    await it.hear(b"here you are")


async def after_a_message(it: Client) -> None:
    it.say(_UPGRADE)
    await it.hear(b"{}")


WHOLE = (asks, uploads, chats)
HALF = (in_a_request, in_a_handshake, in_a_body, in_a_message, in_a_poll)
#: w: the whole, and goodbye.  f, r: leaves in the middle, by a FIN or a reset.
#: v: in the middle or after an answer, and has no end.
WAYS: dict[str, tuple[Callable[[Client], Awaitable[None]], ...]] = {
    "w": WHOLE,
    "f": HALF,
    "r": HALF,
    "v": (*HALF, after_an_answer, after_a_message),
}


class Churner:
    def __init__(self, address: tuple[str, int], source: str, seed: int) -> None:
        self.address, self.source = address, source
        self.random = random.Random(seed)
        self.staying: list[Client] = []
        self.failed = 0

    async def round(self, count: int, ways: str) -> None:
        left = iter(range(count))

        async def many() -> None:
            for _ in left:
                try:
                    async with asyncio.timeout(PATIENCE):
                        await self.one(self.random.choice(ways))
                except (OSError, EOFError) as error:
                    self.failed += 1
                    print(f"{type(error).__name__}: {error}", file=sys.stderr)

        await asyncio.gather(*(many() for _ in range(AT_ONCE)))

    async def one(self, way: str) -> None:
        sock = socket.socket()
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((self.source, 0))
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, self.address)
        client = Client(*await asyncio.open_connection(sock=sock))
        try:
            await self.random.choice(WAYS[way])(client)
        except BaseException:
            client.reset()
            raise
        if way == "v":
            self.staying.append(client)
            return
        client.reset() if way == "r" else client.writer.close()
        with contextlib.suppress(ConnectionError):
            await client.writer.wait_closed()

    def let_go(self) -> None:
        for client in self.staying:
            client.reset()
        self.staying.clear()


async def main() -> None:
    host, port, source, seed = sys.argv[1:]
    churner = Churner((host, int(port)), source, int(seed))
    while line := await asyncio.to_thread(sys.stdin.readline):
        if line == "let go\n":
            churner.let_go()
            print("done", flush=True)
            continue
        count, ways = line.split()
        churner.failed = 0
        await churner.round(int(count), ways)
        print(count, churner.failed, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
