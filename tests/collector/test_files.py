"""A log file: rotated when it is due, found again, kept and compressed."""

from __future__ import annotations

import contextlib
import datetime
import errno
import gzip
import logging
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from logging.handlers import TimedRotatingFileHandler
from pathlib import Path
from random import Random

import pytest

from leeward._collector.files import File
from leeward._collector.shrink import Shrinker
from leeward._core.record import replace
from leeward._core.sinks import Spec
from leeward._sys.ring import Intent
from leeward.adapters.logfiles import kinds

SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 30)))


class Clock:
    """2026-11-21 12:00 UTC, until it is told otherwise."""

    now = 1_795_262_400.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def said() -> list[tuple[str, str]]:
    """(level, text) of what the operator was told."""
    return []


@pytest.fixture
def files(
    tmp_path: Path, clock: Clock, said: list[tuple[str, str]]
) -> Iterator[Callable[..., File]]:
    made: list[File] = []

    def make(**settings: object) -> File:
        spec = Spec("file", str(tmp_path / "app.log"), utc=True, **settings)  # type: ignore[arg-type]
        made.append(File(spec, Shrinker(), now=clock, say=lambda *it: said.append(it)))
        return made[-1]

    yield make
    for it in made:
        it.close()


def write(file: File, data: bytes) -> Intent:
    """As a lane does."""
    file.room()
    place = file.begin(len(data))
    assert file.append(data, place) == len(data)
    return place


def there(tmp_path: Path) -> dict[str, bytes]:
    return {it.name: it.read_bytes() for it in sorted(tmp_path.iterdir())}


def test_by_size(tmp_path: Path, files: Callable[..., File]) -> None:
    """A file never becomes longer than that, but for a line that is; the youngest is .1."""
    file = files(rotate_bytes=10)
    for n in range(6):
        write(file, b"line%d" % n)
    write(file, b"a longer line")
    assert there(tmp_path) == {
        "app.log": b"a longer line",
        "app.log.1": b"line4line5",
        "app.log.2": b"line2line3",
        "app.log.3": b"line0line1",
    }
    assert file.room() <= 10


def test_by_time(tmp_path: Path, files: Callable[..., File], clock: Clock) -> None:
    """With the first line of a new day, and not before; a successor knows the file's day."""
    file = files(rotate_every="daily", suffix="%Y-%m-%d", keep=2)
    for day in range(4):
        for text in (b"morning\n", b"evening\n"):
            write(file, b"%d %s" % (day, text))
            os.utime(tmp_path / "app.log", (clock.now, clock.now))
            clock.now += 5 * 3600
            file.close()  # as if it had died
            file = files(rotate_every="daily", suffix="%Y-%m-%d", keep=2)
        clock.now += 14 * 3600
    assert there(tmp_path) == {
        "app.log": b"3 morning\n3 evening\n",
        "app.log.2026-11-22": b"1 morning\n1 evening\n",
        "app.log.2026-11-23": b"2 morning\n2 evening\n",
    }


ZONES = ("CET-1CEST,M3.5.0,M10.5.0/3", "EST5EDT,M3.2.0,M11.1.0", "IST-5:30")
AT_TIMES = (None, datetime.time(0, 0), datetime.time(2, 30), datetime.time(13, 5, 7))


@pytest.mark.parametrize("when", ["S", "M", "H", "D", "midnight", "W0", "W3", "W6"])
def test_the_files_of_a_timed_rotating_handler(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The same names with the same lines as the standard library makes, over years of a clock
    that leaps, in zones in which clocks are changed."""
    print(f"SEED={SEED}")
    rng = Random(f"{SEED}{when}")
    monkeypatch.setattr(time, "time", clock)
    try:
        for n in range(30):
            monkeypatch.setenv("TZ", rng.choice(ZONES))
            time.tzset()
            clock.now = 1_767_225_600.0 + rng.randrange(365 * 86400)
            _play(tmp_path / str(n), clock, rng, when)
    finally:
        monkeypatch.undo()
        time.tzset()


def _play(directory: Path, clock: Clock, rng: Random, when: str) -> None:
    """Lines at odd moments, to a handler and to a file."""
    (directory / "theirs").mkdir(parents=True)
    (directory / "ours").mkdir()
    fixed = sys.version_info >= (3, 13)  # see `_core.rollover`
    interval = rng.choice((1, 2, 7)) if fixed or when in "SMHD" else 1
    keep = rng.choice((0, 2))
    handler = TimedRotatingFileHandler(
        directory / "theirs" / "app.log",
        when,
        interval,
        keep,
        utc=not fixed or rng.random() < 0.4,
        atTime=rng.choice(AT_TIMES),
    )
    handler.rolloverAt = handler.computeRollover(int(clock.now))  # its file is of today
    spec = kinds.spec(handler)
    assert spec is not None
    ours = File(replace(spec, path=str(directory / "ours" / "app.log")), Shrinker(), now=clock)
    with contextlib.closing(handler), contextlib.closing(ours):
        for n in range(12):
            line = f"line {n} at {clock.now:.0f}"
            handler.emit(logging.makeLogRecord({"msg": line}))
            if handler.rolloverAt <= int(clock.now):
                return  # the hour that comes twice: the standard library rotates no more
            write(ours, line.encode() + b"\n")
            os.utime(directory / "ours" / "app.log", (clock.now, clock.now))
            clock.now += handler.interval * rng.choice((0.01, 0.3, 0.5, 1.0, 1.1, 2.5)) + 1.0
            if n == 6:
                ours.reopen()
    assert there(directory / "ours") == there(directory / "theirs"), (interval, keep, spec)


def test_two_rotations_on_a_day_do_not_overwrite_each_other(
    tmp_path: Path, files: Callable[..., File]
) -> None:
    """As TimedRotatingFileHandler's would."""
    file = files(rotate_bytes=5, suffix="%Y")
    for n in range(3):
        write(file, b"line%d" % n)
    year = time.gmtime().tm_year
    assert sorted(there(tmp_path)) == ["app.log", f"app.log.{year}", f"app.log.{year}.1"]


def test_so_many_are_kept_and_strangers_are_left_alone(
    tmp_path: Path, files: Callable[..., File]
) -> None:
    for name in ("app.log.bak", "app.logs.1", "other.log.9", "app.log.01"):
        (tmp_path / name).write_bytes(b"a stranger's")
    file = files(rotate_bytes=5, keep=2)
    for n in range(6):
        write(file, b"line%d" % n)
    strangers = {"app.log.bak", "app.logs.1", "other.log.9", "app.log.01"}
    assert set(there(tmp_path)) - strangers == {"app.log", "app.log.1", "app.log.2"}
    assert strangers <= set(there(tmp_path))


STRANGERS = ("1-incident-of-may", "20240101.sql", "2026-11-21.sql", "7.old.gz", "12.5.2026")


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        ({"suffix": "%Y-%m-%d", "compress": True}, ["7.gz", "7", "2026-11"]),
        ({"suffix": "%d-%b-%Y"}, ["7.gz", "21-nov-2026x"]),
        ({"compress": True}, ["2026-11-21", "7.1", "7.1.gz", "20240101", "202401"]),
        ({}, ["2026-11-21.gz", "20240101", "20231231.gz", "202401", "2024", "9"]),
    ],
)
def test_names_that_only_begin_as_rotated_ones_do_are_strangers(
    tmp_path: Path, files: Callable[..., File], settings: dict[str, object], more: list[str]
) -> None:
    """However old, they are neither removed nor compressed."""
    strangers = {f"app.log.{it}": b"a stranger's" for it in [*STRANGERS, *more]}
    for name, data in strangers.items():
        (tmp_path / name).write_bytes(data)
        os.utime(tmp_path / name, (0, 0))
    file = files(rotate_bytes=5, keep=1, **settings)
    for n in range(4):
        write(file, b"line%d" % n)
        while file._shrinker:
            file._shrinker.step()
    found = there(tmp_path)
    assert {name: data for name, data in found.items() if name in strangers} == strangers
    known = settings.get("suffix") != "%d-%b-%Y"
    assert len(found) == len(strangers) + (2 if known else 4), sorted(found)


def compress_all(file: File) -> None:
    while file._shrinker:
        file._shrinker.step()
    assert not file._shrinker.errors


@pytest.mark.parametrize("suffix", ["", "%Y"])
def test_a_directory_with_the_name_of_an_old_file_is_left_alone(
    tmp_path: Path, files: Callable[..., File], said: list[object], suffix: str
) -> None:
    """Rotation, retention and compression go on around it, and nothing is said."""
    for name in ("app.log.2023", "app.log.2022.gz"):
        (tmp_path / name).mkdir()
    (tmp_path / "app.log.2021").symlink_to(tmp_path / "app.log.2023")
    (tmp_path / "app.log.2020").write_bytes(b"an old one")
    os.utime(tmp_path / "app.log.2020", (0, 0))
    file = files(rotate_bytes=5, keep=1, compress=True, suffix=suffix)
    for n in range(4):
        write(file, b"line%d" % n)
        compress_all(file)
    strangers = {"app.log.2023", "app.log.2022.gz", "app.log.2021"}
    if not suffix:
        strangers.add("app.log.2020")
    [old] = {it.name for it in tmp_path.iterdir()} - strangers - {"app.log"}
    assert gzip.decompress((tmp_path / old).read_bytes()) == b"line2"
    assert strangers <= {it.name for it in tmp_path.iterdir()} and not said


def test_a_directory_in_the_place_of_the_youngest_is_moved_on(
    tmp_path: Path, files: Callable[..., File]
) -> None:
    (tmp_path / "app.log.1").mkdir()
    file = files(rotate_bytes=5, keep=1)
    for n in range(3):
        write(file, b"line%d" % n)
    assert (tmp_path / "app.log.1").read_bytes() == b"line1"
    assert (tmp_path / "app.log.3").is_dir()


def test_what_cannot_be_removed_stops_nothing(
    tmp_path: Path,
    files: Callable[..., File],
    said: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is told once; what is behind it is removed."""
    unlink = os.unlink
    theirs = [f"{tmp_path}/app.log.{year}" for year in (2023, 2022)]

    def sticky(path: str) -> None:
        if path in theirs:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        unlink(path)

    monkeypatch.setattr(os, "unlink", sticky)
    for age, name in enumerate([*theirs, f"{tmp_path}/app.log.2020"]):
        Path(name).write_bytes(b"an old one")
        os.utime(name, (1000 - age, 1000 - age))
    file = files(rotate_bytes=5, keep=1, suffix="%Y")
    for n in range(3):
        write(file, b"line%d" % n)
    assert said == [
        ("warning", f"{theirs[0]}: cannot be removed: Operation not permitted, and 1 more")
    ]
    assert not (tmp_path / "app.log.2020").exists()
    del theirs[0]
    write(file, b"line3")
    theirs.append(f"{tmp_path}/app.log.2019")
    Path(theirs[-1]).write_bytes(b"an old one")
    os.utime(theirs[-1], (0, 0))
    write(file, b"line4")
    assert len(said) == 2


def test_what_was_left_half_done_and_cannot_be_removed_holds_no_line(
    tmp_path: Path, files: Callable[..., File], said: list[tuple[str, str]]
) -> None:
    part = tmp_path / "app.log.gz.part"
    part.mkdir()
    write(files(compress=True), b"line\n")
    assert said == [("warning", f"{part}: cannot be removed: Is a directory")]


def test_a_batch_is_found_under_a_stranger_s_name(
    tmp_path: Path, files: Callable[..., File]
) -> None:
    """logrotate may have renamed the file, while the collector was dead."""
    file = files(suffix="%Y-%m-%d")
    write(file, b"before\n")
    place = write(file, b"the batch\n")
    file.close()
    (tmp_path / "app.log").rename(tmp_path / "app.log.1")
    assert files(suffix="%Y-%m-%d").find(place, b"the batch\n")


def test_compressed_a_little_at_a_time(tmp_path: Path) -> None:
    """While the next rotations go on; content, mode and time stay."""
    shrinker = Shrinker()
    spec = Spec("file", str(tmp_path / "app.log"), rotate_bytes=300_000, compress=True)
    file = File(spec, shrinker)
    parts = [os.urandom(150_000) * 2 for _ in range(4)]
    for part in parts:
        write(file, part)
        shrinker.step()
        shrinker.step()
    while shrinker:
        shrinker.step()
    assert not shrinker.errors
    names = sorted(there(tmp_path))
    assert names == ["app.log", "app.log.1.gz", "app.log.2.gz", "app.log.3.gz"]
    for number in (1, 2, 3):
        data = gzip.decompress((tmp_path / f"app.log.{number}.gz").read_bytes())
        assert data == parts[3 - number]
    file.close()


def test_what_cannot_be_compressed_stays(tmp_path: Path) -> None:
    """And is told."""
    shrinker = Shrinker()
    (tmp_path / "app.log.1").write_bytes(b"x" * 1000)
    (tmp_path / "app.log.gz.part").mkdir()
    for number in (1, 7):  # of which the other was removed meanwhile
        name = str(tmp_path / f"app.log.{number}")
        shrinker.add(str(tmp_path / "app.log"), name, lambda: [str(tmp_path / "app.log.1")])
    while shrinker:
        shrinker.step()
    assert len(shrinker.errors) == 1
    assert (tmp_path / "app.log.1").read_bytes() == b"x" * 1000


def test_what_has_the_inode_of_a_removed_file_is_not_compressed(tmp_path: Path) -> None:
    """The file that is written to, a compressed one: only what was rotated is."""
    for heir in ("app.log", "app.log.1.gz"):
        shrinker = Shrinker()
        file = File(Spec("file", str(tmp_path / "app.log"), compress=True), shrinker)
        (tmp_path / "app.log.1").write_bytes(b"x" * 1000)
        file.tidy()
        os.rename(tmp_path / "app.log.1", tmp_path / heir)
        while shrinker:
            shrinker.step()
        assert there(tmp_path) == {heir: b"x" * 1000}
        os.unlink(tmp_path / heir)


def begun(tmp_path: Path) -> dict[str, bytes]:
    """What old files hold, by the part of their names that says when each was begun."""
    found = {}
    for path in tmp_path.iterdir():
        if path.name != "app.log":
            data = path.read_bytes()
            found[path.name] = gzip.decompress(data) if path.suffix == ".gz" else data
    return dict(sorted(found.items()))


def called(when: float, more: str = ".log") -> str:
    return f"app.{datetime.datetime.fromtimestamp(when):%Y-%m-%d_%H-%M-%S_%f}{more}"


def test_called_by_when_they_were_begun(
    tmp_path: Path, files: Callable[..., File], clock: Clock
) -> None:
    """As loguru has it: microseconds, before the ending, and a number where a name is taken; a
    successor knows when the file was begun."""
    rules = {"begun": True, "rotate_bytes": 10}
    file = files(**rules)
    first = clock.now
    write(file, b"line0")
    clock.now += 60
    file.close()  # as if it had died
    file = files(**rules)
    write(file, b"line1")
    (tmp_path / called(first)).write_bytes(b"a stranger's")
    (tmp_path / called(first, ".2.log.gz")).write_bytes(gzip.compress(b"another's"))
    clock.now += 60
    write(file, b"line2")
    assert (tmp_path / "app.log").read_bytes() == b"line2"
    try:
        os.getxattr(tmp_path / "app.log", "user.loguru_crtime")
    except OSError:
        pytest.skip("no extended attributes here")
    assert begun(tmp_path) == {
        called(first, ".2.log.gz"): b"another's",
        called(first, ".3.log"): b"line0line1",
        called(first): b"a stranger's",
    }


@pytest.mark.parametrize("noted", [b"nan", b"inf", b"-1e300", b"yesterday", b"1e18"])
def test_whatever_was_noted_of_its_beginning(
    tmp_path: Path, files: Callable[..., File], noted: bytes
) -> None:
    """The collector writes on, and the old file has a name."""
    path = tmp_path / "app.log"
    path.write_bytes(b"line0")
    try:
        os.setxattr(path, "user.loguru_crtime", noted)
    except OSError:
        pytest.skip("no extended attributes here")
    write(files(begun=True, rotate_bytes=5), b"line1")
    assert list(begun(tmp_path).values()) == [b"line0"]


def test_kept_for_a_time(tmp_path: Path, files: Callable[..., File], clock: Clock) -> None:
    """So long after their last line, and what no rotation has named for ever."""
    stranger = tmp_path / "app.error.log"
    stranger.write_bytes(b"a stranger's")
    os.utime(stranger, (0, 0))
    file = files(begun=True, rotate_bytes=5, keep_for=100, compress=True)
    for n in range(6):
        write(file, b"line%d" % n)
        os.utime(tmp_path / "app.log", (clock.now, clock.now))
        clock.now += 40
        while file._shrinker:
            file._shrinker.step()
    # Of 120 s ago and older none, when the last was begun.
    assert list(begun(tmp_path).values()) == [b"line3", b"line4", b"a stranger's"]


@pytest.mark.parametrize("what", ["whole", "half", "nothing", "behind another's", "gone"])
def test_what_became_of_a_batch(tmp_path: Path, files: Callable[..., File], what: str) -> None:
    """Whole: found, under whatever name; in part: taken back; not at all: so."""
    path = tmp_path / "app.log"
    file = files()
    write(file, b"before\n")
    data = b"the batch\n" * 3
    place = file.begin(len(data))
    file.close()
    written = {"whole": data, "half": data[:11], "nothing": b"", "gone": data}
    with open(path, "ab") as end:
        end.write(written.get(what, b"another's line\n" + data))
    if what == "whole":
        path.rename(tmp_path / "app.log.1")
    elif what == "gone":
        path.unlink()
    found = files().find(place, data)
    assert found == (what in ("whole", "behind another's"))
    if what in ("half", "nothing"):
        assert path.read_bytes() == b"before\n"
