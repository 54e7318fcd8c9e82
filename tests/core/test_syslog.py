"""How lines of the log become messages of syslog."""

from __future__ import annotations

import logging
import logging.handlers

import pytest

from leeward._core.syslog import (
    FACILITIES,
    Line,
    Who,
    address,
    cut,
    escaped,
    local,
    protocol,
    read,
    severity,
    who,
)

NOW = (2026, 1, 2, 3, 4, 5, 4, 2, 0)
PRETTY = b"2026-11-09 14:03:07.214 warning  worker=2 gen=5 pid=7 shop: sold out\n"


def test_severities_and_facilities_are_those_of_the_standard_library() -> None:
    handler = logging.handlers.SysLogHandler
    for name in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        word = handler.priority_map[name]
        assert severity(getattr(logging, name)) == handler.priority_names[word]
    assert severity(5) == severity(0) == 7 and severity(35) == 4 and severity(99) == 2
    assert all(handler.facility_names[name] == it for name, it in FACILITIES.items())


def test_time_and_level_are_read_from_our_own_lines() -> None:
    """A request's line says its level only there."""
    found = read(PRETTY, 20)
    text = "worker=2 gen=5 pid=7 shop: sold out"
    assert found == Line(text, 30, "2026-11-09", "14:03:07", "214")
    json = b'{"time":"2026-11-09T14:03:07.214Z","level":"error","message":"x"}\n'
    assert read(json, 20) == Line(json[:-1].decode(), 40, "2026-11-09", "14:03:07", "214", True)


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "",
        "2026-13-01 14:03:07.214 info     x",
        "2026-00-01 14:03:07.214 info     x",
        "2026-11-32 14:03:07.214 info     x",
        "2026-11-01 24:03:07.214 info     x",
        "2026-11-01 14:03:60.214 info     x",
        "0000-11-01 14:03:07.214 info     x",
        "٢026-11-01 14:03:07.214 info     x",
        "2026-11-01 14:03:07.214 fatal    x",
        '{"time":"2026-11-09T99:03:07.214Z","level":"error"}',
    ],
)
def test_any_other_line_is_taken_as_it_is(text: str) -> None:
    assert read(text.encode() + b"\n", 30) == Line(text, 30)


def test_a_line_that_is_no_utf8() -> None:
    assert read(b"\xff\n\n", 20) == Line("\\xff\n", 20)


def test_whose_line_it_is() -> None:
    assert who("worker=2 gen=5 pid=4711") == Who("2", "5", "4711")
    assert who("worker=2 gen=5") == Who("2", "5")
    assert who("pid=9") == Who("", "", "9")
    assert who("") == who("nobody") == Who()


def test_nothing_in_a_line_ends_the_message() -> None:
    assert escaped("naïve\tü") == "naïve\tü"
    assert escaped("a\nb\rc\x1b[m\0\x85\u2028") == "a\\nb\\rc\\e[m\\x00\\x85\\u2028"


def test_what_a_machines_own_socket_gets() -> None:
    line = read(PRETTY, 20)
    assert local(3, line, "shop", "7", NOW) == (
        b"<28>Nov  9 14:03:07 shop[7]: worker=2 gen=5 pid=7 shop: sold out"
    )
    other = Line("a\nb", 20)
    assert local(16, other, "two words", "", NOW) == b"<134>Jan  2 03:04:05 two_words: a\\nb"
    json = read(b'{"time":"2026-11-09T14:03:07.214Z","level":"info",1}', 20)
    assert local(3, json, "x", "", NOW).startswith(b"<30>Jan  2 03:04:05 x: {")


def test_rfc_5424() -> None:
    line = Line("sold out\n", 40)
    assert protocol(3, line, "shop", Who("2", "5", "7"), "höst", "-", 9) == (
        b'<27>1 - h_st shop 7 - [leeward@32473 worker="2" gen="5" seq="9"] sold out\\n'
    )
    short = protocol(3, line, "", Who(), "", "2026-11-09T14:03:07.214Z", 0)
    assert short == (b'<27>1 2026-11-09T14:03:07.214Z - - - - [leeward@32473 seq="0"] sold out\\n')
    assert b" - [leeward@32473] sold out" in protocol(3, line, "", Who(), "", "-", -1)


def test_what_is_too_long_is_cut_and_says_so() -> None:
    data = ("ü" * 100).encode()
    assert cut(data, 200) is data
    for most in range(60, 200):
        short = cut(data, most)
        kept, _, note = short.partition(b" [")
        assert len(short) <= most and kept.decode() == "ü" * (len(kept) // 2)
        assert int(note.split()[0]) == 200 - len(kept)
    assert cut(b"x" * 100, 5) == b" [100 octets cut]"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("loghost", ("loghost", 514)),
        ("loghost:1514", ("loghost", 1514)),
        ("10.0.0.1:514", ("10.0.0.1", 514)),
        ("[::1]:5514", ("::1", 5514)),
        ("[fe80::1%eth0]", ("fe80::1%eth0", 514)),
    ],
)
def test_addresses(text: str, found: tuple[str, int]) -> None:
    assert address(text) == found


@pytest.mark.parametrize("text", ["", ":514", "a:0", "a:65536", "a:b", "::1", "a b", "a/b", "[x"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="expected syslog:"):
        address(text)
