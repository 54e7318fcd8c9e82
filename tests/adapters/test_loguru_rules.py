"""What the collector is told of a sink of loguru, and that it does the same."""

from __future__ import annotations

import datetime
import gzip
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from leeward._collector.files import File
from leeward._collector.shrink import Shrinker
from leeward._core.sinks import Spec
from leeward.adapters.logfiles import loguru_rules

pytest.importorskip("loguru")

SIZE = {"rotation": 1000}
HALF_PAST_TWO = datetime.time(14, 30, tzinfo=datetime.UTC)


def sink_of(path: str, **settings: Any) -> Any:
    from loguru._file_sink import FileSink

    return FileSink(path, delay=True, **settings)


def spec_of(path: str, **settings: Any) -> Spec | None:
    return loguru_rules.spec(sink_of(path, **settings), path)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (SIZE, {"rotate_bytes": 1000}),
        ({"rotation": "30 MB"}, {"rotate_bytes": 30_000_000}),
        ({"rotation": "0.5 KiB"}, {"rotate_bytes": 512}),
        ({"rotation": "1 hour"}, {"when": "S", "interval": 3600}),
        ({"rotation": datetime.timedelta(days=2)}, {"when": "S", "interval": 172800}),
        ({"rotation": "hourly"}, {"rotate_every": "hourly"}),
        ({"rotation": "daily"}, {"rotate_every": "daily"}),
        ({"rotation": "weekly"}, {"rotate_every": "weekly"}),
        ({"rotation": "monthly"}, {"rotate_every": "monthly"}),
        ({"rotation": "00:00"}, {"when": "MIDNIGHT", "interval": 86400}),
        ({"rotation": "14:30"}, {"when": "MIDNIGHT", "interval": 86400, "at": 52200}),
        (
            {"rotation": HALF_PAST_TWO},
            {"when": "MIDNIGHT", "interval": 86400, "at": 52200, "utc": True},
        ),
        ({"rotation": "sunday"}, {"when": "W6", "interval": 604800}),
        ({"rotation": "w0 at 02:30"}, {"when": "W0", "interval": 604800, "at": 9000}),
        ({**SIZE, "retention": 3}, {"rotate_bytes": 1000, "keep": 3}),
        ({**SIZE, "retention": "10 days"}, {"rotate_bytes": 1000, "keep_for": 864000}),
        ({**SIZE, "compression": "gz"}, {"rotate_bytes": 1000, "compress": True}),
        ({**SIZE, "errors": "replace", "watch": True, "buffering": 8192}, {"rotate_bytes": 1000}),
        ({"mode": "w"}, {}),
    ],
)
def test_what_the_collector_is_told(tmp_path: Path, given: Any, told: Any) -> None:
    """By the words, numbers and times that loguru takes."""
    path = str(tmp_path / "app.log")
    spec = spec_of(path, **given)
    assert spec == Spec("file", path, begun=True, **told)
    assert spec is not None and Spec.from_json(spec.to_json()) == spec


def own(*args: Any) -> Any:
    """A rule of the application's own."""


@pytest.mark.parametrize(
    "given",
    [
        {"rotation": own},
        {**SIZE, "retention": own},
        {**SIZE, "compression": own},
        {**SIZE, "compression": "zip"},
        {**SIZE, "compression": "tar.gz"},
        {**SIZE, "retention": 0},
        {**SIZE, "opener": own},
        {**SIZE, "newline": "\r\n"},
        {"rotation": "yearly"},
        {"rotation": 0.5},
        {"rotation": float("inf")},
        {"rotation": "10 ms"},
        {"rotation": datetime.time(1, 2, 3, 4)},
        {"rotation": datetime.time(1, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))},
        {"mode": "w", "retention": 3},
    ],
)
def test_what_only_the_sink_knows(tmp_path: Path, given: Any) -> None:
    assert spec_of(str(tmp_path / "app.log"), **given) is None


def test_a_name_with_the_time_in_it(tmp_path: Path) -> None:
    """Each file has another, so there is no one file for all."""
    sink = sink_of(str(tmp_path / "{time}.log"), **SIZE)
    assert loguru_rules.spec(sink, sink._create_path()) is None


def test_a_class_of_the_applications_own(tmp_path: Path) -> None:
    kind: Any = type(sink_of("/a"))

    class Mine(kind):  # type: ignore[misc]
        pass

    path = str(tmp_path / "app.log")
    assert loguru_rules.spec(Mine(path, delay=True, **SIZE), path) is None


class Message(str):
    record: Any = None


def by_loguru(path: Path, lines: list[str], **settings: Any) -> None:
    sink = sink_of(str(path), encoding="utf8", **settings)
    sink._create_dirs(str(path))
    for line in lines:
        message = Message(line)
        message.record = {"time": datetime.datetime.now().astimezone()}
        sink.write(message)
    sink.stop()


def by_the_collector(path: Path, lines: list[str], spec: Spec) -> None:
    shrinker = Shrinker()
    file = File(spec, shrinker)
    for line in lines:
        file.room()
        place = file.begin(len(line))
        file.append(line.encode(), place)
    while shrinker:
        shrinker.step()
    file.close()


def pattern(name: str) -> str:
    """Without the digits of its time."""
    return "".join("0" if it.isdigit() else it for it in name)


@pytest.mark.parametrize("compression", [None, "gz"])
@pytest.mark.parametrize("retention", [None, 2, "1 hour"])
def test_the_same_files_as_loguru(tmp_path: Path, compression: Any, retention: Any) -> None:
    """Rotated by size: the same lines in as many files with names of the same form."""
    settings = {"rotation": 100, "retention": retention, "compression": compression}
    lines = [f"line {n} {'x' * (n % 40)}\n" for n in range(60)]
    spec = spec_of(str(tmp_path / "ours" / "app.log"), **settings)
    assert spec is not None
    (tmp_path / "ours").mkdir()
    by_loguru(tmp_path / "theirs" / "app.log", lines, **settings)
    by_the_collector(tmp_path / "ours" / "app.log", lines, spec)
    assert of(tmp_path / "ours") == of(tmp_path / "theirs")
    assert len(of(tmp_path / "ours")) == (3 if retention == 2 else 17)


def of(folder: Path) -> list[tuple[str, str]]:
    found = []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
        found.append((pattern(path.name), text))
    return found


@pytest.fixture
def utc() -> Iterator[None]:
    """What is local time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    "rotation", ["hourly", "daily", "weekly", "monthly", "00:00", "14:30", "sunday", "90 min"]
)
def test_the_same_moments_as_loguru(tmp_path: Path, utc: None, rotation: str) -> None:
    """Of a file that was begun then, the last moment before it is put away, and the first after."""
    begun = datetime.datetime(2026, 11, 21, 12, 0, 5, tzinfo=datetime.UTC)  # a Saturday
    path = tmp_path / "app.log"
    spec = spec_of(str(path), rotation=rotation)
    assert spec is not None
    now = begun.timestamp()
    file = File(spec, Shrinker(), now=lambda: now)
    file.room()
    file.append(b"x\n", file.begin(2))
    rotates: Callable[..., bool] = sink_of(str(path), rotation=rotation)._rotation_function
    for hours in [*range(1, 60), 24 * 8, 24 * 30]:
        at = begun + datetime.timedelta(hours=hours / 2, seconds=-5)
        now = at.timestamp()
        message = Message("y\n")
        message.record = {"time": at}
        with open(path) as opened:
            theirs = rotates(message, opened)
        before = len(list(tmp_path.iterdir()))
        file.room()
        file.append(b"y\n", file.begin(2))
        assert (len(list(tmp_path.iterdir())) > before) == theirs, at
        if theirs:
            break
    else:
        pytest.fail("never rotated")
    file.close()
