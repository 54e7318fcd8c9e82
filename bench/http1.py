"""What does a request cost?  CPU of the server per request, against Tornado and others.

All contenders run at once, each with one process on the last core; the client is on the
first.  They take turns of a second, so that whatever else the machine does meets all of
them; the ratio of each round is to Tornado's own server in the same round.  What counts is
the server's own CPU time (it tells it at /cpu), not how long the client took.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from common import contenders as c
from common import telling
from common.echo import echoes
from common.measure import median, pin

HERE = Path(__file__).resolve().parent
_APP = str(HERE / "apps/speed.py")

Key = tuple[str, str]  # (contender, load)


class Load(NamedTuple):
    """script: for wrk; "" for a plain GET.  needs: what a contender must be able to do."""

    name: str
    script: str
    goal: float
    access_log: bool = False


HELLO = Load("hello", "", 4.5)
JSON = Load("JSON POST 1 KB", "json.lua", 3.3)
BODY = Load("body of 100 KB", "body.lua", 0.0)
UNIQUE = Load("unique", "unique.lua", 3.5)
LOGGED = Load("hello with access log", "", 0.0, access_log=True)
ECHO = Load("WebSocket echo", "echo", 2.0)
LOADS = (HELLO, JSON, BODY, UNIQUE, LOGGED, ECHO)


def _own(kind: str, loop: str) -> c.Command:
    return lambda module, port, workers: [sys.executable, _APP, kind, loop, str(port)]


def _leeward(loop: str, *flags: str) -> c.Command:
    def command(module: str, port: int, workers: int) -> list[str]:
        words = ["-w", "1", "--bind", f"127.0.0.1:{port}", "--name", c.instance(port)]
        serve = [sys.executable, "-m", "leeward", "serve", "speed:application"]
        return [*serve, *words, "--loop", loop, *flags]

    return command


def _gunicorn(module: str, port: int, workers: int) -> list[str]:
    words = ["-k", "tornado", "-w", "1", "-b", f"127.0.0.1:{port}", "--log-level", "critical"]
    return [sys.executable, "-m", "gunicorn", *words, "speed:application()"]


def _uvicorn(module: str, port: int, workers: int) -> list[str]:
    words = ["--port", str(port), "--log-level", "critical", "--no-access-log"]
    return [sys.executable, "-m", "uvicorn", "speed:asgi", *words]


def _granian(module: str, port: int, workers: int) -> list[str]:
    words = ["--interface", "asgi", "--workers", "1", "--loop", "uvloop", "--no-log"]
    where = ["--host", "127.0.0.1", "--port", str(port)]
    return [sys.executable, "-m", "granian", *words, *where, "speed:asgi"]


TORNADO = c.Contender("tornado", "tornado", _own("tornado", "asyncio"))
FAST = c.Contender("leeward uvloop", "leeward", _leeward("uvloop"))
CONTENDERS = (
    TORNADO,
    c.Contender("tornado uvloop", "uvloop", _own("tornado", "uvloop")),
    c.Contender("gunicorn -k tornado", "gunicorn", _gunicorn),
    FAST,
    c.Contender("leeward asyncio", "leeward", _leeward("asyncio")),
    c.Contender("leeward uvloop plain", "leeward", _leeward("uvloop", "--no-accelerate")),
    c.Contender("leeward asyncio plain", "leeward", _leeward("asyncio", "--no-accelerate")),
    c.Contender("uvicorn starlette", "uvicorn", _uvicorn),
    c.Contender("granian starlette", "granian", _granian),
    c.Contender("aiohttp", "aiohttp", _own("aiohttp", "asyncio")),
    c.Contender("floor", "uvloop", _own("floor", "uvloop")),
)


def cpu(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/cpu", timeout=10) as answer:
        return float(answer.read())


def wait(server: c.Server) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            cpu(server.port)
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def requests(port: int, load: Load, seconds: int, connections: int) -> int:
    """How many were answered.  Raises ValueError if one was not answered with 2xx."""
    if load is ECHO:
        return echoes(port, seconds, connections)
    words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
    if load.script:
        words += ["-s", str(HERE / "lua" / load.script)]
    done = subprocess.run(
        [*words, f"http://127.0.0.1:{port}/"], capture_output=True, text=True, check=True
    )
    if "Non-2xx" in done.stdout:
        raise ValueError(done.stdout)
    found = re.search(r"(\d+) requests in", done.stdout)
    if found is None:
        raise ValueError(done.stdout)
    return int(found[1])


def able(it: c.Contender, load: Load) -> bool:
    if load.access_log:
        return "tornado" in it.name or "leeward" in it.name
    return it.name != "floor" or load in (HELLO, UNIQUE)


def measure(
    contenders: list[c.Contender], load: Load, rounds: int, seconds: int, cpus: set[int]
) -> dict[str, list[float]]:
    """Microseconds of CPU per request, of each round."""
    found: dict[str, list[float]] = defaultdict(list)
    env = {"LEEWARD_ACCESS_LOG": "no"}
    if load.access_log:
        env = {"BENCH_ACCESS_LOG": "1"}
    with contextlib.ExitStack() as stack:
        servers = {}
        for it in contenders:
            if able(it, load):
                servers[it.name] = stack.enter_context(c.run(it, "speed", 1, cpus, env=env))
        for server in servers.values():
            wait(server)
        for turn in range(rounds + 1):
            for name, server in servers.items():
                before = cpu(server.port)
                count = requests(server.port, load, seconds, 16)
                spent = cpu(server.port) - before
                if turn:  # the first round warms caches and specializes bytecode
                    found[name].append(spent / count * 1e6)
    return found


def main() -> None:
    parser = telling.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=1, help="of a turn")
    parser.add_argument("--loads", help=f"of {', '.join(it.name for it in LOADS)}")
    options = parser.parse_args()
    _, cpus = pin()
    core = {max(cpus)}
    contenders = telling.chosen(CONTENDERS, options.only)
    asked = None if options.loads is None else {it.strip() for it in options.loads.split(",")}
    loads = [it for it in LOADS if asked is None or it.name in asked]
    report = telling.Report(
        "What does a request cost?  Microseconds of the server's CPU, median of the rounds",
        {"rounds": options.rounds, "seconds": options.seconds, "connections": 16},
    )
    rows: dict[str, dict[str, object]] = {it.name: {"": it.name} for it in contenders}
    for load in loads:
        found = measure(contenders, load, options.rounds, options.seconds, core)
        for name, times in found.items():
            rows[name][load.name] = median(times)
            if name != TORNADO.name and TORNADO.name in found:
                what = f"{load.name}: tornado / {name}"
                report.ratio(what, times, found[TORNADO.name])
        ratio = report.ratios.get(f"{load.name}: tornado / {FAST.name}")
        if load.goal and ratio is not None:
            what = f"{load.name}: tornado / {FAST.name}"
            report.contracts.append(
                telling.Contract(what, ratio["median"], load.goal, "×", at_least=True)
            )
    report.rows = list(rows.values())
    telling.finish(report, "http1", options.keep)


if __name__ == "__main__":
    main()
