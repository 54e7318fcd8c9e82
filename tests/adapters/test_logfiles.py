"""What becomes of an application's file handlers: who writes, who rotates, what stays theirs."""

from __future__ import annotations

import copy
import datetime
import errno
import gc
import logging
import logging.config
import os
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from importlib.util import find_spec
from logging.handlers import (
    RotatingFileHandler,
    TimedRotatingFileHandler,
    WatchedFileHandler,
)
from pathlib import Path
from typing import Any

import pytest
from full_disk import full_at

from leeward._core import logrings
from leeward._core.config import Config
from leeward._core.sinks import Spec
from leeward._sys import funnel, ring
from leeward._sys.sharing import SharedStream
from leeward.adapters.logfiles import refused, standard
from leeward.adapters.logfiles.place import Place

#: When this process did, or a little later.
BEGAN = time.time()


class Worker:
    """This process as a worker with a ring, and what it has said."""

    def __init__(self, log_files: str = "shared") -> None:
        self.place = Place(Config("t", log_files=log_files), os.getpid(), BEGAN)
        self.said: list[str] = []
        fd = ring.create(1 << 18)
        self.writer, self.reader = ring.RingWriter(fd), ring.RingReader(fd)
        os.close(fd)
        standard.install(self.place)

    def begin(self, slot: int = 2) -> None:
        funnel.attach(lambda: self.writer)
        self.place.begin(slot)
        standard.take_all(self.place)
        self.place.say(self.said.append)

    def lines(self) -> list[str]:
        return [record.line.decode() for record in self.reader.read()]

    def specs(self) -> list[Spec]:
        return [Spec.from_json(it) for it in self.reader.sinks()]

    def end(self) -> None:
        standard.uninstall()
        funnel.attach(None)


@pytest.fixture
def worker() -> Iterator[Worker]:
    it = Worker()
    yield it
    it.end()


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    it = logging.Logger("shop", logging.DEBUG)
    yield it
    while it.handlers:
        it.handlers.pop().close()
    gc.collect()  # with it go descriptors that another test might count


def handler_of(logger: logging.Logger, handler: logging.FileHandler) -> Any:
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    return handler


# --- which way --------------------------------------------------------------------------


#: Of a TimedRotatingFileHandler, where nothing else is said.
TIMED = {"interval": 86400, "at": 86400, "suffix": "%Y-%m-%d"}


class Counted(RotatingFileHandler):
    def shouldRollover(self, record: logging.LogRecord) -> int:
        return super().shouldRollover(record)


def make(kind: str, path: str) -> logging.FileHandler:
    sized = {"maxBytes": 1000, "backupCount": 3}
    if kind == "namer":
        handler = RotatingFileHandler(path, **sized)  # type: ignore[arg-type]
        handler.namer = lambda name: f"{name}.old"
        return handler
    if kind == "words":
        handler = TimedRotatingFileHandler(path, "midnight", backupCount=7)
        handler.suffix = "%d-%b-%Y"
        return handler
    made: dict[str, Any] = {
        "rotating": lambda: RotatingFileHandler(path, **sized),  # type: ignore[arg-type]
        "delayed": lambda: RotatingFileHandler(path, delay=True, **sized),  # type: ignore[arg-type]
        "midnight": lambda: TimedRotatingFileHandler(path, "midnight", backupCount=7, utc=True),
        "emptied": lambda: logging.FileHandler(path, "w"),
        "subclass": lambda: Counted(path, **sized),  # type: ignore[arg-type]
        "hourly": lambda: TimedRotatingFileHandler(path, "H"),
        "every-other-day": lambda: TimedRotatingFileHandler(path, "midnight", interval=2),
        "fridays": lambda: TimedRotatingFileHandler(path, "W4", atTime=datetime.time(12, 1, 30)),
        "strange": lambda: TimedRotatingFileHandler(path, "S", interval=0.5),  # type: ignore[arg-type]
        "append": lambda: logging.FileHandler(path),
        "watched": lambda: WatchedFileHandler(path),
        "unlimited": lambda: RotatingFileHandler(path),
        "nowhere to put it": lambda: RotatingFileHandler(path, maxBytes=1000),
    }
    handler = made[kind]()
    assert isinstance(handler, logging.FileHandler)
    return handler


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("kind", "sink"),
    [
        ("rotating", {"rotate_bytes": 999, "keep": 3}),
        ("delayed", {"rotate_bytes": 999, "keep": 3}),
        ("midnight", {**TIMED, "when": "MIDNIGHT", "keep": 7, "utc": True}),
        ("hourly", {**TIMED, "when": "H", "interval": 3600, "suffix": "%Y-%m-%d_%H"}),
        ("every-other-day", {**TIMED, "when": "MIDNIGHT", "interval": 2 * 86400}),
        ("fridays", {**TIMED, "when": "W4", "interval": 7 * 86400, "at": 12 * 3600 + 90}),
        ("emptied", {}),
    ],
)
def test_what_the_collector_can_rotate_goes_to_it(
    worker: Worker, logger: logging.Logger, tmp_path: Path, when: str, kind: str, sink: Any
) -> None:
    """With the handler's own rules, whether it was made before this process was a worker."""
    path = str(tmp_path / "app.log")
    if when == "after":
        worker.begin()
    handler_of(logger, make(kind, path))
    if when == "before":
        worker.begin()
    logger.info("one")
    logger.error("two %s", "ü")
    assert worker.lines() == ["INFO one\n", "ERROR two ü\n"]
    due = getattr(logger.handlers[0], "rolloverAt", 0)
    assert worker.specs() == [Spec("file", path, permissions=0o644, due=due, **sink)]
    assert worker.said == [
        f"log file {path} ({type(logger.handlers[0]).__name__}): "
        "written by the collector, for all workers"
    ]


@pytest.mark.parametrize("kind", ["subclass", "namer", "strange", "words"])
def test_what_only_it_can_rotate_stays_its_own(
    worker: Worker, logger: logging.Logger, tmp_path: Path, kind: str
) -> None:
    """Its own stream and its own code; the collector hears nothing of it."""
    path = str(tmp_path / "app.log")
    handler_of(logger, make(kind, path))
    worker.begin()
    logger.info("one")
    assert Path(path).read_text() == "INFO one\n"
    assert worker.lines() == [] and worker.specs() == []
    assert "rotated by its own code, in one worker at a time" in worker.said[0]


@pytest.mark.parametrize("kind", ["append", "watched", "unlimited", "nowhere to put it"])
def test_what_appends_is_left_alone(
    worker: Worker, logger: logging.Logger, tmp_path: Path, kind: str
) -> None:
    """It is right as it is, and nothing is said."""
    worker.begin()
    handler = handler_of(logger, make(kind, str(tmp_path / "app.log")))
    logger.info("one")
    assert (tmp_path / "app.log").read_text() == "INFO one\n"
    assert not isinstance(handler.stream, SharedStream)
    assert worker.specs() == [] and worker.said == []


def test_a_device_is_left_alone(worker: Worker, logger: logging.Logger) -> None:
    """Nobody could rotate /dev/null."""
    worker.begin()
    handler_of(logger, RotatingFileHandler("/dev/null", maxBytes=10, backupCount=1))
    logger.info("one")
    assert worker.specs() == [] and worker.said == []


def test_where_there_is_no_room_it_rotates_by_itself(
    worker: Worker, logger: logging.Logger, tmp_path: Path
) -> None:
    """A ring has so many sinks; the 65th file is written by the workers in turn."""
    worker.begin()
    for number in range(ring.SINKS + 2):
        handler_of(logger, make("rotating", str(tmp_path / f"{number}.log")))
    logger.info("one")
    assert len(worker.lines()) == ring.SINKS
    for number in (ring.SINKS, ring.SINKS + 1):
        assert (tmp_path / f"{number}.log").read_text() == "INFO one\n"
    assert "one worker at a time" in worker.said[-1]


def test_what_cannot_be_understood_is_left_alone(
    worker: Worker, logger: logging.Logger, tmp_path: Path
) -> None:
    """A handler that is not as `logging` makes them is no reason not to serve."""

    class Strange(RotatingFileHandler):
        @property
        def maxBytes(self) -> int:  # type: ignore[override]
            raise RuntimeError("not yet")

        @maxBytes.setter
        def maxBytes(self, value: int) -> None:
            pass

        def emit(self, record: logging.LogRecord) -> None:
            logging.FileHandler.emit(self, record)

    handler_of(logger, Strange(tmp_path / "app.log", maxBytes=10, backupCount=2))
    worker.begin()
    logger.info("one")
    assert (tmp_path / "app.log").read_text() == "INFO one\n"
    assert worker.said[0].endswith("(Strange): left as it is (not yet)")


# --- what stays the handler's own -----------------------------------------------------------


def test_formatter_filter_level_and_terminator_are_its_own(
    worker: Worker, logger: logging.Logger, tmp_path: Path
) -> None:
    """All that is not the file stays with the handler."""
    worker.begin()
    handler = handler_of(logger, make("rotating", str(tmp_path / "app.log")))
    handler.setLevel(logging.WARNING)
    handler.addFilter(lambda record: "secret" not in record.getMessage())
    handler.terminator = "\r\n"
    for text in ("one", "a secret"):
        logger.warning(text)
    logger.info("too low")
    try:
        raise KeyError("gone")
    except KeyError:
        logger.exception("two")
    first, second = worker.lines()
    assert first == "WARNING one\r\n"
    assert second.startswith("ERROR two\nTraceback") and second.endswith("'gone'\r\n")


def test_a_subclass_that_emits_in_its_own_way_is_heard(
    worker: Worker, logger: logging.Logger, tmp_path: Path
) -> None:
    """Its own `emit`, and one that somebody put on the object."""

    class Loud(RotatingFileHandler):
        def emit(self, record: logging.LogRecord) -> None:
            record.msg = str(record.msg).upper()
            super().emit(record)

    one = handler_of(logger, Loud(tmp_path / "one.log", maxBytes=1000, backupCount=1))
    two = handler_of(logger, make("rotating", str(tmp_path / "two.log")))
    twice: Any = two.emit
    two.emit = lambda record: (twice(record), twice(record))
    worker.begin()
    logger.info("x")
    assert worker.lines() == ["INFO X\n", "INFO X\n", "INFO X\n"]
    assert isinstance(one.stream, SharedStream)


def test_the_level_is_that_of_the_record(
    worker: Worker, logger: logging.Logger, tmp_path: Path
) -> None:
    """By which the ring decides what goes first when it is full."""
    worker.begin()
    handler_of(logger, make("rotating", str(tmp_path / "app.log")))
    logger.info("one")
    logger.error("two")
    assert [record.level for record in worker.reader.read()] == [20, 40]


def test_long_lines_are_kept_whole(worker: Worker, logger: logging.Logger, tmp_path: Path) -> None:
    """What is too long for the ring is appended to the file in one piece."""
    worker.begin()
    path = tmp_path / "app.log"
    handler_of(logger, make("rotating", str(path)))
    for size in (10, 100_000, 200_000):
        logger.info("x" * size)
    assert [len(line) for line in worker.lines()] == [16, 100_006]
    assert len(path.read_text()) == 200_006


def test_a_handler_that_is_dropped_goes_at_once(worker: Worker, tmp_path: Path) -> None:
    """What was done to it makes no cycle of it, and a closed one writes no more."""
    worker.begin()
    gc.disable()
    try:
        handler = make("rotating", str(tmp_path / "app.log"))
        handler.handle(logging.makeLogRecord({"msg": "one"}))
        reference = weakref.ref(handler)
        handler.close()
        del handler
        assert reference() is None
    finally:
        gc.enable()
    assert worker.lines() == ["one\n"]


def test_dict_config_may_be_called_again(worker: Worker, tmp_path: Path) -> None:
    """Of the handlers before nothing is left; the same file is the same sink."""
    worker.begin()
    config: dict[str, Any] = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"plain": {"format": "%(message)s"}},
        "handlers": {
            "file": {
                "class": "logging.handlers.RotatingFileHandler",
                "filename": str(tmp_path / "app.log"),
                "maxBytes": 1000,
                "backupCount": 2,
                "formatter": "plain",
            }
        },
        "loggers": {"tests.logfiles": {"handlers": ["file"], "level": "INFO"}},
    }
    logger = logging.getLogger("tests.logfiles")
    try:
        for number in range(3):
            again = copy.deepcopy(config)
            if number == 2:
                again["handlers"]["file"]["filename"] = str(tmp_path / "other.log")
            logging.config.dictConfig(again)
            logger.info("%d", number)
        assert worker.lines() == ["0\n", "1\n", "2\n"]
        assert [Path(spec.path).name for spec in worker.specs()] == ["app.log", "other.log"]
    finally:
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()


# --- before the fork, and after another -------------------------------------------------------


def test_lines_of_the_import_are_appended(
    worker: Worker, logger: logging.Logger, tmp_path: Path
) -> None:
    """The zygote writes to the file of those who serve, and rotates it never."""
    path = tmp_path / "app.log"
    path.write_text("x" * 5000 + "\n")
    handler_of(logger, make("rotating", str(path)))
    logger.info("imported")
    assert path.read_text() == "x" * 5000 + "\nINFO imported\n"
    assert not (tmp_path / "app.log.1").exists()
    worker.begin()
    logger.info("served")
    assert worker.lines() == ["INFO served\n"]


def test_what_a_worker_forks_appends_to_the_file(
    worker: Worker, logger: logging.Logger, tmp_path: Path
) -> None:
    """The ring is its parent's: a child's lines go to the file itself."""
    path = tmp_path / "app.log"
    worker.begin()
    handler_of(logger, make("rotating", str(path)))
    logger.info("parent")
    pid = os.fork()
    if pid == 0:
        try:
            funnel.attach(None)
            logger.info("child")
            late = handler_of(logger, make("rotating", str(path)))
            late.handle(logging.makeLogRecord({"msg": "late", "levelname": "INFO"}))
        finally:
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert worker.lines() == ["INFO parent\n"]
    assert path.read_text() == "INFO child\nINFO late\n"


def test_a_file_is_emptied_once_by_all(logger: logging.Logger, tmp_path: Path) -> None:
    """Mode w: the first process of an instance empties it, the others and a rehearsal do not."""
    path = tmp_path / "app.log"
    path.write_text("of yesterday\n")
    os.utime(path, (time.time() - 1e6,) * 2)
    for rehearsal, left in ((True, "of yesterday\n"), (False, ""), (False, "")):
        place = Place(Config("t"), os.getpid(), BEGAN, rehearsal)
        standard.install(place)
        try:
            handler = handler_of(logger, logging.FileHandler(path, "w"))
        finally:
            standard.uninstall()
        assert path.read_text() == left
        logger.removeHandler(handler)
        handler.close()
    with path.open("a") as file:
        file.write("of today\n")
    standard.install(Place(Config("t"), os.getpid(), BEGAN))
    try:
        handler_of(logger, logging.FileHandler(path, "w"))
    finally:
        standard.uninstall()
    assert path.read_text() == "of today\n"


def test_a_new_file_at_the_start_is_begun_once(
    worker: Worker, logger: logging.Logger, tmp_path: Path
) -> None:
    """`doRollover()` in each worker: the first has an older file to put away, the others none."""
    path = tmp_path / "app.log"
    path.write_text("of yesterday\n")
    os.utime(path, (time.time() - 1e6,) * 2)
    worker.begin()
    for _ in range(3):
        handler = handler_of(logger, make("rotating", str(path)))
        standard.take(handler, worker.place)
        handler.doRollover()
        with path.open("a") as file:
            file.write("of today\n")
    assert (tmp_path / "app.log.1").read_text() == "of yesterday\n"
    assert path.read_text() == "of today\n" * 3
    assert not (tmp_path / "app.log.2").exists()


@pytest.mark.parametrize("hours", [1, -1])
def test_no_file_is_older_by_a_clock_that_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """What was written since the instance began is neither emptied nor put away, be it before the
    clock was set or after it; nor in processes that begin later."""
    path, clock = tmp_path / "app.log", time.time
    before = clock()
    forked = Place(Config("t"), os.getpid(), BEGAN)
    monkeypatch.setattr(time, "time", lambda: clock() + hours * 3600)
    for place in (forked, Place(Config("t"), os.getpid(), BEGAN)):
        for written in (before, before + hours * 3600):
            path.write_text("of today\n")
            os.utime(path, (written, written))
            assert not place.is_older(str(path))
            place.empty_once(str(path))
            assert path.read_text() == "of today\n"


@pytest.mark.parametrize("level", [-5, 100_000])
def test_levels_of_the_applications_own(
    worker: Worker, logger: logging.Logger, tmp_path: Path, level: int
) -> None:
    """None is too high, or too low, for the ring."""
    worker.begin()
    handler = handler_of(logger, make("rotating", str(tmp_path / "app.log")))
    handler.setLevel(-10)
    handler.handle(logging.makeLogRecord({"msg": "one", "levelno": level}))
    assert len(worker.lines()) == 1


# --- a full disk ------------------------------------------------------------------------------


def unwritten(worker: Worker) -> int:
    return worker.reader.refused()[logrings.UNWRITTEN]


@pytest.mark.parametrize("kind", ["subclass", "namer"])
def test_what_the_file_refuses_is_counted(
    worker: Worker,
    logger: logging.Logger,
    tmp_path: Path,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exactly, and said once, without a traceback; no part of a line is left, and none that was
    refused comes later."""
    path = tmp_path / "app.log"
    worker.begin()
    troubles: list[tuple[str, str]] = []
    worker.place.say(worker.said.append, lambda level, text: troubles.append((level, text)))
    handler_of(logger, make(kind, str(path)))
    monkeypatch.setattr(refused, "RETRY", 0.0)  # each is tried
    logger.info("first")
    with full_at(30):
        for number in range(20):
            logger.info("line %d", number)
    assert path.read_text() == "INFO first\nINFO line 0\n"
    assert unwritten(worker) == 19
    monkeypatch.setattr(refused, "RETRY", 60.0)
    with full_at(0):
        logger.info("refused")
    logger.info("refused before it is tried")
    assert unwritten(worker) == 21
    taken = vars(logger.handlers[0])["_leeward"]
    taken.refused._held_until = 0.0
    logger.info("last")
    assert path.read_text() == "INFO first\nINFO line 0\nINFO last\n"
    assert unwritten(worker) == 21
    why = os.strerror(errno.EFBIG)
    assert troubles == [
        ("error", f"log file {path}: {why}; lines are refused"),
        ("info", f"log file {path}: can be written again"),
    ]
    assert capsys.readouterr().err == ""


def test_what_nobody_can_count_is_said_by_the_handler(
    worker: Worker, logger: logging.Logger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a ring, in what a worker forks."""
    path = tmp_path / "app.log"
    worker.begin()
    handler_of(logger, make("subclass", str(path)))
    logger.info("first")
    funnel.attach(None)
    with full_at(15):
        logger.info("second")
    assert path.read_text() == "INFO first\n"
    assert "--- Logging error ---" in capsys.readouterr().err
    assert unwritten(worker) == 0


def test_a_mistake_in_a_record_is_the_handlers(
    worker: Worker, logger: logging.Logger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is no trouble of the file's."""
    worker.begin()
    handler_of(logger, make("subclass", str(tmp_path / "app.log")))
    logger.info("%d", "no number")
    assert "TypeError" in capsys.readouterr().err
    assert unwritten(worker) == 0


def test_a_rotation_that_fails_moves_no_old_file_again(
    worker: Worker, logger: logging.Logger, tmp_path: Path
) -> None:
    """Each try moves the old files by one, and removes the oldest; lines go on in the file."""
    path = tmp_path / "app.log"
    worker.begin()
    troubles: list[str] = []
    worker.place.say(worker.said.append, lambda level, text: troubles.append(text))
    handler = handler_of(logger, make("rotating", str(path)))

    def rotator(source: str, target: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    handler.rotator = rotator
    standard.take(handler, worker.place)
    for number in (1, 2, 3):
        Path(f"{path}.{number}").write_text(f"old {number}")
    for number in range(100):
        logger.info("line %d", number)
    assert path.read_text() == "".join(f"INFO line {number}\n" for number in range(100))
    assert [it.read_text() for it in sorted(tmp_path.iterdir())[1:]] == ["old 1", "old 2"]
    why = os.strerror(errno.ENOSPC)
    assert troubles == [f"log file {path}: cannot be rotated, and is not for 60 s: {why}"]
    assert unwritten(worker) == 0
    with pytest.raises(OSError):
        handler.doRollover()


def test_a_line_that_is_too_long_for_the_ring(
    worker: Worker, logger: logging.Logger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It goes to the file itself, and is counted if that does not take it."""
    path = tmp_path / "app.log"
    worker.begin()
    handler_of(logger, make("rotating", str(path)))
    logger.info("x" * (1 << 18))
    with full_at(300_000):
        logger.info("y" * (1 << 18))
    assert path.read_text() == f"INFO {'x' * (1 << 18)}\n"
    assert unwritten(worker) == 1
    assert capsys.readouterr().err == ""


LOGURU = """
import os, sys, time
from leeward._core.config import Config
from leeward.adapters.logfiles import install
install.before_loading(Config("t"), os.getpid(), time.time())
assert "loguru" not in sys.modules
from loguru import logger
logger.remove()
path = sys.argv[1]
for _ in range(2):
    logger.add(path, mode="w", format="{message}")
    logger.info("one")
    logger.remove()
install.in_worker(1, None, lambda: None)
logger.add(path + ".2", rotation=30, format="{message}")
said = []
install.say(said.append)
logger.info("x" * 20)
os.rename(path + ".2", path + ".old")  # as a sibling would
logger.info("y" * 20)
logger.info("z" * 20)
print(*said)
"""


@pytest.mark.skipif(find_spec("loguru") is None, reason="loguru is not installed")
def test_loguru_is_seen_to_when_it_is_imported(tmp_path: Path) -> None:
    """Mode w empties once; a file that a sibling has rotated gets no more lines."""
    path = tmp_path / "app.log"
    path.write_text("of yesterday\n")
    os.utime(path, (time.time() - 1e6,) * 2)
    done = subprocess.run(
        [sys.executable, "-c", LOGURU, str(path)], capture_output=True, text=True, timeout=40
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"log file {path}.2 (loguru): rotated by its own code, in one worker at a time\n"
    )
    assert path.read_text() == "one\none\n"
    assert (tmp_path / "app.log.old").read_text() == "x" * 20 + "\n"
    assert Path(f"{path}.2").read_text() == "z" * 20 + "\n"
    rest = [it for it in tmp_path.iterdir() if it.name not in ("app.log", "app.log.old")]
    assert sorted(it.read_text()[0] for it in rest) == ["y", "z"]


RINGED = """
import os, resource, sys, time
from leeward._core.config import Config
from leeward._sys import ring
from leeward.adapters.logfiles import install, refused
install.before_loading(Config("t"), os.getpid(), time.time())
from loguru import logger
logger.remove()
path = sys.argv[1]
one, two = path + "/one.log", path + "/two.log"
logger.add(one, rotation=100, format="{level} {message}", filter=lambda it: "1" in it["extra"])
logger.bind(**{"1": 1}).info("imported")
fd = ring.create(1 << 18)
writer, reader = ring.RingWriter(fd), ring.RingReader(fd)
install.in_worker(1, None, lambda: writer)
install.say(print, print)
own = {"compression": lambda it: None, "filter": lambda it: not it["extra"], "catch": False}
logger.add(two, rotation=100, format="{message}", **own)
for number in range(20):
    logger.bind(**{"1": 1}).warning("served {}", number)
for record in reader.read():
    print(record.level, record.line.decode(), end="")
print(reader.sinks()[0].decode(), open(one).read())
refused.RETRY = 0
resource.setrlimit(resource.RLIMIT_FSIZE, (5, resource.RLIM_INFINITY))
for number in range(5):
    logger.info("a line {}", number)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
logger.info("the last")
print(open(two).read(), reader.refused())
"""


@pytest.mark.skipif(find_spec("loguru") is None, reason="loguru is not installed")
def test_loguru_in_a_worker(tmp_path: Path) -> None:
    """What the collector can rotate goes to it, formatted and filtered by loguru; what only the
    sink can is written by it, and what its file refuses is counted."""
    done = subprocess.run(
        [sys.executable, "-c", RINGED, str(tmp_path)], capture_output=True, text=True, timeout=40
    )
    assert (done.returncode, done.stderr) == (0, "")
    one, two = tmp_path / "one.log", tmp_path / "two.log"
    spec = f'{{"begun":true,"kind":"file","path":"{one}","rotate_bytes":100}}'
    assert done.stdout.splitlines() == [
        f"log file {one} (loguru): written by the collector, for all workers",
        f"log file {two} (loguru): rotated by its own code, in one worker at a time",
        *(f"30 WARNING served {number}" for number in range(20)),
        f"{spec} INFO imported",
        "",
        f"error log file {two}: {os.strerror(errno.EFBIG)}; lines are refused",
        f"info log file {two}: can be written again",
        "the last",
        " (0, 0, 0, 0, 5)",
    ]


# --- a file for each ----------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", ["rotating", "append", "emptied", "midnight", "delayed"])
def test_each_worker_may_have_its_own_file(
    logger: logging.Logger, tmp_path: Path, when: str, kind: str
) -> None:
    """--log-files per-worker: app.w2.log, rotated by the handler itself."""
    worker = Worker("per-worker")
    try:
        if when == "after":
            worker.begin()
        handler_of(logger, make(kind, str(tmp_path / "app.log")))
        if when == "before":
            worker.begin()
        for number in range(30):
            logger.info("%d %s", number, "x" * 60)
        assert worker.specs() == []
        assert "app.w2.log" in worker.said[0]
        names = {it.name for it in tmp_path.iterdir() if it.stat().st_size}
        assert "app.log" not in names and "app.w2.log" in names
        assert ("app.w2.log.1" in names) == (kind in ("rotating", "delayed"))
    finally:
        worker.end()


def test_to_keep_fewer_than_none_is_to_keep_all(
    worker: Worker, logger: logging.Logger, tmp_path: Path
) -> None:
    """As in the standard library, which asks for more than 0."""
    path = str(tmp_path / "app.log")
    worker.begin()
    handler_of(logger, TimedRotatingFileHandler(path, when="S", interval=3600, backupCount=-1))
    logger.info("one")
    assert [it.keep for it in worker.specs()] == [0]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "UTF-32"])
def test_no_record_begins_with_a_mark_of_the_byte_order(
    worker: Worker, logger: logging.Logger, tmp_path: Path, encoding: str
) -> None:
    worker.begin()
    path = str(tmp_path / "app.log")
    handler_of(logger, RotatingFileHandler(path, maxBytes=1000, backupCount=1, encoding=encoding))
    logger.info("one")
    logger.info("two")
    found = [record.line.decode(encoding.replace("-sig", "")) for record in worker.reader.read()]
    assert [it.lstrip("\ufeff") for it in found] == found == ["INFO one\n", "INFO two\n"]
