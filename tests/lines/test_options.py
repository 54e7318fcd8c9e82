"""What cannot be is refused where it is written, and nothing is opened before the first call."""

from __future__ import annotations

import asyncio
import os
import re
from typing import Any

import pytest

from leeward import LineClient
from leeward._lines.sockets import Address, parse


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("10.0.0.7:20880", "10.0.0.7:20880"),
        (("localhost", 80), "localhost:80"),
        ("[::1]:80", "[::1]:80"),
        (("::1", 80), "[::1]:80"),
        ("unix:/run/x", "unix:/run/x"),
    ],
)
def test_addresses(given: Any, text: str) -> None:
    assert str(parse(given)) == text
    assert repr(LineClient(given, end=b"\n")) == f"<LineClient {text}>"


def test_a_numbered_host_loses_its_brackets() -> None:
    assert parse("[::1]:80") == Address("::1", 80)


@pytest.mark.parametrize(
    "given",
    ["host", ":80", "::1:80", "host:", "host:0", "host:70000", "host:²", "unix:", ("h", -1)],
)
def test_an_address_that_is_none(given: Any) -> None:
    with pytest.raises(ValueError, match="expected|port|path"):
        LineClient(given, end=b"\n")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("timeout", 0),
        ("timeout", float("nan")),
        ("connect_timeout", -1),
        ("wait_timeout", 0),
        ("first_pause", 0),
        ("idle_timeout", -1),
        ("peer_timeout", "60"),
        ("connections", 0),
        ("connections", 1.5),
        ("waiters", -1),
        ("max_reply", 0),
        ("check", "ls"),
        ("check_after", -1),
        ("check_timeout", 0),
    ],
)
def test_an_option_that_cannot_be(option: str, value: Any) -> None:
    """It is named."""
    with pytest.raises(ValueError, match=f"{option}={value!r}: expected"):
        LineClient("h:1", end=b"\n", **{option: value})


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"check_reply": b"OK"}, "are for a check="),
        ({"check_end": b">"}, "are for a check="),
        ({"check": b"ls\n"}, r"byte 2 ends the request \(b'\\n'\), and another would follow"),
        ({"check": b"", "request_end": b""}, "nothing would be sent"),
        ({"check": b"ls", "check_end": b""}, "cannot end by nothing"),
        ({"check": b"ls", "check_reply": "OK"}, "the right reply is bytes, .* not 'OK'"),
        ({"check": b"ls", "check_reply": re.compile("OK")}, "a pattern of bytes, not 'OK'"),
    ],
)
def test_a_check_that_cannot_be(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        LineClient("h:1", end=b"\n", **options)


def test_a_charset_that_is_none() -> None:
    with pytest.raises(LookupError, match="gb9999"):
        LineClient("h:1", end=b"\n", encoding="gb9999")
    with pytest.raises(LookupError, match="lenient"):
        LineClient("h:1", end=b"\n", errors="lenient")


def test_making_one_opens_nothing() -> None:
    """No descriptor, and no loop is needed."""
    before = os.listdir("/proc/self/fd")
    client = LineClient("127.0.0.1:1", end=b"\n")
    assert len(os.listdir("/proc/self/fd")) == len(before)
    assert client.stats().calls == 0
    asyncio.run(client.aclose())


def test_a_call_has_seconds() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="timeout=0: expected seconds"):
            await LineClient("127.0.0.1:1", end=b"\n").call("x", timeout=0)

    asyncio.run(main())
