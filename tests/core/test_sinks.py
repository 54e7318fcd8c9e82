"""What a log sink is, and when its file is rotated."""

from __future__ import annotations

import json
import time

import pytest

from leeward._core.config import Config
from leeward._core.sinks import (
    PERIODS,
    BadSpec,
    Spec,
    destination,
    given,
    is_due,
    of_settings,
    period,
    rotation,
    shift,
    surplus,
)


def test_a_sink_survives_its_table() -> None:
    """The same octets for the same sink; only what is not as usual is told."""
    spec = Spec("file", "/var/log/app.log", rotate_bytes=5, compress=True, suffix="%Y")
    assert Spec.from_json(spec.to_json()) == spec
    timed = Spec("file", "/a", when="W6", interval=604800, at=86400, due=5)
    assert Spec.from_json(timed.to_json()) == timed
    assert Spec("stderr").to_json() == b'{"kind":"stderr"}'


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[1]",
        b"\xff\xfe",
        b"{}",
        {"kind": "file"},
        {"kind": "file", "path": "app.log"},
        {"kind": "fax"},
        {"kind": 3},
        {"kind": "file", "path": "/a", "keep": "7"},
        {"kind": "file", "path": "/a", "keep": True},
        {"kind": "file", "path": "/a", "rotate_every": "yearly"},
        {"kind": "file", "path": "/a", "colour": "red"},
        {"kind": "syslog", "path": "a b"},
        {"kind": "file", "path": "/a", "when": "W7", "interval": 1},
        {"kind": "file", "path": "/a", "when": "S"},
        {"kind": "file", "path": "/a", "when": "S", "interval": 1 << 40},
        {"kind": "file", "path": "/a", "when": "S", "interval": 1, "at": 86401},
        {"kind": "file", "path": "/a", "when": "S", "interval": 1, "due": -1},
        {"kind": "file", "path": "/a", "when": "S", "interval": 1, "rotate_every": "daily"},
        {"kind": "journal", "path": "host"},
        {"kind": "syslog", "path": "/dev/log", "facility": 24},
        {"kind": "file", "path": "/a\0b"},
        {"kind": "file", "path": "/a\ud900"},
        {"kind": "file", "path": "/a", "keep": -1},
        {"kind": "file", "path": "/a", "rotate_bytes": -1},
        {"kind": "file", "path": "/a", "keep_for": -1},
        {"kind": "file", "path": "/a", "begun": 1},
        {"kind": "file", "path": "/a", "permissions": 1 << 40},
        {"kind": "file", "path": "/a", "when": "S", "interval": 1, "suffix": "%Y\0"},
        b"[" * 50_000,
    ],
)
def test_what_an_application_has_scribbled_is_no_sink(raw: object) -> None:
    data = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    with pytest.raises(BadSpec):
        Spec.from_json(data)


def when(text: str) -> tuple[int, ...]:
    return tuple(time.strptime(text, "%Y-%m-%d %H:%M"))


@pytest.mark.parametrize(
    ("every", "before", "same", "after"),
    [
        ("hourly", "2026-11-21 14:00", "2026-11-21 14:59", "2026-11-21 15:00"),
        ("daily", "2026-11-21 00:00", "2026-11-21 23:59", "2026-11-22 00:00"),
        ("daily", "2026-12-31 12:00", "2026-12-31 23:59", "2027-01-01 00:00"),
        ("weekly", "2026-11-16 00:00", "2026-11-22 23:59", "2026-11-23 00:00"),
        ("weekly", "2026-12-28 00:00", "2027-01-03 23:59", "2027-01-04 00:00"),
        ("weekly", "2024-12-30 00:00", "2025-01-05 23:59", "2025-01-06 00:00"),
        ("monthly", "2026-11-01 00:00", "2026-11-30 23:59", "2026-12-01 00:00"),
        ("monthly", "2026-12-01 00:00", "2026-12-31 23:59", "2027-12-31 00:00"),
    ],
)
def test_periods_begin_where_people_think(every: str, before: str, same: str, after: str) -> None:
    assert every in PERIODS
    assert period(every, when(before)) == period(every, when(same))
    assert period(every, when(before)) != period(every, when(after))


def test_no_period_never_ends() -> None:
    assert period("", when("2026-11-21 14:00")) == period("", when("2027-11-21 14:00")) == ()


def test_when_a_file_is_rotated() -> None:
    """Before it would become too long, or at a new period's first line; never an empty one."""
    spec = Spec("file", "/a", rotate_bytes=100)
    assert not is_due(spec, 90, 10, True) and is_due(spec, 90, 11, True)
    assert is_due(spec, 1, 1, False)
    assert not is_due(spec, 0, 1000, False)
    assert not is_due(Spec("file", "/a"), 1 << 40, 1, True)


def test_a_rotation_that_was_broken_off_loses_nothing() -> None:
    """Killed after any of its renames, the next one goes on from the gap that it left."""
    for broken_off in range(5):
        files = {1: "c", 2: "b", 3: "a"}
        for old, new in shift(set(files))[:broken_off]:
            assert new not in files
            files[new] = files.pop(old)
        for old, new in shift(set(files)):
            assert new not in files
            files[new] = files.pop(old)
        assert 1 not in files
        assert [files[it] for it in sorted(files)] == ["c", "b", "a"]
    assert shift(set()) == []


def test_what_rotations_have_given() -> None:
    """In a row from 1, with the gap of one that was broken off."""
    assert given({1, 2, 3, 20240101}) == {1, 2, 3}
    assert given({2, 3, 5}) == {2, 3}
    assert given({1, 3, 4, 6, 7}) == {1, 3, 4}
    assert given({2024, 9}) == given(set()) == set()


def test_what_is_kept() -> None:
    assert surplus({1, 2, 3, 9}, 2) == [3, 9]
    assert surplus({1, 2}, 0) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/var/log/a.log", ("file", "/var/log/a.log")),
        ("./syslog:x", ("file", "./syslog:x")),
        ("a:b", ("file", "a:b")),
        ("syslog", ("file", "syslog")),
        ("syslog:", ("syslog", "/dev/log")),
        ("syslog:/run/x", ("syslog", "/run/x")),
        ("syslog:host:514", ("syslog", "host:514")),
        ("journal:", ("journal", "/run/systemd/journal/socket")),
        ("journal:/run/systemd/journal.x/socket", ("journal", "/run/systemd/journal.x/socket")),
    ],
)
def test_where_lines_go(text: str, found: tuple[str, str]) -> None:
    assert destination(text) == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("syslog:/run/{slot}", "is for files"),
        ("journal:host", "expected journal: or"),
        ("syslog:host:x", "expected syslog:"),
    ],
)
def test_where_nothing_can_go(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        destination(text)


def test_what_the_settings_say() -> None:
    """A file for all, or one for each slot, of which the supervisor has none."""
    assert rotation("") == (0, "") and rotation("5000 daily") == (5000, "daily")
    assert of_settings(Config("app"), 0) is None
    one = Config("app", log_file="/a.log", log_rotate="5000 daily", log_keep=3, log_compress=True)
    assert of_settings(one, None) == of_settings(one, 2)
    assert of_settings(one, 2) == Spec(
        "file", "/a.log", rotate_bytes=5000, rotate_every="daily", keep=3, compress=True
    )
    daemon = Config("app", name="shop", log_file="syslog:", log_facility="local1")
    found = of_settings(daemon, 2, "pid=7")
    assert found == Spec("syslog", "/dev/log", name="shop", facility=17, who="pid=7")
    assert Spec.from_json(found.to_json()) == found
    each = Config("app", log_file="/a.w{slot}.log")
    found = of_settings(each, 2)
    assert found is not None and found.path == "/a.w2.log"
    assert of_settings(each, None) is None
