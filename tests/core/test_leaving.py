"""leeward._core.leaving and farewell: who is ended when, and how a connection is left."""

from __future__ import annotations

import itertools

import pytest

from leeward._core import leaving
from leeward._core.farewell import Farewell, farewell, is_endless


@pytest.mark.parametrize(
    ("policy", "method", "mark", "expected"),
    [
        ("abandon", "GET", "", 15.0),
        ("abandon", "HEAD", "", 15.0),
        ("abandon", "POST", "", None),
        ("abandon", "OPTIONS", "", None),
        ("abandon", "GET", "finish", None),
        ("abandon", "POST", "cancel", 0.0),
        ("cancel", "GET", "", 0.0),
        ("cancel", "DELETE", "", 0.0),
        ("cancel", "GET", "finish", None),
        ("notify", "GET", "", None),
        ("notify", "PUT", "cancel", 0.0),
    ],
)
def test_patience(policy: str, method: str, mark: str, expected: float | None) -> None:
    assert leaving.patience(policy, method, mark, 15.0) == expected


def test_tries_end() -> None:
    """Each as far apart as the first was from the client's end, and never a storm."""
    assert [leaving.again(tries, 15.0) for tries in (1, 2, 3, 4)] == [15.0, 15.0, None, None]
    assert leaving.again(1, 0.0) == 1.0


@pytest.mark.parametrize(
    ("read", "begun", "framing", "endless", "quiet", "expected"),
    [
        (True, False, "close", False, False, Farewell.UNAVAILABLE),
        (True, False, "close", False, True, Farewell.UNAVAILABLE),
        (False, False, "close", False, True, Farewell.CUT),
        (True, True, "chunks", True, False, Farewell.LAST_CHUNK),
        (True, True, "chunks", False, True, Farewell.LAST_CHUNK),
        (True, True, "chunks", False, False, Farewell.CUT),
        (True, True, "close", True, False, Farewell.CLOSE),
        (True, True, "close", False, False, Farewell.CUT),
        (True, True, "length", True, True, Farewell.CUT),
    ],
)
def test_farewell(
    read: bool, begun: bool, framing: str, endless: bool, quiet: bool, expected: Farewell
) -> None:
    found = farewell(read=read, begun=begun, framing=framing, endless=endless, quiet=quiet)
    assert found is expected


def test_half_an_answer_never_looks_whole() -> None:
    """Of what has begun only streams, and what has been silent, get a proper end."""
    for read, framing in itertools.product((True, False), ("chunks", "close", "length")):
        how = farewell(read=read, begun=True, framing=framing, endless=False, quiet=False)
        assert how is Farewell.CUT


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("text/event-stream", True),
        ("Text/Event-Stream; charset=utf-8", True),
        ("multipart/x-mixed-replace; boundary=x", True),
        ("application/json", False),
        ("text/html; charset=UTF-8", False),
        ("", False),
    ],
)
def test_what_is_endless(content_type: str, expected: bool) -> None:
    assert is_endless(content_type) is expected
