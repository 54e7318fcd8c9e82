"""`leeward.logs.Handler`: the ring in a worker, an ordinary handler elsewhere."""

from __future__ import annotations

import gc
import io
import logging
import logging.config
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from leeward import logs
from leeward._core.sinks import Spec
from leeward._sys import funnel, ring


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    it = logging.Logger("shop", logging.DEBUG)
    yield it
    while it.handlers:
        it.handlers.pop().close()
    gc.collect()  # with it go descriptors that another test might count


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[ring.RingReader]:
    """This process is the worker of slot 2."""
    monkeypatch.setenv("LEEWARD_INSTANCE", "/run/it:1:2")
    monkeypatch.setenv("LEEWARD_SLOT", "2")
    monkeypatch.setenv("LEEWARD_GENERATION", "5")
    fd = ring.create(1 << 16)
    writer, reader = ring.RingWriter(fd), ring.RingReader(fd)
    os.close(fd)
    funnel.attach(lambda: writer)
    yield reader
    funnel.attach(None)
    logs.attach(b"")


def lines(reader: ring.RingReader) -> list[str]:
    return [record.line.decode() for record in reader.read()]


def ring_of_this_process() -> ring.RingWriter:
    it = funnel.current()
    assert it is not None and isinstance(it._writer, ring.RingWriter)
    return it._writer


def specs(reader: ring.RingReader) -> list[Spec]:
    return [Spec.from_json(it) for it in reader.sinks()]


# --- in a worker --------------------------------------------------------------------------


def test_a_record_carries_the_identity(reader: ring.RingReader, logger: logging.Logger) -> None:
    """As leeward's own lines do, in one record of the ring, with its level."""
    logger.addHandler(logs.Handler("/var/log/app.log"))
    logger.warning("said %d", 1)
    (record,) = reader.read()
    assert re.fullmatch(
        rf"[\d-]+ [\d:.]+ warning  worker=2 gen=5 pid={os.getpid()} shop: said 1\n",
        record.line.decode(),
    )
    assert record.level == logging.WARNING


@pytest.mark.parametrize(
    ("given", "sink"),
    [
        ({}, {}),
        ({"maxBytes": 1000, "backupCount": 3}, {"rotate_bytes": 999, "keep": 3}),
        ({"maxBytes": 1000}, {}),
        (
            {"when": "midnight", "backupCount": 7, "utc": True},
            {"rotate_every": "daily", "keep": 7, "utc": True, "suffix": "%Y-%m-%d"},
        ),
        ({"per_worker": True}, {"path": "/var/log/app.w2.log"}),
    ],
)
def test_the_collector_is_told_how_to_rotate(
    reader: ring.RingReader, logger: logging.Logger, given: Any, sink: Any
) -> None:
    """By the names that `logging` has for it."""
    logger.addHandler(logs.Handler("/var/log/app.log", **given))
    logger.info("one")
    assert specs(reader) == [Spec("file", **{"path": "/var/log/app.log", **sink})]


def test_without_a_file_lines_go_where_leewards_go(
    reader: ring.RingReader, logger: logging.Logger
) -> None:
    """To stderr, or to that of --log-file."""
    logger.addHandler(logs.Handler())
    logger.info("one")
    assert specs(reader) == [Spec("stderr")]
    logs.attach(Spec("file", "/var/log/all.log").to_json())
    logger.handlers[0].close()
    logger.info("two")
    assert specs(reader)[1] == Spec("file", "/var/log/all.log")
    assert len(lines(reader)) == 2


def test_nothing_steers_a_terminal_or_ends_a_line(
    reader: ring.RingReader, logger: logging.Logger
) -> None:
    """Whatever the formatter; what follows the first line of a record is marked."""
    handler = logs.Handler("/var/log/app.log")
    logger.addHandler(handler)
    for formatter in (None, logging.Formatter("%(levelname)s %(message)s %(who)s")):
        handler.setFormatter(formatter)
        try:
            raise ValueError("no\n2026-11-21 info forged \x1b[31m")
        except ValueError:
            logger.exception("one\ntwo \x1b[2J\x85\u2028", extra={"who": "a\x07"})
    for text in lines(reader):
        first, *rest = text.removesuffix("\n").split("\n")
        assert "one\\ntwo \\e[2J\\x85\\u2028" in first
        assert rest and all("| " in line for line in rest)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028]", text)


def test_what_is_forked_appends_for_itself(
    reader: ring.RingReader, logger: logging.Logger, tmp_path: Path
) -> None:
    """The parent's ring is not its own, and its own file is the one that has the name."""
    path = tmp_path / "app.log"
    logger.addHandler(logs.Handler(path))
    logger.info("parent")
    pid = os.fork()
    if pid == 0:
        funnel.attach(None)
        logger.info("child")
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    logger.info("again")
    assert [line.split()[-1] for line in lines(reader)] == ["parent", "again"]
    assert path.read_text().split()[-1] == "child" and f"pid={pid}" in path.read_text()


def test_a_closed_one_opens_again(reader: ring.RingReader, logger: logging.Logger) -> None:
    """As `logging.shutdown` may come before the last lines."""
    logger.addHandler(logs.Handler("/var/log/app.log"))
    for text in ("one", "two"):
        logger.info(text)
        logger.handlers[0].flush()
        logger.handlers[0].close()
    assert len(lines(reader)) == 2 and len(specs(reader)) == 1


def test_a_line_that_is_refused_is_counted(logger: logging.Logger, reader: ring.RingReader) -> None:
    """A full ring holds nobody up; those of WARNING and above have room when others have none."""
    logger.addHandler(logs.Handler("/var/log/app.log"))
    for _ in range(100):
        logger.info("x" * 1000)
    logger.warning("why")
    *_, last = lines(reader)
    assert last.endswith("why\n")
    refused = ring_of_this_process().refused()
    assert refused[1] > 0 and refused[2] == 0


def test_a_file_too_many_is_appended_to(
    reader: ring.RingReader, logger: logging.Logger, tmp_path: Path
) -> None:
    """A ring has so many sinks; what has none is written all the same."""
    for number in range(ring.SINKS + 1):
        logger.addHandler(logs.Handler(tmp_path / f"{number}.log"))
    logger.info("one")
    logger.info("two")
    assert len(lines(reader)) == 2 * ring.SINKS
    assert (tmp_path / f"{ring.SINKS}.log").read_text().count("shop:") == 2


# --- anywhere else ------------------------------------------------------------------------


def test_in_a_plain_process_it_is_an_ordinary_handler(
    logger: logging.Logger, tmp_path: Path
) -> None:
    """It writes at once, and rotates by itself."""
    path = tmp_path / "app.log"
    logger.addHandler(logs.Handler(path, maxBytes=300, backupCount=2, per_worker=True))
    for number in range(10):
        logger.info("%d %s", number, "x" * 40)
    assert path.exists() and (tmp_path / "app.log.1").exists()
    assert f"pid={os.getpid()} shop: 9 x" in path.read_text()
    assert all(it.stat().st_size < 300 for it in tmp_path.iterdir())


def test_in_a_plain_process_it_may_rotate_at_midnight(
    logger: logging.Logger, tmp_path: Path
) -> None:
    """What was written yesterday is put away under its day."""
    path = tmp_path / "app.log"
    path.write_text("of 2001\n")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    logger.addHandler(logs.Handler(path, when="midnight", utc=True))
    logger.info("today")
    assert (tmp_path / "app.log.2001-09-09").read_text() == "of 2001\n"


def test_in_a_plain_process_lines_go_to_stderr(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To `sys.stderr`, which tests replace."""
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    logger.addHandler(logs.Handler(level="WARNING"))
    logger.info("low")
    logger.error("high")
    assert "low" not in stderr.getvalue() and stderr.getvalue().endswith("shop: high\n")


def test_dict_config_takes_it(tmp_path: Path) -> None:
    """Where a handler of `logging` stood, with the same arguments."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {
                "file": {
                    "class": "leeward.logs.Handler",
                    "filename": tmp_path / "app.log",
                    "maxBytes": 1000,
                    "backupCount": 1,
                    "level": "INFO",
                }
            },
            "loggers": {"tests.logs": {"handlers": ["file"], "level": "DEBUG"}},
        }
    )
    logger = logging.getLogger("tests.logs")
    logger.info("one")
    logger.debug("two")
    assert (tmp_path / "app.log").read_text().endswith("tests.logs: one\n")
    handler = logger.handlers[0]
    logger.removeHandler(handler)
    handler.close()


@pytest.mark.parametrize(
    "given",
    [
        {"filename": "a", "when": "H"},
        {"filename": "a", "when": "midnight", "maxBytes": 1},
        {"maxBytes": 1},
        {"when": "midnight"},
        {"per_worker": True},
        {"filename": "a\0b"},
        {"filename": "a\ud900"},
        {"filename": "a", "maxBytes": 10, "backupCount": -1},
        {"filename": "a", "maxBytes": -1, "backupCount": 1},
    ],
)
def test_what_cannot_be_meant_is_refused(given: Any) -> None:
    """At once, and not when the first line comes."""
    with pytest.raises(ValueError):
        logs.Handler(**given)
