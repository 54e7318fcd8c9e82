"""leeward._core.hazards: what becomes of each hazard, and how it is told."""

from __future__ import annotations

import pytest

from leeward._core.hazards import (
    CODES,
    IGNORED,
    ISOLATED,
    REFUSED,
    REPAIRED,
    TABLE,
    TOLD,
    WARNED,
    Hazard,
    in_full,
    level,
    merged,
    policy,
    refusal,
    two_lines,
    verdict,
)

THREAD = Hazard("LW101", "a thread 'x' runs", "shop.py:3", "threading.py:9", "shop.X, a Thread")
LOG = Hazard("LW150", "shop.log is rotated")
DICE = Hazard("LW170", "a Random is seeded before the fork", "shop.py:5")


def test_the_table_has_each_code_once_and_in_order() -> None:
    """And each row says what goes wrong and what to do, without a full stop."""
    assert [row.code for row in TABLE] == sorted({row.code for row in TABLE})
    assert set(CODES) == {row.code for row in TABLE}
    for row in TABLE:
        assert row.code.startswith("LW1") and row.verdict in (REPAIRED, ISOLATED, TOLD)
        assert row.fault and row.remedy and not (row.fault + row.remedy).endswith(".")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ((), ("spawn",)),
        (("warn",), ("warn",)),
        (("ignore:LW170", "ignore:lw101"), ("spawn", "ignore:LW101", "ignore:LW170")),
        (("ignore:LW101", "refuse", "refuse", "ignore:LW101"), ("refuse", "ignore:LW101")),
    ],
)
def test_a_policy_is_one_word_and_what_is_ignored(words, found) -> None:
    assert policy(words) == found
    assert policy(found) == found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("warn", "refuse"), "warn and refuse exclude each other"),
        (("ignore:LW999",), "no hazard 'LW999', only LW100 … LW171"),
        (("thread",), "expected spawn, warn, refuse or ignore:CODE, found 'thread'$"),
        (("wran",), "found 'wran': did you mean warn[?]"),
        (("ignore:LW1622",), "did you mean LW162[?]"),
        (("ingore:LW104",), "did you mean ignore:LW104[?]"),
        (("LW104",), "did you mean ignore:LW104[?]"),
    ],
)
def test_what_is_no_policy_is_refused(words, said) -> None:
    with pytest.raises(ValueError, match=said):
        policy(words)


@pytest.mark.parametrize(
    ("hazard", "hazards", "start", "found"),
    [
        (THREAD, ("spawn",), "auto", ISOLATED),
        (THREAD, ("warn",), "auto", WARNED),
        (THREAD, ("spawn",), "zygote", WARNED),
        (THREAD, ("refuse",), "auto", REFUSED),
        (THREAD, ("refuse",), "zygote", REFUSED),
        (THREAD, ("refuse", "ignore:LW101"), "auto", IGNORED),
        (THREAD, ("spawn", "ignore:LW102"), "auto", ISOLATED),
        (DICE, ("refuse",), "auto", REPAIRED),
        (DICE, ("spawn", "ignore:LW170"), "auto", IGNORED),
        (LOG, ("refuse",), "auto", TOLD),
    ],
)
def test_the_verdict_is_the_codes_own_until_somebody_says_otherwise(
    hazard: Hazard, hazards: tuple[str, ...], start: str, found: str
) -> None:
    assert verdict(hazard, hazards, start) == found


def test_what_costs_something_is_a_warning() -> None:
    found = {it: level(it) for it in (REPAIRED, IGNORED, ISOLATED, REFUSED, WARNED, TOLD)}
    assert found == {
        REPAIRED: "info",
        IGNORED: "debug",
        ISOLATED: "warning",
        REFUSED: "warning",
        WARNED: "warning",
        TOLD: "warning",
    }


def test_a_hazard_is_told_in_two_lines() -> None:
    """What and where; what becomes of it and what to do."""
    assert two_lines(THREAD, ISOLATED).split("\n") == [
        "LW101 a thread 'x' runs, held by shop.X, a Thread (shop.py:3; threading.py:9)",
        "isolated, as it does not run in any worker; start it in the factory, or in a resource: "
        "@leeward.per_worker (docs/reference/hazards/LW101.md)",
    ]
    assert LOG.line == "LW150 shop.log is rotated"


def test_a_hazard_is_told_in_full() -> None:
    """Only what is known has a line."""
    assert in_full(THREAD, ISOLATED) == [
        "LW101 thread: a thread 'x' runs",
        "  at       shop.py:3; threading.py:9",
        "  held by  shop.X, a Thread",
        "  fault    it does not run in any worker",
        "  verdict  isolated",
        "  remedy   start it in the factory, or in a resource: @leeward.per_worker",
        "  page     docs/reference/hazards/LW101.md",
    ]
    assert [line.split()[0] for line in in_full(LOG, TOLD)] == [
        "LW150", "fault", "verdict", "remedy", "page",
    ]  # fmt: skip


def test_a_refusal_has_at_most_six_lines() -> None:
    assert refusal([THREAD]).split("\n") == [
        "a hazard of a fork, which --hazards refuse does not allow:",
        f"  {THREAD.line}",
    ]
    lines = refusal([THREAD] * 7).split("\n")
    assert lines[0].startswith("7 hazards of a fork") and len(lines) == 6
    assert lines[-1] == "  … and 3 more: leeward check names them"


def test_a_hazard_travels_as_json() -> None:
    for hazard in (THREAD, LOG):
        assert Hazard.from_json(hazard.to_json()) == hazard


def test_what_is_one_thing_is_told_once() -> None:
    """By the application's line; what differs in kind, peer or place is told by itself."""
    threads = [Hazard("LW104", f"a native thread 'x{number}' runs", "shop.py:3") for number in "12"]
    two = [
        Hazard(
            "LW110", f"a socket is connected to {peer}, descriptor {fd}", "shop.py:5", who=str(fd)
        )
        for peer, fd in (("a:1", 7), ("b:1", 8), ("a:1", 9))
    ]
    far = Hazard("LW104", "a native thread 'x3' runs", "shop.py:4")
    nowhere = [Hazard("LW121", f"an eventfd is open, descriptor {fd}") for fd in (4, 5)]
    found = merged([*threads, *two, far, *nowhere])
    assert [it.what for it in found] == [
        "a native thread 'x1' runs, and 1 more",
        "a socket is connected to a:1, descriptor 7, and 1 more",
        "a socket is connected to b:1, descriptor 8",
        "a native thread 'x3' runs",
        "an eventfd is open, descriptor 4",
        "an eventfd is open, descriptor 5",
    ]


def test_what_a_client_has_is_told_with_it() -> None:
    """Its threads and epoll sets of the same line; not those of another, nor connections."""
    client = Hazard("LW112", "a Channel is open", "shop.py:3", who="shop.C, a Channel")
    parts = [Hazard(code, "part", "shop.py:3") for code in ("LW104", "LW120", "LW121")]
    rest = [Hazard("LW104", "part", "shop.py:4"), Hazard("LW110", "socket", "shop.py:3")]
    assert merged([*parts, client, *rest]) == [client, *rest]
    assert merged([Hazard("LW112", "a Channel is open"), Hazard("LW104", "part")]) == [
        Hazard("LW112", "a Channel is open"),
        Hazard("LW104", "part"),
    ]


def test_a_lock_inside_of_what_was_told_is_told_with_it() -> None:
    lock = Hazard("LW130", "a lock is held", "shop.py:3", who="shop.X, a Thread")
    mine = Hazard("LW130", "a lock is held", "shop.py:2", who="shop.LOCK, a lock")
    unheld = Hazard("LW101", "a thread 'y' runs", "shop.py:9")
    alone = Hazard("LW130", "a RLock is held", "shop.py:1")
    assert merged([THREAD, lock, mine]) == [THREAD, mine]
    assert merged([unheld, alone, lock]) == [unheld, alone, lock]
