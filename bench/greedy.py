"""How far does one greedy client make a server grow?

Counted is the resident memory of all its processes: the highest while the client is at
work, above what it was before.  Each client has its server to itself, started anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import time
import zlib
from collections import defaultdict
from collections.abc import Awaitable, Callable

from common import contenders as c
from common import peers, telling
from common.measure import MIB, descendants, median, pin

#: Bytes of the clients' own buffers.
RECEIVE = 65536

Greed = Callable[[int], Awaitable[None]]


def resident(pid: int) -> int:
    """Of `pid` and all below it, without what they share: shmem and files do not grow here."""
    total = 0
    for it in [pid, *descendants(pid)]:
        with contextlib.suppress(OSError, ValueError), open(f"/proc/{it}/statm") as file:
            words = file.read().split()
            total += (int(words[1]) - int(words[2])) * os.sysconf("SC_PAGE_SIZE")
    return total


async def _pour(sock: object, data: bytes, times: int) -> None:
    for _ in range(times):
        await peers.send(sock, data)  # type: ignore[arg-type]


async def unread_echo(port: int) -> None:
    """90 MB are sent, and nothing of what comes back is read."""
    with await peers.upgrade(port, b"/echo", RECEIVE) as sock:
        await _pour(sock, peers.frame(os.urandom(65536)), 1440)


async def unread_feed(port: int) -> None:
    """64 KiB come every millisecond, and nothing is read."""
    with await peers.upgrade(port, b"/feed", RECEIVE):
        await asyncio.sleep(60.0)


async def pings(port: int) -> None:
    with await peers.upgrade(port, b"/echo", RECEIVE) as sock:
        await _pour(sock, peers.frame(b"x" * 100, opcode=9) * 1000, 1000)


@functools.cache
def compressed() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = bytes(MIB)
    packed = b"".join(packer.compress(zeros) for _ in range(200))
    return packed + packer.flush(zlib.Z_SYNC_FLUSH)


async def bomb(port: int) -> None:
    """A compressed message of 200 MB."""
    deflate = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
    packed = compressed()
    with await peers.upgrade(port, b"/echo", RECEIVE, deflate) as sock:
        await peers.send(sock, peers.frame(packed[:-4], first=0xC0))
        await asyncio.sleep(3.0)


async def gzip_body(port: int) -> None:
    """A request's body of 90 MB, which came as 90 KB; where the server unpacks bodies."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    body = b"".join(packer.compress(bytes(MIB)) for _ in range(90)) + packer.flush()
    head = (
        b"POST / HTTP/1.1\r\nHost: bench\r\nContent-Encoding: gzip\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    with await peers.connect(port) as sock:
        await peers.send(sock, head + body)
        await asyncio.sleep(3.0)


async def pipeline(port: int) -> None:
    """Requests, and no answer is read."""
    with await peers.connect(port, RECEIVE) as sock:
        await _pour(sock, b"GET /?size=60000 HTTP/1.1\r\nHost: bench\r\n\r\n" * 100, 10_000)


async def header(port: int) -> None:
    """100 MB of header."""
    with await peers.connect(port) as sock:
        await peers.send(sock, b"GET / HTTP/1.1\r\nHost: bench\r\n")
        await _pour(sock, (b"X-Flood: " + b"x" * 8000 + b"\r\n") * 10, 1200)


async def chunks(port: int) -> None:
    """A body of chunks of one byte, each with a long extension."""
    with await peers.connect(port) as sock:
        head = b"POST / HTTP/1.1\r\nHost: bench\r\nTransfer-Encoding: chunked\r\n\r\n"
        await peers.send(sock, head)
        await _pour(sock, (b"1;a=" + b"x" * 4000 + b"\r\nx\r\n") * 10, 2000)


GREEDS: dict[str, Greed] = {
    "unread echo": unread_echo,
    "unread feed": unread_feed,
    "pings": pings,
    "bomb": bomb,
    "gzip body": gzip_body,
    "pipeline": pipeline,
    "header": header,
    "chunks": chunks,
}


async def growth(server: c.Server, greed: Greed, seconds: float) -> float:
    await asyncio.sleep(0.3)
    before = most = resident(server.pid)
    task = asyncio.ensure_future(greed(server.port))
    end = time.monotonic() + seconds
    while not task.done() and time.monotonic() < end:
        await asyncio.wait([task], timeout=0.05)
        most = max(most, resident(server.pid))
    task.cancel()
    with contextlib.suppress(OSError, asyncio.CancelledError):
        await task
    return (most - before) / MIB


def main() -> None:
    parser = telling.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=8.0, help="for each client")
    options = parser.parse_args()
    _, cpus = pin()
    os.environ["LEEWARD_DECOMPRESS"] = "true"
    compressed()
    contenders = telling.chosen(peers.CONTENDERS, options.only)
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(options.rounds):
        for name, greed in GREEDS.items():
            for it in contenders:
                with c.run(it, "peers", max(1, it.fewest), cpus) as server:
                    peers.wait(server, time.monotonic() + 30)
                    grown = asyncio.run(growth(server, greed, options.seconds))
                found[it.name, name].append(grown)
    report = telling.Report(
        "By how many MiB does one greedy client make a server grow?",
        {"seconds": options.seconds, "rounds": options.rounds},
    )
    for it in contenders:
        row: dict[str, object] = {"": it.name}
        report.rows.append(row | {name: median(found[it.name, name]) for name in GREEDS})
        if it is c.LEEWARD:
            report.contracts = [
                telling.Contract(f"{name}: growth", max(found[it.name, name]), 16, "MiB")
                for name in GREEDS
            ]
    telling.finish(report, "greedy", options.keep)


if __name__ == "__main__":
    main()
