"""What does a line of the access log cost?  CPU of the process for each, written to a file.

In this process, without a socket: `Application.log_request` is called for an answered
request, in the ways in which a server may then go.  Contenders take turns; what they write
goes to a file of their own, and the writing is in the figures.

* tornado: as it comes, by `logging`, in the look of its own `LogFormatter`.
* logging: the same record, in leeward's look: what `--access-log` was before it had a way
  of its own, and is still for an application that logs by itself.
* gunicorn: its own logger's `access`, to which it gives a request and an answer.
* leeward: in each format; written for each line (a quiet server), or for ten at a time.
* leeward, --log-file: in each format, through the ring to the collector (a real one, on
  whatever core is free), each line by itself.
* leeward, off: the level is above it.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import gc
import logging
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

from common import telling
from common.collected import collected
from common.measure import median
from tornado import web
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.log import LogFormatter

from leeward._core.config import Config
from leeward._core.sinks import Spec
from leeward._worker import logs
from leeward._worker.access.start import start
from leeward._worker.ringed import Outlet
from leeward.engine.accelerate.install import installed

Work = Callable[[int], None]  # writes so many lines
HEADERS = {
    "Host": "shop.example",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Referer": "https://shop.example/items?page=2",
    "Accept": "text/html",
}
URI = "/items/4711?page=3&sort=name"
ACCESS = logging.getLogger("tornado.access")
ROOT = logging.getLogger()


class _Connection:
    context = SimpleNamespace(remote_ip="203.0.113.9", protocol="http")

    def set_close_callback(self, callback: object) -> None: ...


def answered() -> web.RequestHandler:
    """A handler that has given its answer."""
    asked = HTTPServerRequest(
        connection=_Connection(),  # type: ignore[arg-type]
        start_line=RequestStartLine("GET", URI, "HTTP/1.1"),
        headers=HTTPHeaders(HEADERS),
    )
    handler = web.RequestHandler(web.Application(), asked)
    handler.set_header("Content-Length", "1234")
    return handler


@contextlib.contextmanager
def root(handler: logging.Handler | None, level: int = logging.INFO) -> Iterator[None]:
    before, was = ROOT.handlers[:], ROOT.level
    ROOT.handlers[:] = [handler] if handler is not None else []
    ROOT.setLevel(level)
    try:
        yield
    finally:
        ROOT.handlers[:] = before
        ROOT.setLevel(was)


# --- contenders ----------------------------------------------------------------------------------


@contextlib.contextmanager
def tornado(file: IO[str]) -> Iterator[Work]:
    printer = logging.StreamHandler(file)
    printer.setFormatter(LogFormatter(color=False))
    handler = answered()

    def work(lines: int) -> None:
        log = handler.application.log_request
        for _ in range(lines):
            log(handler)

    with root(printer):
        yield work


@contextlib.contextmanager
def by_logging(file: IO[str]) -> Iterator[Work]:
    handler = answered()

    def work(lines: int) -> None:
        log = handler.application.log_request
        for _ in range(lines):
            log(handler)

    with root(logs.Printer(logs.Log(0, 1, "info", "pretty", file.fileno()))):
        yield work


@contextlib.contextmanager
def gunicorn(file: IO[str]) -> Iterator[Work]:
    from gunicorn.config import Config as Settings
    from gunicorn.glogging import Logger

    settings = Settings()
    settings.set("accesslog", file.name)
    settings.set("logger_class", "gunicorn.glogging.Logger")
    logger = Logger(settings)
    headers = [(name.upper(), value) for name, value in HEADERS.items()]
    request = SimpleNamespace(headers=headers)
    answer = SimpleNamespace(status="200 OK", sent=1234, headers=[("Content-Length", "1234")])
    environ = {
        "REQUEST_METHOD": "GET",
        "RAW_URI": URI,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "PATH_INFO": "/items/4711",
        "QUERY_STRING": "page=3&sort=name",
        "REMOTE_ADDR": "203.0.113.9",
        "HTTP_USER_AGENT": HEADERS["User-Agent"],
        "HTTP_REFERER": HEADERS["Referer"],
    }
    took = datetime.timedelta(milliseconds=1.5)

    def work(lines: int) -> None:
        for _ in range(lines):
            logger.access(answer, request, environ, took)

    yield work


def leeward(form: str, batch: int, level: int = logging.INFO) -> Callable[[IO[str]], Any]:
    @contextlib.contextmanager
    def contender(file: IO[str]) -> Iterator[Work]:
        with root(None, level):
            log = logs.Log(0, 1, "info", "pretty", file.fileno())
            access = start(log, Config("", access_log_format=form))
            assert log.batch is not None and access.ours()
            installed.install()  # as in a worker: headers are looked up
            handler, flush = answered(), log.batch.flush

            def work(lines: int) -> None:
                write = handler.application.log_request
                for _ in range(lines // batch):
                    for _ in range(batch):
                        write(handler)
                    flush()

            try:
                yield work
            finally:
                access.remove()
                installed.remove()

    return contender


def by_ring(form: str) -> Callable[[IO[str]], Any]:
    @contextlib.contextmanager
    def contender(file: IO[str]) -> Iterator[Work]:
        with root(None), collected() as it:
            outlet = Outlet(it.writer(), Spec("file", file.name).to_json())
            access = start(
                logs.Log(0, 1, "info", "pretty", outlet=outlet), Config("", access_log_format=form)
            )
            assert access.ours()
            installed.install()
            handler = answered()

            def work(lines: int) -> None:
                write = handler.application.log_request
                for _ in range(lines):
                    write(handler)

            try:
                yield work
            finally:
                access.remove()
                installed.remove()
                assert it.end() == 0, "the collector was slower than this process"

    return contender


CONTENDERS: dict[str, Callable[[IO[str]], Any]] = {
    "tornado": tornado,
    "logging": by_logging,
    "gunicorn": gunicorn,
    "leeward pretty": leeward("pretty", 1),
    "leeward pretty, by ten": leeward("pretty", 10),
    "leeward pretty, --log-file": by_ring("pretty"),
    "leeward combined": leeward("combined", 1),
    "leeward combined, by ten": leeward("combined", 10),
    "leeward combined, --log-file": by_ring("combined"),
    "leeward json": leeward("json", 1),
    "leeward json, by ten": leeward("json", 10),
    "leeward json, --log-file": by_ring("json"),
    "leeward, off": leeward("pretty", 10, logging.CRITICAL),
}


def measure(names: list[str], rounds: int, lines: int) -> dict[str, list[float]]:
    """Microseconds of CPU a line, of each round; the first warms up."""
    found: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        for turn in range(rounds + 1):
            for name in names:
                path = Path(place) / f"{name} {turn}"
                with path.open("a", encoding="utf-8") as file, CONTENDERS[name](file) as work:
                    gc.collect()
                    before = time.process_time()
                    work(lines)
                    spent = time.process_time() - before
                written = path.read_text().count("\n")
                assert written == (0 if name.endswith("off") else lines), (name, written)
                path.unlink()
                if turn:
                    found[name].append(spent / lines * 1e6)
    return found


def main() -> None:
    parser = telling.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--lines", type=int, default=2000, help="in each turn")
    options = parser.parse_args()
    names = [it for it in CONTENDERS if options.only is None or it in options.only.split(",")]
    try:
        import gunicorn  # noqa: F401
    except ImportError:
        print("  gunicorn is not installed: left out (pip install -e '.[bench]')")
        names = [it for it in names if it != "gunicorn"]

    async def measured() -> dict[str, list[float]]:
        return measure(names, options.rounds, options.lines)

    found = asyncio.run(measured())  # a loop runs, as in a worker; it has no turn meanwhile
    report = telling.Report(
        "What does a line of the access log cost?  Microseconds of CPU, median of the rounds",
        {"rounds": options.rounds, "lines": options.lines},
        rows=[
            {"": name, "µs a line": median(times), "min": min(times)}
            for name, times in found.items()
        ],
    )
    for name, times in found.items():
        if name.startswith("leeward") and "tornado" in found:
            report.ratio(f"tornado / {name}", times, found["tornado"])
        if name.endswith(("by ten", "--log-file")):
            report.contracts.append(telling.Contract(name, median(times), 5.0, "µs"))
    telling.finish(report, "access_log", options.keep)


if __name__ == "__main__":
    main()
