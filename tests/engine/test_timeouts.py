"""Who says how long: the operator, else the program, else the defaults."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from engine.hall import Counters
from tornado.httpserver import HTTPServer
from tornado.web import Application

from leeward._core.config import NEEDS_RESTART, TUNABLE, Config
from leeward._core.record import replace
from leeward.adapters.tornado import TornadoServer
from leeward.engine.timeouts import Timeouts, timeouts, tuned
from leeward.limits import Deadlines


def of(config: Config, **own: Any) -> Timeouts:
    http: Any = HTTPServer(Application(), **own)
    return timeouts(config, http.conn_params)


def test_the_defaults_are_those_of_the_table() -> None:
    found = of(Config(""))
    assert (found.silent, found.header, found.idle) == (30.0, 10.0, 75.0)
    assert (found.body, found.rate, found.whole_body) == (30.0, 240.0, None)
    assert (found.write, found.handler) == (60.0, 0.0)


@pytest.mark.parametrize(
    ("own", "given", "expected"),
    [
        (5, (), (5.0, 5.0, 5.0)),
        (20, (), (20.0, 10.0, 20.0)),
        (600, (), (30.0, 10.0, 600.0)),
        (5, ("idle_timeout",), (5.0, 5.0, 75.0)),
        (5, ("idle_timeout", "header_timeout", "silent_timeout"), (30.0, 10.0, 75.0)),
    ],
)
def test_tornados_one_number_for_three_waits(
    own: float, given: tuple[str, ...], expected: tuple[float, ...]
) -> None:
    found = of(Config("", given=given), idle_connection_timeout=own)
    assert (found.silent, found.header, found.idle) == expected


def test_never_is_longer_than_any_time() -> None:
    config = Config("", silent_timeout=0.0, header_timeout=0.0, idle_timeout=0.0)
    found = of(config)
    assert (found.silent, found.header, found.idle) == (0.0, 0.0, 0.0)
    found = of(config, idle_connection_timeout=5)
    assert (found.silent, found.header, found.idle) == (5.0, 5.0, 5.0)


@pytest.mark.parametrize(
    ("handler", "poll", "own", "expected"),
    [
        (5.0, 0.0, None, 5.0),
        (0.0, 7.0, None, 7.0),
        (5.0, 7.0, Deadlines(write=1.0), 5.0),
        (5.0, 7.0, Deadlines(handler=0.0), 0.0),
        (5.0, 7.0, Deadlines(handler=2.0, poll=9.0), 2.0),
        (5.0, 7.0, Deadlines(handler=0.0, poll=9.0), 9.0),
        (5.0, 7.0, Deadlines(poll=9.0), 9.0),
        (5.0, 7.0, Deadlines(poll=0.0), 5.0),
        (0.0, 7.0, Deadlines(poll=0.0), 0.0),
    ],
)
def test_what_a_class_says_of_its_answer_comes_first(
    handler: float, poll: float, own: Deadlines | None, expected: float
) -> None:
    """Of its long-poll it has said by the one that there is no deadline of the other kind."""
    found = of(Config("", handler_timeout=handler, max_poll_age=poll)).answer(own)
    assert (found[0] or found[1]) == expected


def test_a_program_bounds_the_whole_body() -> None:
    assert of(Config(""), body_timeout=100).whole_body == 100
    assert of(Config("", given=("body_timeout",)), body_timeout=100).whole_body is None


def test_what_a_server_takes_over_while_it_serves() -> None:
    old = Config("a:b", given=("header_timeout",), health_path="/healthz")
    told = replace(old, idle_timeout=600.0, given=("idle_timeout",), health_path="/other")
    new = tuned(old, told)
    assert (new.idle_timeout, new.given) == (600.0, ("idle_timeout",))
    assert new.health_path == "/healthz"
    assert not set(TUNABLE) & set(NEEDS_RESTART)


@pytest.mark.parametrize(
    ("own", "expected"), [({}, [75.0, 9.0, None]), ({"idle_connection_timeout": 5}, [5, 9.0, None])]
)
def test_tornados_own_server_is_told_too(own: dict[str, Any], expected: list[float | None]) -> None:
    async def main() -> list[float | None]:
        http: Any = HTTPServer(Application(), **own)
        server = TornadoServer(http, Config(""), Counters(), lambda: None)
        found = [http.conn_params.header_timeout]
        for idle in (9.0, 0.0):
            server.tune(replace(server.config, idle_timeout=idle, given=("idle_timeout",)))
            found.append(http.conn_params.header_timeout)
        return found

    assert asyncio.run(main()) == expected
