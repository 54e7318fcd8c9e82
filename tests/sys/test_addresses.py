"""Addresses as people write them, and as nobody should."""

from __future__ import annotations

import os

import pytest

from leeward._sys.addresses import Address, digits, parse
from leeward.errors import UsageError


def tcp(host: str, port: int) -> tuple[str, str, int]:
    return ("tcp", host, port)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("127.0.0.1:8000", tcp("127.0.0.1", 8000)),
        ("localhost:0", tcp("localhost", 0)),
        ("my-host.example_1.:65535", tcp("my-host.example_1.", 65535)),
        ("bücher.example:80", tcp("bücher.example", 80)),
        (":8000", tcp("", 8000)),
        ("8000", tcp("127.0.0.1", 8000)),
        ("[::1]:8000", tcp("::1", 8000)),
        ("[::]:0", tcp("::", 0)),
        ("[fe80::1%lo]:80", tcp("fe80::1%lo", 80)),
    ],
)
def test_tcp_addresses(text, wanted):
    """HOST:PORT, :PORT, PORT and [IPv6]:PORT."""
    address = parse(text)
    assert (address.kind, address.host, address.port) == wanted
    assert address.text == text


def test_unix_addresses_are_made_absolute(tmp_path, monkeypatch):
    """A relative path means the working directory of now; symbolic links stay as typed."""
    monkeypatch.chdir(tmp_path)
    assert parse("unix:/run/app.sock").path == "/run/app.sock"
    assert parse("unix:///run/app.sock").path == "/run/app.sock"
    assert parse("unix:app.sock").path == f"{os.getcwd()}/app.sock"
    assert parse("unix:/a/../b c").path == "/a/../b c"
    assert parse("unix:/" + "x" * 106).path == "/" + "x" * 106


def test_descriptors():
    """fd://N from 3 on."""
    assert parse("fd://3") == Address("fd", "fd://3", fd=3)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "needs a port"),
        (":", "needs a port"),
        ("host", "needs a port"),
        ("host:", "needs a port"),
        ("host:http", "needs a port"),
        ("host:99999", "needs a port"),
        ("host:65536", "needs a port"),
        ("host:-1", "needs a port"),
        ("host:+80", "needs a port"),
        ("host: 80", "needs a port"),
        ("host:8_0", "needs a port"),
        ("host:80²", "needs a port"),
        ("host:٨٠", "needs a port"),
        ("host:" + "9" * 5000, "needs a port"),
        ("1:2:3", "brackets"),
        ("::1:8000", "brackets"),
        ("[::1", "brackets"),
        ("[::1]", "brackets"),
        ("[::1]8000", "brackets"),
        ("[::1]x:8000", "brackets"),
        ("[]:80", "no IPv6 address"),
        ("[localhost]:80", "no IPv6 address"),
        ("[127.0.0.1]:80", "no IPv6 address"),
        ("[::\0]:80", "no IPv6 address"),
        ("ho st:80", "no host name"),
        ("host\n:80", "no host name"),
        ("a\0b:80", "no host name"),
        ("*:80", "no host name"),
        ("user@host:80", "no host name"),
        ("http://host:80", "without http://"),
        ("host:80/path", "without a path"),
        ("/run/app.sock", "without a path"),
        ("unix:", "path of a file"),
        ("unix:@abstract", "path of a file"),
        ("unix:/a\0b", "path of a file"),
        ("unix:/run/", "path of a file"),
        ("unix:/" + "x" * 107, "at most 107 bytes"),
        ("unix:/" + "ä" * 54, "at most 107 bytes"),
        ("unix:/" + "x" * 100_000, "at most 107 bytes"),
        ("fd://", "3 or more"),
        ("fd://x", "3 or more"),
        ("fd://-1", "3 or more"),
        ("fd://2", "3 or more"),
        ("fd://99999999999", "3 or more"),
    ],
)
def test_what_is_no_address_is_refused_with_a_reason(text, why):
    """The error shows what was written, why not, and what is expected; in a few short lines."""
    with pytest.raises(UsageError, match=why) as caught:
        parse(text)
    assert "expected HOST:PORT" in caught.value.remedy
    assert len(str(caught.value)) < 600
    assert len(str(caught.value).splitlines()) == 2


def test_digits_are_plain_decimal_numbers_in_bounds():
    """Not what int() also takes."""
    assert digits("0", 10) == 0
    assert digits("10", 10) == 10
    assert [digits(text, 10) for text in ("", "11", "-1", "1.0", "0x1", "¹", " 1")] == [None] * 7
