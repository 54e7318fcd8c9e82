"""When does a server give up slow clients, and does it spare those that only look slow?

All contenders run at the same time and hardly do anything; all clients of all of them
live through the same minutes.  A cell tells after how many seconds the server closed; that of
the client which answers no ping any more counts them from its last pong.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import time
from collections.abc import Awaitable, Callable

from common import contenders as c
from common import peers, telling
from common.measure import median, pin

NEVER = float("inf")
#: Clients of each kind.
MANY = 3

Cell = Callable[[int, float], Awaitable[float]]


async def closed(sock: socket.socket, seconds: float) -> bool:
    """Does the other side close within `seconds`?  What it says is read and thrown away."""
    end = time.monotonic() + seconds
    loop = asyncio.get_running_loop()
    with contextlib.suppress(TimeoutError):
        while True:
            async with asyncio.timeout(max(0.0, end - time.monotonic())):
                try:
                    if not await loop.sock_recv(sock, 65536):
                        return True
                except OSError:
                    return True
    return False


def quiet(first: bytes, trickle: bytes = b"", every: float = 1.0) -> Cell:
    """Says `first`, and then a byte of `trickle` now and then."""

    async def cell(port: int, until: float) -> float:
        started, octets = time.monotonic(), iter(trickle)
        with await peers.connect(port) as sock:
            await peers.send(sock, first)
            while (left := until - time.monotonic()) > 0:
                octet = next(octets, None)
                if await closed(sock, left if octet is None else min(every, left)):
                    return time.monotonic() - started
                if octet is not None:
                    with contextlib.suppress(OSError):
                        await peers.send(sock, bytes([octet]))
        return NEVER

    return cell


async def stalled(port: int, until: float) -> float:
    """Asks for much and reads none of it; a reset is seen without reading."""
    started = time.monotonic()
    with await peers.connect(port, 65536) as sock:
        await peers.send(sock, b"GET /?size=50000000 HTTP/1.1\r\nHost: bench\r\n\r\n")
        poll = select.poll()
        poll.register(sock, 0)  # POLLHUP and POLLERR come unasked
        while time.monotonic() < until:
            await asyncio.sleep(0.5)
            if any(what & (select.POLLHUP | select.POLLERR) for _, what in poll.poll(0)):
                return time.monotonic() - started
            # Closed politely, behind what waits: only the server's own list would tell.
    return NEVER


async def pinged(sock: socket.socket) -> bytes | None:
    """What the first ping says, which is all that `/echo` is sent unasked; None at the end."""
    loop, data = asyncio.get_running_loop(), b""
    while len(data) < 2 or len(data) < 2 + data[1]:
        piece = await loop.sock_recv(sock, 65536)
        if not piece or (data + piece)[0] != 0x89:
            return None
        data += piece
    return data[2 : 2 + data[1]]


async def vanished(port: int, until: float) -> float:
    """A WebSocket that answers one ping and no other, and reads what it is sent.

    From its pong on.  One that never answers shows nothing: leeward lets those live on
    purpose, as there are client libraries that know no pongs.
    """
    with await peers.upgrade(port, b"/echo") as sock:
        started = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(until - started):
                ping = await pinged(sock)
            if ping is None:
                return time.monotonic() - started
            await peers.send(sock, peers.frame(ping, opcode=0xA))
            started = time.monotonic()
            if await closed(sock, until - started):
                return time.monotonic() - started
    return NEVER


POST = b"POST / HTTP/1.1\r\nHost: bench\r\nContent-Length: 100000\r\n\r\n"

CELLS: dict[str, Cell] = {
    "silent": quiet(b""),
    "half header": quiet(b"GET / HTTP/1.1\r\nHo"),
    "slow header": quiet(b"GET / HTTP/1.1\r\nHost: bench\r\nX-Slow: ", b"x" * 1000),
    "half body": quiet(POST + b"half"),
    "slow body": quiet(POST, b"x" * 1000, 10.0),
    "idle": quiet(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"),
    "stalled reader": stalled,
    "no pong": vanished,
}


# --- and who lives ----------------------------------------------------------------------------


async def upload(port: int, until: float) -> bool:
    """1 KB a second."""
    count = int(until - time.monotonic()) - 2
    with await peers.connect(port) as sock:
        head = b"POST / HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n"
        await peers.send(sock, head % (count * 1000))
        for _ in range(count):
            await peers.send(sock, b"x" * 1000)
            await asyncio.sleep(1.0)
        answer = await asyncio.get_running_loop().sock_recv(sock, 65536)
        return b" 200 " in answer


async def download(port: int, until: float) -> bool:
    """Pauses for 45 s in the middle of it."""
    left = 50_000_000
    loop = asyncio.get_running_loop()
    with await peers.connect(port, 65536) as sock:
        await peers.send(sock, b"GET /?size=50000000 HTTP/1.1\r\nHost: bench\r\n\r\n")
        await asyncio.sleep(45.0)
        while left > 0:
            piece = await loop.sock_recv(sock, 2**20)
            if not piece:
                return False
            left -= len(piece)
    return True


LIVE = {"1 KB/s upload": upload, "download, 45 s pause": download}


async def one_contender(port: int, seconds: float) -> dict[str, float]:
    until = time.monotonic() + seconds
    found: dict[str, float] = {}

    async def cell(name: str, what: Cell) -> None:
        async def one() -> float:
            with contextlib.suppress(OSError):
                return await what(port, until)
            return 0.0

        found[name] = median(await asyncio.gather(*(one() for _ in range(MANY))))

    async def live(name: str, what: Callable[[int, float], Awaitable[bool]]) -> None:
        found[name] = 0.0
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(seconds + 20):
                found[name] = float(await what(port, until))

    await asyncio.gather(
        *(cell(name, what) for name, what in CELLS.items()),
        *(live(name, what) for name, what in LIVE.items()),
    )
    return found


async def everybody(servers: list[c.Server], seconds: float) -> list[dict[str, float]]:
    return await asyncio.gather(*(one_contender(it.port, seconds) for it in servers))


def main() -> None:
    parser = telling.arguments(__doc__ or "")
    parser.add_argument("--seconds", type=float, default=90.0, help="that clients wait at most")
    options = parser.parse_args()
    _, cpus = pin()
    contenders = telling.chosen(peers.CONTENDERS, options.only)
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(c.run(it, "peers", max(1, it.fewest), cpus)) for it in contenders
        ]
        for server in servers:
            peers.wait(server, time.monotonic() + 30)
        results = asyncio.run(everybody(servers, options.seconds))
    report = telling.Report(
        "After how many seconds is a slow client's connection closed?",
        {"clients of a kind": MANY, "seconds waited": options.seconds},
    )
    for it, found in zip(contenders, results, strict=True):
        row: dict[str, object] = {"": it.name}
        for name in CELLS:
            row[name] = "open" if found[name] == NEVER else found[name]
        row |= {name: "lives" if found[name] else "cut" for name in LIVE}
        row["closed"] = sum(found[name] < NEVER for name in CELLS)
        report.rows.append(row)
        if it is c.LEEWARD:
            for name in CELLS:
                bound = 77.0 if name == "idle" else 61.0
                report.contracts.append(
                    telling.Contract(f"{name}: closed", found[name], bound, "s")
                )
            for name in LIVE:
                report.contracts.append(telling.Contract(name, found[name], 1.0, "", at_least=True))
    telling.finish(report, "slow", options.keep)


if __name__ == "__main__":
    main()
