"""How a client is left in the middle of its answer: it never takes half for the whole."""

from __future__ import annotations

import pytest

from leeward._core.farewell import Farewell, farewell, is_endless


@pytest.mark.parametrize(
    ("content_type", "endless"),
    [
        ("text/event-stream", True),
        ("Text/Event-Stream; charset=utf-8", True),
        ("application/x-ndjson", True),
        ("multipart/x-mixed-replace; boundary=x", True),
        ("text/html; charset=UTF-8", False),
        ("application/json", False),
        ("", False),
    ],
)
def test_what_has_no_end_of_its_own(content_type: str, endless: bool) -> None:
    """By its content type, however that is written."""
    assert is_endless(content_type) is endless


@pytest.mark.parametrize("framing", ["chunks", "close", "length"])
@pytest.mark.parametrize("endless", [False, True])
@pytest.mark.parametrize("quiet", [False, True])
def test_nothing_has_been_sent(framing: str, endless: bool, quiet: bool) -> None:
    """A whole request is told to try elsewhere; one that has not come is cut."""
    said = {"begun": False, "framing": framing, "endless": endless, "quiet": quiet}
    assert farewell(read=True, **said) is Farewell.UNAVAILABLE  # type: ignore[arg-type]
    assert farewell(read=False, **said) is Farewell.CUT  # type: ignore[arg-type]


@pytest.mark.parametrize("read", [False, True])
@pytest.mark.parametrize(
    ("framing", "endless", "quiet", "wanted"),
    [
        ("chunks", True, False, Farewell.LAST_CHUNK),
        ("chunks", False, True, Farewell.LAST_CHUNK),
        ("close", True, True, Farewell.CLOSE),
        ("chunks", False, False, Farewell.CUT),  # a download
        ("close", False, False, Farewell.CUT),
        ("length", True, True, Farewell.CUT),  # more was promised
    ],
)
def test_some_has_been_sent(
    read: bool, framing: str, endless: bool, quiet: bool, wanted: Farewell
) -> None:
    """Complete is only what was complete at any moment, or has been silent."""
    found = farewell(read=read, begun=True, framing=framing, endless=endless, quiet=quiet)
    assert found is wanted
