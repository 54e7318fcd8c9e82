"""Drives the same clients against the session server, bare and under leeward.

    make examples NAME=vanishing_clients

Five clients stay.  Five reset their connection while their document is prepared, five
have a mistake in their user's code, and five are frozen (SIGSTOP) once they are served.
How many the server then still takes for clients, and how many of those that stayed still
get its pings, are the figures.  Exit code 0 when the fault shows on the bare server and is
gone under leeward.
"""

import asyncio
import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

SERVER = str(Path(__file__).with_name("server.py"))
EACH = 5
PATIENCE = 8.0  # seconds for the fault to go
WATCHED = 3.0  # seconds in which each may get a ping
#: As short as an example can wait; by default a client has 40 s.
FLAGS = ("--ws-ping-interval", "1s", "--ws-ping-timeout", "3s", "--log-level", "critical")
HANDSHAKE = (
    "GET /session/{user} HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
PING, PONG, MASK = 0x9, 0xA, bytes(4)


class Client:
    """A WebSocket that answers pings, as all browsers do."""

    def __init__(self):
        self.pings = 0

    async def connect(self, port, user="lucky"):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        self.writer.write(HANDSHAKE.format(user=user).encode())
        await self.reader.readuntil(b"\r\n\r\n")

    async def stay(self):
        while True:
            first, length = await self.reader.readexactly(2)
            payload = await self.reader.readexactly(length)
            if first & 0xF == PING:
                self.pings += 1
                self.writer.write(bytes((0x80 | PONG, 0x80 | length)) + MASK + payload)

    def reset(self):
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self):
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


async def be_frozen(port):
    """In a process of its own: says when all have answered a ping, and waits to be stopped."""
    clients = [Client() for _ in range(EACH)]
    await asyncio.gather(*(client.connect(port) for client in clients))
    staying = [asyncio.ensure_future(client.stay()) for client in clients]
    while not all(client.pings for client in clients):
        await asyncio.sleep(0.05)
    print("served", flush=True)
    await asyncio.gather(*staying, return_exceptions=True)


async def drive(port):
    """(clients that the server has at the end, of EACH that stayed those with pings)"""
    healthy, leaving, unlucky = ([Client() for _ in range(EACH)] for _ in range(3))
    await asyncio.gather(*(client.connect(port) for client in healthy))
    staying = [asyncio.ensure_future(client.stay()) for client in healthy]
    frozen = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "frozen", str(port)), stdout=subprocess.PIPE
    )
    try:
        await frozen.stdout.readline()
        frozen.send_signal(signal.SIGSTOP)
        await asyncio.gather(*(client.connect(port) for client in leaving))
        await asyncio.gather(*(client.connect(port, "unlucky") for client in unlucky))
        for client in leaving:
            client.reset()
        end = time.monotonic() + PATIENCE
        while await count(port) > EACH and time.monotonic() < end:
            await asyncio.sleep(0.1)
        for client in healthy:
            client.pings = 0
        end = time.monotonic() + WATCHED
        while not all(client.pings for client in healthy) and time.monotonic() < end:
            await asyncio.sleep(0.05)
        return await count(port), sum(client.pings > 0 for client in healthy)
    finally:
        frozen.kill()
        await frozen.wait()
        for client in (*healthy, *leaving, *unlucky):
            await client.close()
        await asyncio.gather(*staying, return_exceptions=True)


async def count(port):
    def ask():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/clients", timeout=5) as answer:
            return int(answer.read())

    return await asyncio.to_thread(ask)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def run(command, ready):
    """Starts `command`, drives the clients once it has said `ready`, and ends it."""
    port = free_port()
    with subprocess.Popen(
        [word.replace("PORT", str(port)) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as server:
        said = []
        try:
            for line in server.stdout:
                said.append(line)
                if ready in line:
                    break
            else:
                sys.exit("it did not start:\n" + "".join(said))
            # What it complains of must not fill the pipe.
            threading.Thread(target=server.stdout.read).start()
            return asyncio.run(drive(port))
        finally:
            # Leeward ends its workers by itself.
            os.killpg(server.pid, signal.SIGQUIT if "leeward" in command else signal.SIGKILL)


def bare():
    return run([sys.executable, SERVER, "PORT"], "listening")


def under_leeward(*flags):
    serve = [sys.executable, "-m", "leeward", "serve", SERVER, "--name", f"vanishing-{os.getpid()}"]
    return run([*serve, *FLAGS, *flags, "--", "PORT"], "  next ")


def main():
    if sys.argv[1:2] == ["frozen"]:
        asyncio.run(be_frozen(int(sys.argv[2])))
        return 0
    alone, adopted = bare(), under_leeward()
    print(f"{4 * EACH} clients, {EACH} stay; the others reset, have a mistake, or freeze")
    for name, (clients, pinged) in (("bare", alone), ("under leeward", adopted)):
        print(
            f"  {name:14} the server has {clients} clients, and {clients - EACH} are zombies; "
            f"{pinged} of the {EACH} that stayed get its pings"
        )
    fault, gone = alone[0] > EACH, adopted == (EACH, EACH)
    print(f"  the fault {'shows' if fault else 'does NOT show'} on the bare server, ", end="")
    print(f"and is {'gone' if gone else 'NOT gone'} under leeward")
    return 0 if fault and gone else 1


if __name__ == "__main__":
    sys.exit(main())
