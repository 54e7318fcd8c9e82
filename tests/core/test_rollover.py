"""When a file is put away by time: as the standard library has it, in any zone."""

from __future__ import annotations

import datetime
import os
import random
import re
import sys
import time
from collections.abc import Iterator
from logging.handlers import TimedRotatingFileHandler
from types import SimpleNamespace
from typing import Any

import pytest

from leeward._core.rollover import WHENS, after, begins, pattern

SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 30)))
UNIT = {"S": 1, "M": 60, "H": 3600, "D": 86400, "MIDNIGHT": 86400}
#: With clocks that change in spring and autumn, at midnight, in the south, and never.
ZONES = (
    "CET-1CEST,M3.5.0,M10.5.0/3",
    "EST5EDT,M3.2.0,M11.1.0",
    "CLT4CLST,M9.1.6/24,M4.1.6/24",
    "NZST-12NZDT,M9.5.0,M4.1.0/3",
    "IST-5:30",
)


@pytest.fixture(params=ZONES)
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def moment(text: str) -> int:
    return int(time.mktime(time.strptime(text, "%Y-%m-%d %H:%M:%S")))


def handlers(rng: random.Random) -> Iterator[Any]:
    """What a handler's computeRollover looks at."""
    fixed = sys.version_info >= (3, 13)
    for _ in range(300):
        when = rng.choice(WHENS)
        count = (
            rng.choice((1, 1, 2, 3, 10)) if fixed or (when in UNIT and when != "MIDNIGHT") else 1
        )
        seconds = rng.choice((None, 0, 3600 * 2 + 1800, rng.randrange(86400)))
        at = None
        if seconds is not None:
            at = (datetime.datetime.min + datetime.timedelta(seconds=seconds)).time()
        yield SimpleNamespace(
            when=when,
            interval=UNIT.get(when, 7 * 86400) * count,
            utc=rng.random() < 0.3 if fixed else True,
            atTime=at,
            at=86400 if seconds is None else seconds,
            dayOfWeek=int(when[1]) if when.startswith("W") else -1,
        )


def test_the_same_moments_as_the_standard_library(zone: str) -> None:
    print(f"SEED={SEED}")
    rng = random.Random(SEED)
    for it in handlers(rng):
        # Near the days on which the clocks change, and their midnights, as often as elsewhere.
        now = moment(f"2026-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d} 00:00:00")
        now += rng.choice((1, 3599, rng.randrange(86400), rng.randrange(864000)))
        split = time.gmtime if it.utc else time.localtime
        want = TimedRotatingFileHandler.computeRollover(it, now)
        assert after(it.when, it.interval, it.at, it.utc, now, split) == want, (it, now)


def test_midnight_when_the_clocks_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """A day of 23 hours and one of 25, and the file has the name of its day."""
    monkeypatch.setenv("TZ", ZONES[0])
    time.tzset()
    try:
        for day, next_day, hours in (
            ("2026-03-29", "2026-03-30", 23),
            ("2026-10-25", "2026-10-26", 25),
            ("2026-06-01", "2026-06-02", 24),
        ):
            now = moment(f"{day} 00:00:00")
            due = after("MIDNIGHT", 86400, 0, False, now, time.localtime)
            assert due == moment(f"{next_day} 00:00:00") == now + hours * 3600
            name = begins(due, 86400, False, due, time.localtime)
            assert time.strftime("%Y-%m-%d", time.localtime(name)) == day
        # A roll-over in the hour that is left out.
        now = moment("2026-03-28 12:00:00")
        due = after("MIDNIGHT", 86400, 9000, False, now, time.localtime)
        assert due == moment("2026-03-29 03:30:00")
        assert begins(now, 86400, True, now, time.gmtime) == now - 86400
    finally:
        monkeypatch.undo()
        time.tzset()


def test_names_across_a_change_of_the_clocks(zone: str) -> None:
    """As doRollover makes them."""
    rng = random.Random(SEED)
    for _ in range(200):
        now = 1767225600 + rng.randrange(365 * 86400)
        interval = rng.choice((3600, 86400, 7 * 86400))
        due = now - rng.randrange(interval * 2)
        then, summer = time.localtime(due - interval), time.localtime(now)[-1]
        if then[-1] != summer:
            then = time.localtime(due - interval + (3600 if summer else -3600))
        assert time.localtime(begins(due, interval, False, now, time.localtime)) == then


@pytest.mark.parametrize(
    ("suffix", "strangers"),
    [
        ("%Y-%m-%d", "2026-11 2026-11-21.sql 2026-11-21.1 20261121 2026-11-21_14 x2026-11-21"),
        ("%Y-%m-%d_%H-%M-%S", "2026-11-21 2026-11-21_14-03-12_315000"),
        ("%F.%T%%", "2026-11-21.14:03:12 2026-11-21x14:03:12%"),
        ("old.%y%j+%G%V%u", "old.26325 oldx26325+2026476"),
        ("kept", "kep kept1"),
    ],
)
def test_names_are_known_and_strangers_are_not(suffix: str, strangers: str) -> None:
    """Whatever the moment, and as little else as can be."""
    known, rng = pattern(suffix), random.Random(SEED)
    assert known is not None
    for _ in range(200):
        name = time.strftime(suffix, time.gmtime(rng.randrange(1 << 32)))
        assert re.fullmatch(known, name), name
    assert not [it for it in strangers.split() if re.fullmatch(known, it)]


@pytest.mark.parametrize("suffix", ["%d-%b-%Y", "%A", "%c", "%-d", "%Y%"])
def test_names_with_words_are_not_known(suffix: str) -> None:
    """They differ by locale."""
    assert pattern(suffix) is None
