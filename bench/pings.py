"""What do pings cost?  CPU of the server per ping and pong, against Tornado's own pings.

A thousand WebSockets on one process, on which nothing else happens: all are pinged once a
second, and the client answers each.  The server's CPU time over some seconds, by the number
of pings that came, is the figure.  Contenders take turns, so that whatever else the machine
does meets all of them.

They are opened over one interval, as clients come at any time.  With `--burst` they are opened
as fast as it goes: Tornado's timers then all come due together, once a second, and the answers
too, which saves it a turn of its loop for each; ours are spread on purpose, and gain nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
import urllib.request
from collections import defaultdict
from pathlib import Path

from common import contenders as c
from common import telling
from common.echo import HANDSHAKE
from common.measure import median, pin

_APP = str(Path(__file__).resolve().parent / "apps/asks.py")


def _own(module: str, port: int, workers: int) -> list[str]:
    return [sys.executable, _APP, str(port)]


def _leeward(loop: str, *flags: str) -> c.Command:
    def command(module: str, port: int, workers: int) -> list[str]:
        words = ["-w", "1", "--bind", f"127.0.0.1:{port}", "--name", c.instance(port)]
        quiet = ["--log-level", "warning", "--loop", loop]
        serve = [sys.executable, "-m", "leeward", "serve", f"{module}:application"]
        return [*serve, *words, *quiet, *flags]

    return command


#: Seconds.
INTERVAL = 1
_ASKS = ("--ws-ping-interval", f"{INTERVAL}s", "--ws-ping-timeout", f"{INTERVAL}s")
_THEIRS = {"BENCH_PING_INTERVAL": str(INTERVAL)}

TORNADO = c.Contender("tornado", "tornado", _own)
FAST = c.Contender("leeward uvloop", "uvloop", _leeward("uvloop", *_ASKS))
PLAIN = c.Contender("leeward asyncio", "leeward", _leeward("asyncio", *_ASKS))
SERVER = c.Contender(
    "leeward --engine tornado", "leeward", _leeward("asyncio", *_ASKS, "--engine", "tornado")
)
#: Contender and its environment: theirs are Tornado's own pings.
CONTENDERS = {
    TORNADO: _THEIRS,
    c.Contender("tornado uvloop", "uvloop", _own): {**_THEIRS, "BENCH_UVLOOP": "1"},
    FAST: {},
    PLAIN: {},
    c.Contender("leeward uvloop with Tornado's pings", "uvloop", _leeward("uvloop")): _THEIRS,
    c.Contender("leeward asyncio with Tornado's pings", "leeward", _leeward("asyncio")): _THEIRS,
    SERVER: {},
}


def cpu(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/cpu", timeout=10) as answer:
        return float(answer.read())


class Client(asyncio.Protocol):
    """Answers pings, with a mask of zeros.

    wrong:  something else that one of them was told, as by a server that gives it up.
    """

    pings = opened = 0
    wrong = b""

    def __init__(self, port: int) -> None:
        self._port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(HANDSHAKE.format(port=self._port).encode())

    def data_received(self, data: bytes) -> None:
        if b" 101 " in data[:16]:
            Client.opened += 1
            data = data.partition(b"\r\n\r\n")[2]
        while data:  # more than one where the machine is busy
            if data[0] != 0x89:
                Client.wrong = data[:40]
                self._transport.abort()
                return
            Client.pings += 1
            size = data[1]
            self._transport.write(bytes((0x8A, size | 0x80, 0, 0, 0, 0)) + data[2 : 2 + size])
            data = data[2 + size :]


async def measure(port: int, sockets: int, seconds: float, pause: float) -> float:
    """Microseconds of CPU per ping.  pause:  seconds from one client to the next."""
    loop = asyncio.get_running_loop()
    Client.pings, Client.opened, Client.wrong = 0, 0, b""
    end = loop.time() + 30
    transports = []
    for _ in range(sockets):
        found, _ = await loop.create_connection(lambda: Client(port), "127.0.0.1", port)
        transports.append(found)
        await asyncio.sleep(pause)
    while Client.opened < sockets and loop.time() < end:
        await asyncio.sleep(0.05)
    await asyncio.sleep(2)  # by now all have been pinged at least once
    before, pings = await asyncio.to_thread(cpu, port), Client.pings
    await asyncio.sleep(seconds)
    spent, count = await asyncio.to_thread(cpu, port) - before, Client.pings - pings
    for transport in transports:
        transport.abort()
    if Client.opened < sockets or count < sockets * seconds / 2 or Client.wrong:
        raise ValueError(f"{Client.opened} of {sockets} opened, {count} pings; {Client.wrong!r}")
    return spent / count * 1e6


def wait(port: int) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            cpu(port)
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def main() -> None:
    parser = telling.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="of a turn")
    parser.add_argument("--sockets", type=int, default=1000)
    parser.add_argument("--burst", action="store_true", help="open all at once")
    options = parser.parse_args()
    pause = 0.0 if options.burst else INTERVAL / options.sockets
    _, cpus = pin()
    core = {max(cpus)}
    contenders = telling.chosen(CONTENDERS, options.only)
    found: dict[str, list[float]] = defaultdict(list)
    with contextlib.ExitStack() as stack:
        servers = {
            it.name: stack.enter_context(c.run(it, "asks", 1, core, env=CONTENDERS[it]))
            for it in contenders
        }
        for server in servers.values():
            wait(server.port)
        for _ in range(options.rounds):
            for name, server in servers.items():
                spent = measure(server.port, options.sockets, options.seconds, pause)
                found[name].append(asyncio.run(spent))
    report = telling.Report(
        "What does a ping cost?  Microseconds of the server's CPU, its pong included",
        {
            "sockets": options.sockets,
            "opened": "at once" if options.burst else f"over {INTERVAL} s",
            "seconds": options.seconds,
            "rounds": options.rounds,
        },
    )
    for name, times in found.items():
        report.rows.append({"": name, "µs": median(times)})
        if name != TORNADO.name and TORNADO.name in found:
            report.ratio(f"{name} / tornado", found[TORNADO.name], times)
    for it in (FAST, PLAIN, SERVER):
        if f"{it.name} / tornado" in report.ratios:
            share = report.ratios[f"{it.name} / tornado"]["median"]
            report.contracts.append(telling.Contract(f"{it.name} / tornado", share, 0.5, "×"))
    telling.finish(report, "pings", options.keep)


if __name__ == "__main__":
    main()
