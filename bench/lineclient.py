"""What does a call over a line protocol cost, and how many are made in a second?

This process is the client, on one CPU; the server, on the others, answers each line at
once.  Microseconds of this process's CPU for a call, and calls a second, one at a time and
16 at once; the best of several rounds that take turns.

* LineClient, one connection and four, on asyncio and on uvloop.
* lock + streams: what is mostly written instead: one `asyncio` stream under a lock, with
  `readuntil` and `asyncio.timeout`.  It crosses replies after a deadline or a fork.
* telnet: a blocking socket, read until the prompt, as `telnetlib` did; one at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import resource
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from common.measure import pin

import leeward

RUNNERS: dict[str, Callable[[Coroutine[Any, Any, Any]], Any]] = {"asyncio": asyncio.run}
with contextlib.suppress(ImportError):
    import uvloop

    RUNNERS["uvloop"] = uvloop.run

END = b"\r\ndubbo>"
REPLY = b'{"name":"widget","left":12}\r\nelapsed: 3 ms.' + END
REQUEST = 'invoke com.acme.StockService.find("widget")'

Call = Callable[[], Awaitable[object]]


class Server(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(REPLY * data.count(b"\n"))  # type: ignore[attr-defined]


def serve(listener: socket.socket) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        await (await loop.create_server(Server, sock=listener)).serve_forever()

    RUNNERS.get("uvloop", asyncio.run)(main())


# --- contenders -----------------------------------------------------------------------------


async def line_client(address: tuple[str, int], connections: int) -> tuple[Call, Call]:
    client = leeward.LineClient(address, end=END, connections=connections)
    return lambda: client.call(REQUEST), client.aclose


async def streams(address: tuple[str, int], _: int) -> tuple[Call, Call]:
    reader, writer = await asyncio.open_connection(*address)
    lock = asyncio.Lock()

    async def call() -> str:
        async with lock, asyncio.timeout(10):
            writer.write(REQUEST.encode() + b"\r\n")
            return (await reader.readuntil(END))[: -len(END)].decode()

    async def close() -> None:
        writer.close()
        await writer.wait_closed()

    return call, close


async def telnet(address: tuple[str, int], _: int) -> tuple[Call, Call]:
    sock = socket.create_connection(address, timeout=10)

    async def call() -> str:
        sock.sendall(REQUEST.encode() + b"\r\n")
        came = b""
        while END not in came:
            came += sock.recv(4096)
        return came[: -len(END)].decode()

    async def close() -> None:
        sock.close()

    return call, close


CONTENDERS = {
    "LineClient, 1 connection": (line_client, 1),
    "LineClient, 4 connections": (line_client, 4),
    "lock + streams": (streams, 1),
    "telnet, blocking": (telnet, 1),
}


async def measure(
    address: tuple[str, int], name: str, at_once: int, calls: int
) -> tuple[float, float]:
    """(µs of CPU for a call, calls a second)"""
    make, connections = CONTENDERS[name]
    call, close = await make(address, connections)
    await call()
    left = iter(range(calls))

    async def some() -> None:
        for _ in left:
            await call()

    before, begun = cpu(), time.perf_counter()
    await asyncio.gather(*(some() for _ in range(at_once)))
    used, took = cpu() - before, time.perf_counter() - begun
    await close()
    return used / calls * 1e6, calls / took


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--calls", type=int, default=3000, help="in each round")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", 0))
    server = multiprocessing.get_context("fork").Process(target=serve, args=(listener,))
    server.daemon = True
    server.start()
    client, servers = pin()
    if client != servers and server.pid:
        os.sched_setaffinity(server.pid, servers)
    best: dict[tuple[str, str, int], tuple[float, float]] = {}
    for _ in range(args.rounds):
        for loop, run in RUNNERS.items():
            for name in CONTENDERS:
                for at_once in (1, 16):
                    found = run(measure(listener.getsockname()[:2], name, at_once, args.calls))
                    old = best.get((loop, name, at_once), (float("inf"), 0.0))
                    best[loop, name, at_once] = min(found[0], old[0]), max(found[1], old[1])
    print("µs of CPU for a call, and calls a second: one at a time, and 16 at once")
    for loop in RUNNERS:
        for name in CONTENDERS:
            (one, rate), (many, rate_16) = (best[loop, name, it] for it in (1, 16))
            figures = f"{one:5.0f} µs {rate:7.0f}/s   {many:5.0f} µs {rate_16:7.0f}/s"
            print(f"  {loop:8} {name:26} {figures}")
    server.terminate()


if __name__ == "__main__":
    main()
