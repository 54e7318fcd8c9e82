"""Whom a list of peers holds, and which of the addresses that were told is the client's."""

from __future__ import annotations

import pytest

from leeward._core import trust
from leeward._core.trust import Trusted, elements, entry, node


@pytest.mark.parametrize("text", ["*", "unix:", "10.0.0.1", "10.0.0.0/8", "::1", "fd00::/8"])
def test_an_entry_stays_as_it_is(text: str) -> None:
    assert entry(text) == text


def test_unix_may_be_written_without_its_colon() -> None:
    assert entry("unix") == "unix:"


@pytest.mark.parametrize("text", ["", "localhost", "10.0.0", "10.0.0.1/33", "010.0.0.1", "::g"])
def test_what_is_no_address_is_refused(text: str) -> None:
    """Host names too: what they mean changes, and somebody else answers."""
    with pytest.raises(ValueError, match="expected an IP address"):
        entry(text)


def test_a_network_with_host_bits_is_refused_by_the_one_that_was_meant() -> None:
    with pytest.raises(ValueError, match=r"did you mean 10\.0\.0\.0/8"):
        entry("10.1.2.3/8")


def test_nobody_is_trusted_unasked() -> None:
    nobody = Trusted(())
    assert "127.0.0.1" not in nobody and "" not in nobody
    assert not nobody.unix and not nobody.everybody


def test_addresses_and_networks() -> None:
    some = Trusted(("10.0.0.0/8", "192.0.2.7", "fd00::/8"))
    for address in ("10.255.0.1", "192.0.2.7", "fd00::1", "::ffff:10.0.0.1"):
        assert address in some
    for address in (
        "11.0.0.1",
        "192.0.2.8",
        "fe80::1",
        "::ffff:11.0.0.1",
        "unknown",
        "10.0.0.1:80",
    ):
        assert address not in some
    assert not some.unix


def test_everybody_and_unix() -> None:
    everybody = Trusted(("*",))
    assert "203.0.113.9" in everybody and "rubbish" in everybody and everybody.unix
    assert Trusted(("unix:",)).unix and "127.0.0.1" not in Trusted(("unix:",))


def test_what_is_remembered_is_bounded_and_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "_KNOWN", 4)
    some = Trusted(("10.0.0.0/8",))
    for _ in range(2):
        for number in range(20):
            assert f"10.0.0.{number}" in some
            assert f"10.0.0.{number}" in some
            assert f"11.0.0.{number}" not in some
            assert len(some._known) <= 4


def test_what_is_no_address_is_not_remembered_at_length() -> None:
    """X-Forwarded-For may hold anything, of any length, and `*` trusts it."""
    for some, trusts in ((Trusted(("*",)), True), (Trusted(("10.0.0.0/8",)), False)):
        for text in ("a" * 65, "b" * 60000):
            assert (text in some) == trusts
        assert not some._known
        assert ("c" * 64 in some) == trusts and len(some._known) == 1


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ((), ""),
        (("192.0.2.1",), "192.0.2.1"),
        (("192.0.2.1", "198.51.100.1"), "198.51.100.1"),
        (("192.0.2.1", "10.0.0.2"), "192.0.2.1"),
        (("203.0.113.1", "192.0.2.1", "10.0.0.2", "10.0.0.1"), "192.0.2.1"),
        (("10.0.0.3", "10.0.0.2"), "10.0.0.3"),
        (("192.0.2.1", "rubbish", "10.0.0.1"), "rubbish"),
    ],
)
def test_the_first_from_the_right_that_is_no_proxy(told: tuple[str, ...], found: str) -> None:
    assert Trusted(("10.0.0.0/8",)).nearest(told) == found


def test_if_everybody_is_trusted_it_is_the_first() -> None:
    assert Trusted(("*",)).nearest(("a", "b", "c")) == "a"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("for=192.0.2.60", [{"for": "192.0.2.60"}]),
        (
            "for=192.0.2.60;proto=http;by=203.0.113.43",
            [{"for": "192.0.2.60", "proto": "http", "by": "203.0.113.43"}],
        ),
        ("For=192.0.2.43, for=198.51.100.17", [{"for": "192.0.2.43"}, {"for": "198.51.100.17"}]),
        ('for="[2001:db8:cafe::17]:4711"', [{"for": "[2001:db8:cafe::17]:4711"}]),
        (r'for="a\"b, c";proto=https', [{"for": 'a"b, c', "proto": "https"}]),
        (" for=a ;\tproto=b , , for=c", [{"for": "a", "proto": "b"}, {"for": "c"}]),
        ("for=a;;proto=b;", [{"for": "a", "proto": "b"}]),
        ("", []),
        # Wrong: it is as if it were not there.
        ("for=a;for=b", []),
        ("for", []),
        ("for =a", []),
        ("for=", []),
        ('for="a', []),
        ('for="a"b', []),
        ("for=[::1]", []),
        ("for=a proto=b", []),
        ("for=a\x00", []),
    ],
)
def test_the_elements_of_forwarded(text: str, found: list[dict[str, str]]) -> None:
    assert elements(text) == found


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:80", "192.0.2.1"),
        ("192.0.2.1:_p", "192.0.2.1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("unknown", "unknown"),
        ("_hidden", "_hidden"),
        ("2001:db8::1", "2001:db8::1"),
        ("192.0.2.1:123456", "192.0.2.1:123456"),
    ],
)
def test_the_address_in_a_node(text: str, address: str) -> None:
    assert node(text) == address
