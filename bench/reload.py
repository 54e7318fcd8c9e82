"""What do clients notice of a reload, and of one that brings broken code?

* reloads one after the other, while `wrk` keeps its connections alive, `ab` makes a
  new one for each request, and WebSockets stay open until they are told to leave
  (and come back then).  Socket errors of wrk and failed requests of ab count; of
  the WebSockets, the codes that they were closed with.  1012 is "service restart",
  1006 is a connection that was cut without a word.
* broken code: the same loads while the code is replaced by one that raises when it
  is imported, then by one that hangs, and by the old one again.

leeward is asked by `leeward reload`, which returns when the new code serves on all
slots; the others by SIGHUP, until as many new processes have answered.  Needs wrk
and ab (Debian: wrk, apache2-utils).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from common import contenders as c
from common import telling
from common.measure import median, pin, wait_pids
from tornado.websocket import WebSocketClientConnection, websocket_connect

WORKERS = 2
PATIENCE = 30.0
#: The supervisor's patience with code that hangs; others are asked to have the same.
START_TIMEOUT = 3
_BROKEN = {
    "raises": "raise RuntimeError('a broken deploy')\n",
    "hangs": "import time\ntime.sleep(1000)\n",
}


@dataclass
class Seen:
    """What the clients have seen.  wrk, ab: requests and failures."""

    wrk: tuple[int, int] = (0, 0)
    ab: tuple[int, int] = (0, 0)
    codes: Counter[int] = field(default_factory=Counter)
    reloads: list[float] = field(default_factory=list)  # seconds each
    refused: int = 0  # reloads that did not bring new code
    end: str = "serves"

    @property
    def failed(self) -> int:
        return self.wrk[1] + self.ab[1]


def number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(found.group(1)) if found else 0


def read_wrk(text: str) -> tuple[int, int]:
    errors = re.search(
        r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text
    )
    failed = sum(map(int, errors.groups())) if errors else 0
    return number(r"(\d+) requests in", text), failed + number(r"Non-2xx[^:]*: (\d+)", text)


def read_ab(text: str) -> tuple[int, int]:
    done = number(r"Complete requests:\s+(\d+)", text)
    if not done:
        # Without -r it would give up at the first error; even so it may have to.
        return 0, 1
    return done, number(r"Failed requests:\s+(\d+)", text) + number(r"Non-2xx.*:\s+(\d+)", text)


@contextlib.asynccontextmanager
async def load(port: int, seen: Seen) -> AsyncIterator[None]:
    """wrk and ab, as long as the block lasts; their counts into `seen`."""
    url = f"http://127.0.0.1:{port}/"
    commands = (
        ("wrk", "-t1", "-c8", "-d600s", "--timeout", "10s", url),
        ("ab", "-q", "-l", "-r", "-c4", "-s10", "-t600", "-n100000000", url),
    )
    running = [
        await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        for command in commands
    ]
    texts = []
    try:
        await asyncio.sleep(0.5)
        yield
    finally:
        for process in running:  # both tell what they have on SIGINT
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
        for process in running:
            try:
                async with asyncio.timeout(15):
                    texts.append((await process.communicate())[0].decode(errors="replace"))
            except TimeoutError:
                process.kill()
                await process.wait()
                texts.append("")
    wrk, ab = read_wrk(texts[0]), read_ab(texts[1])
    seen.wrk = seen.wrk[0] + wrk[0], seen.wrk[1] + wrk[1]
    seen.ab = seen.ab[0] + ab[0], seen.ab[1] + ab[1]


class Sockets:
    """`count` WebSockets that come back whenever they are closed."""

    def __init__(self, port: int, count: int, codes: Counter[int]) -> None:
        self._url = f"ws://127.0.0.1:{port}/echo"
        self._codes = codes
        self._count = count
        self._leaving = False
        self._open: set[WebSocketClientConnection] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Sockets:
        self._tasks = [asyncio.create_task(self._one()) for _ in range(self._count)]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._leaving = True
        for connection in list(self._open):
            connection.close()
        await asyncio.wait(self._tasks, timeout=5) if self._tasks else None
        for task in self._tasks:
            task.cancel()

    async def _one(self) -> None:
        while not self._leaving:
            try:
                connection = await websocket_connect(self._url, connect_timeout=10)
            except Exception:
                # Whatever kept it from opening: counted as cut without a word.
                self._codes[1006] += 1
                await asyncio.sleep(0.1)
                continue
            self._open.add(connection)
            while await connection.read_message() is not None:
                pass
            self._open.discard(connection)
            if not self._leaving:
                self._codes[connection.close_code or 1006] += 1


async def reload(server: c.Server) -> bool:
    """One reload.  True when new code serves on all slots."""
    if server.contender.needs == "leeward":
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "leeward", "reload", c.instance(server.port)),
            env={**os.environ, "XDG_RUNTIME_DIR": str(server.directory)},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        return await process.wait() == 0
    births = server.directory / "births"
    before = births.stat().st_size
    os.kill(server.pid, signal.SIGHUP)
    deadline = time.monotonic() + START_TIMEOUT * 3
    while births.stat().st_size < before + WORKERS:
        if time.monotonic() > deadline or server.process.poll() is not None:
            return False
        await asyncio.sleep(0.02)
    return True


async def many(server: c.Server, reloads: int, sockets: int, most: float) -> Seen:
    """`reloads` reloads, or as many as fit into `most` seconds."""
    seen = Seen()
    speaks = server.contender.needs in ("leeward", "gunicorn")  # Tornado's WebSockets
    deadline = time.monotonic() + most
    clients = Sockets(server.port, sockets if speaks else 0, seen.codes)
    async with clients, load(server.port, seen):
        for _ in range(reloads):
            start = time.monotonic()
            if await reload(server):
                seen.reloads.append(time.monotonic() - start)
            else:
                seen.refused += 1
            if time.monotonic() > deadline or server.process.poll() is not None:
                break
        await asyncio.sleep(2)  # the last ones are told within the drain window
    return seen


async def broken(server: c.Server, apps: Path) -> Seen:
    """Broken code, hanging code, sound code again."""
    seen = Seen()
    sound = (apps / "light.py").read_text()
    async with load(server.port, seen):
        for line in _BROKEN.values():
            (apps / "light.py").write_text(line + sound)
            seen.refused += not await reload(server)
            if server.process.poll() is not None:
                break
        (apps / "light.py").write_text(sound)
        if server.process.poll() is None:
            await reload(server)
    if server.process.poll() is not None:
        seen.end = f"master ended, status {server.process.returncode}"
    else:
        try:
            wait_pids(server.port, 1, time.monotonic() + 5)
        except TimeoutError:
            seen.end = "does not answer"
    return seen


@contextlib.contextmanager
def deployed(it: c.Contender, cpus: set[int]) -> Iterator[tuple[c.Server, Path]]:
    """The contender with an application of its own, whose code can be replaced."""
    flags = ("--start-timeout", f"{START_TIMEOUT}s") if it.needs == "leeward" else ()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        apps = Path(name)
        for file in c.APPS.glob("*.py"):
            shutil.copy(file, apps)
        with c.run(it, "light", WORKERS, cpus, apps=apps, flags=flags) as server:
            wait_pids(server.port, WORKERS, time.monotonic() + PATIENCE)
            yield server, apps


def main() -> None:
    parser = telling.arguments(__doc__ or "")
    parser.add_argument("--reloads", type=int, default=100, help="of leeward")
    parser.add_argument("--peer-reloads", type=int, default=10, help="of each other contender")
    parser.add_argument("--most", type=float, default=170.0, help="seconds for leeward's reloads")
    parser.add_argument("--peer-most", type=float, default=12.0, help="seconds for the others'")
    parser.add_argument("--sockets", type=int, default=50, help="WebSockets")
    options = parser.parse_args()
    missing = [name for name in ("wrk", "ab") if shutil.which(name) is None]
    if missing:
        sys.exit(f"{' and '.join(missing)} needed (Debian: apt-get install wrk apache2-utils)")
    _, cpus = pin()
    report = telling.Report(
        "What do clients notice of a reload?",
        {"workers": WORKERS, "WebSockets": options.sockets, "application": "light"},
    )
    peers = (c.GUNICORN, c.UVICORN, c.GRANIAN)
    results: dict[str, tuple[Seen, Seen]] = {}
    for it in telling.chosen((c.LEEWARD, *peers), options.only):
        ours = it is c.LEEWARD
        count = options.reloads if ours else options.peer_reloads
        most = options.most if ours else options.peer_most
        with deployed(it, cpus) as (server, _):
            good = asyncio.run(many(server, count, options.sockets, most))
        with deployed(it, cpus) as (server, apps):
            bad = asyncio.run(broken(server, apps))
        results[it.name] = good, bad
        codes = ", ".join(f"{code}: {n}" for code, n in sorted(good.codes.items()))
        report.rows.append(
            {
                "": it.name,
                "reloads": len(good.reloads),
                "each (s)": median(good.reloads),
                "wrk requests": good.wrk[0],
                "errors": good.wrk[1],
                "ab requests": good.ab[0],
                "failed": good.ab[1],
                "WebSockets closed with": codes or "–",
                "broken code: failed": bad.failed,
                "and then": bad.end,
            }
        )
    if c.LEEWARD.name in results:
        good, bad = results[c.LEEWARD.name]
        others = sum(good.codes.values()) - good.codes[1012]
        report.contracts = [
            telling.Contract("reloads", len(good.reloads), 100, "", at_least=True),
            telling.Contract("socket errors and failed requests", good.failed, 0),
            telling.Contract("WebSockets closed with another code than 1012", others, 0),
            telling.Contract("broken and hanging code: failed requests", bad.failed, 0),
        ]
    telling.finish(report, "reload", options.keep)


if __name__ == "__main__":
    main()
