"""What does a log line of one of several processes cost, and does it arrive?

WRITERS processes log so many lines each, by `logging` (loguru by itself), at full speed into
one place. For each contender: lines a second against a plain FileHandler in the same run, the
caller's 99th percentile, CPU of all processes for each line, and what became of the lines.

* FileHandler: one file for all, appended by each; it cannot be rotated.
* per worker: a RotatingFileHandler and a file for each process.
* concurrent-log-handler: one file, locked and rotated by whoever is there.
* loguru: `enqueue=True`, one file that is rotated; a queue and a thread in the parent.
* QueueHandler: a multiprocessing.Queue, and a QueueListener with a RotatingFileHandler in the
  parent.
* leeward: a ring for each, the collector, one file that is rotated.  A writer that is faster
  than the collector has lines refused, and told: "refused".

"killed": every writer is killed by SIGKILL in the middle; lines that the caller had finished
logging, and that are in no file, are lost.
"""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import mmap
import multiprocessing
import multiprocessing.util
import os
import resource
import signal
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from common import telling
from common.collected import collected
from common.measure import median

from leeward._core import logrings
from leeward._core.sinks import Spec
from leeward._sys.ring import RingWriter

WRITERS = 2
ROTATE = 1_000_000
KEEP = 1000
FORM = "%(asctime)s %(levelname)-8s %(process)d %(name)s: %(message)s"
TEXT = "the basket %d of writer %d was paid for, %s"
TAIL = "x" * 60

Log = Callable[..., object]
#: What a writer calls to be told how to log, and what ends it all: the lines that it refused.
World = tuple[Callable[[int], Log], Callable[[], int | None]]


def _by_logging(handler: logging.Handler) -> Log:
    handler.setFormatter(logging.Formatter(FORM))
    logger = logging.getLogger("bench")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
    return logger.info


def file_handler(where: Path) -> Iterator[World]:
    path = where / "app.log"
    yield lambda n: _by_logging(logging.FileHandler(path)), lambda: None


def per_worker(where: Path) -> Iterator[World]:
    def open_(n: int) -> Log:
        return _by_logging(
            logging.handlers.RotatingFileHandler(
                where / f"app.w{n}.log", maxBytes=ROTATE, backupCount=KEEP
            )
        )

    yield open_, lambda: None


def concurrent(where: Path) -> Iterator[World]:
    from concurrent_log_handler import ConcurrentRotatingFileHandler

    def open_(n: int) -> Log:
        path = str(where / "app.log")
        return _by_logging(ConcurrentRotatingFileHandler(path, maxBytes=ROTATE, backupCount=KEEP))

    yield open_, lambda: None


def loguru_enqueue(where: Path) -> Iterator[World]:
    from loguru import logger

    logger.remove()
    context = multiprocessing.get_context("fork")
    form = "{time:YYYY-MM-DD HH:mm:ss,SSS} {level: <8} {process} {name}: {message}"
    sink = logger.add(
        where / "app.log", enqueue=True, rotation=ROTATE, format=form, context=context
    )

    def log(text: str, *args: object) -> None:
        logger.info(text % args)

    yield lambda n: log, lambda: logger.remove(sink)


def queue_handler(where: Path) -> Iterator[World]:
    queue: Any = multiprocessing.get_context("fork").Queue()
    target = logging.handlers.RotatingFileHandler(
        where / "app.log", maxBytes=ROTATE, backupCount=KEEP
    )
    listener = logging.handlers.QueueListener(queue, target)

    def open_(n: int) -> Log:
        return _by_logging(logging.handlers.QueueHandler(queue))

    listener.start()
    yield open_, listener.stop
    target.close()


class _Ring(logging.Handler):
    def __init__(self, writer: RingWriter, spec: bytes) -> None:
        super().__init__()
        self._writer = writer
        self._sink = writer.sink(spec)

    def emit(self, record: logging.LogRecord) -> None:
        line = f"{self.format(record)}\n".encode()
        self._writer.write(self._sink, record.levelno, line, logrings.patience(record.levelno))


def leeward(where: Path) -> Iterator[World]:
    spec = Spec("file", str(where / "app.log"), rotate_bytes=ROTATE).to_json()
    with collected(WRITERS) as it:
        yield lambda n: _by_logging(_Ring(it.writer(n), spec)), it.end


CONTENDERS: dict[str, Callable[[Path], Iterator[World]]] = {
    "FileHandler": file_handler,
    "per worker": per_worker,
    "concurrent-log-handler": concurrent,
    "loguru enqueue": loguru_enqueue,
    "QueueHandler": queue_handler,
    "leeward": leeward,
}


def _write(n: int, log: Log, lines: int, said: mmap.mmap, times: Path) -> None:
    clock, taken = time.perf_counter, []
    for number in range(lines):
        began = clock()
        log(TEXT, number, n, TAIL)
        taken.append(clock() - began)
        said[8 * n : 8 * n + 8] = struct.pack("<Q", number + 1)
    taken.sort()
    times.write_text(str(taken[lines * 99 // 100]))


def _cpu() -> float:
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(it.ru_utime + it.ru_stime for it in map(resource.getrusage, who))


def measure(make: Callable[[Path], Iterator[World]], lines: int, killed: bool) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        where = Path(name)
        (where / "logs").mkdir()
        said = mmap.mmap(-1, 8 * WRITERS)
        world = make(where / "logs")
        cpu, began = _cpu(), time.perf_counter()
        open_, end = next(world)
        pids = []
        for n in range(WRITERS):
            pid = os.fork()
            if not pid:
                with contextlib.suppress(BaseException):
                    _write(n, open_(n), lines, said, where / f"times.{n}")
                    multiprocessing.util._exit_function()  # type: ignore[attr-defined]  # the queues' threads
                os._exit(0)
            pids.append(pid)
        if killed:
            half = lines // 2
            while min(struct.unpack(f"<{WRITERS}Q", said[:])) < half:
                time.sleep(0.001)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)
        refused = end() or 0
        took = time.perf_counter() - began
        next(world, None)
        logged = sum(struct.unpack(f"<{WRITERS}Q", said[:]))
        wanted = logged - refused
        there = {
            line.split(b": the ", 1)[1]
            for path in (where / "logs").iterdir()
            if not path.name.endswith((".lock", ".gz"))
            for line in path.read_bytes().splitlines()
            if line.endswith(TAIL.encode()) and b": the " in line
        }
        result = {"lost %": 100.0 * max(0, wanted - len(there)) / wanted}
        if not killed:
            result["refused %"] = 100.0 * refused / logged
            result["lines/s"] = wanted / took
            result["CPU us/line"] = (_cpu() - cpu) / wanted * 1e6
            result["p99 us"] = median(
                float((where / f"times.{n}").read_text()) * 1e6 for n in range(WRITERS)
            )
        return result


def main() -> None:
    parser = telling.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lines", type=int, default=10_000, help="of each writer")
    options = parser.parse_args()
    names = [it for it in CONTENDERS if options.only is None or it in options.only.split(",")]
    found: dict[str, dict[str, list[float]]] = {}
    for turn in range(options.rounds + 1):
        for name in list(names):
            try:
                alive = measure(CONTENDERS[name], options.lines, killed=False)
                dead = measure(CONTENDERS[name], options.lines, killed=True) if _ends(name) else {}
            except ImportError as error:
                print(f"  {name} is left out: {error} (pip install -e '.[bench]')")
                names.remove(name)
                continue
            if turn:
                for key, value in {**alive, **{f"killed: {k}": v for k, v in dead.items()}}.items():
                    found.setdefault(name, {}).setdefault(key, []).append(value)
    report = telling.Report(
        "What does a log line of one of several processes cost, and does it arrive?",
        {"writers": WRITERS, "lines of each": options.lines, "rounds": options.rounds},
        rows=[
            {"": name, **{key: median(it) for key, it in values.items()}}
            for name, values in found.items()
        ],
    )
    if "leeward" in found:
        ours = found["leeward"]
        for name, values in found.items():
            if name != "leeward":
                report.ratio(f"lines/s, leeward / {name}", values["lines/s"], ours["lines/s"])
        if "FileHandler" in found:
            peer = median(found["FileHandler"]["p99 us"])
            ratio = median(ours["p99 us"]) / peer
            report.contracts.append(telling.Contract("caller's p99 / FileHandler's", ratio, 1.2))
        lost = max(ours["lost %"] + ours["killed: lost %"])
        report.contracts.append(telling.Contract("accepted lines that were lost", lost, 0.0, "%"))
    report.remarks.append("QueueHandler, loguru: a killed writer may hang the others; not tried")
    telling.finish(report, "logs", options.keep)


def _ends(name: str) -> bool:
    """One that is killed with the queue's lock in its hand hangs all others, and this bench."""
    return name not in ("QueueHandler", "loguru enqueue")


if __name__ == "__main__":
    main()
