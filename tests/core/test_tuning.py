"""Settings that were changed while running, over those that were resolved."""

from __future__ import annotations

import json
from typing import Any

import pytest

from leeward._core.config import Config
from leeward._core.tuning import Refused, merged, parse, tuned

CONFIG = Config("a:b", graceful_timeout=25.0, drain_window=10.0)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"log_level": "debug"},
        {"stall_kill_busy": True, "max_pss": 5, "settle": 3, "max_age": 0.5},
        {"log_level": None, "settle": None},
        {"max_requests_jitter": "10%"},
    ],
)
def test_what_a_setting_can_be_is_taken(changes: dict[str, Any]) -> None:
    assert parse(json.dumps(changes)) == changes


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not understood"),
        ("[1]", r"not understood: '\[1\]'"),
        ('{"no_such": 1}', "has no setting 'no_such'"),
        ('{"bind": ["a"]}', "has no setting 'bind'"),
        ('{"target": "a:c"}', "target cannot change while it runs"),
        ('{"log_level": 3}', "log_level: 3 is no str"),
        ('{"max_pss": true}', "max_pss: True is no int"),
        ('{"max_pss": 1.5}', "max_pss: 1.5 is no int"),
        ('{"settle": "5"}', "settle: '5' is no float"),
        ('{"settle": false}', "settle: False is no float"),
        ('{"max_requests_jitter": "10"}', "max_requests_jitter: '10' is no int"),
        ('{"max_requests_jitter": "x%"}', "max_requests_jitter: 'x%' is no int"),
        ('{"max_pss": "10%"}', "max_pss: '10%' is no int"),
        ('{"stall_kill_busy": 1}', "stall_kill_busy: 1 is no bool"),
    ],
)
def test_what_it_cannot_be_is_refused_by_name(text: str, why: str) -> None:
    """From a command line of another version, say."""
    with pytest.raises(Refused, match=why):
        parse(text)


def test_changes_add_up_and_are_taken_back() -> None:
    first = merged({}, {"settle": 1.0, "log_level": "debug"})
    assert merged(first, {"settle": 2.0, "max_pss": 0}) == {
        "settle": 2.0,
        "log_level": "debug",
        "max_pss": 0,
    }
    assert merged(first, {"settle": None, "max_age": None}) == {"log_level": "debug"}


def test_what_was_resolved_is_found_again() -> None:
    assert tuned(CONFIG, {}) is CONFIG
    found = tuned(CONFIG, {"log_level": "debug", "settle": 7})
    assert (found.log_level, found.settle, found.target) == ("debug", 7.0, "a:b")
    assert isinstance(found.settle, float)


def test_what_is_set_counts_as_given() -> None:
    """It wins over an application's own, as what is typed does; taken back, it does not."""
    config = Config("a:b", given=("header_timeout",))
    found = tuned(config, {"idle_timeout": 5})
    assert (found.idle_timeout, found.given) == (5.0, ("header_timeout", "idle_timeout"))


@pytest.mark.parametrize(
    ("overrides", "window"),
    [
        ({"graceful_timeout": 4.0}, 4.0),
        ({"drain_window": 90.0}, 25.0),
        ({"drain_window": 90.0, "graceful_timeout": 100.0}, 90.0),
        ({"settle": 1.0}, 10.0),
    ],
)
def test_the_drain_window_stays_within_the_graceful_timeout(
    overrides: dict[str, float], window: float
) -> None:
    assert tuned(CONFIG, overrides).drain_window == window


@pytest.mark.parametrize(
    ("before", "overrides", "jitter"),
    [
        ((0, 0), {"max_requests": 500}, 50),
        ((100, 20), {"max_requests": 500}, 100),
        ((100, 0), {"max_requests": 500}, 0),
        ((100, 20), {"max_requests": 0}, 0),
        ((0, 0), {"max_requests": 500, "max_requests_jitter": 3}, 3),
        ((100, 0), {"max_requests_jitter": "20%"}, 20),
        ((100, 20), {"max_requests": 55, "max_requests_jitter": "10%"}, 5),
        ((0, 0), {"max_requests_jitter": "10%"}, 0),
    ],
)
def test_the_jitter_keeps_its_part_of_the_requests(
    before: tuple[int, int], overrides: dict[str, Any], jitter: int
) -> None:
    """A tenth, where there was no limit before; what is set itself stays as it is set."""
    config = Config("a:b", max_requests=before[0], max_requests_jitter=before[1])
    assert tuned(config, overrides).max_requests_jitter == jitter
