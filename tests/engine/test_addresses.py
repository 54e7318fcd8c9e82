"""Whose connection it is, and how many each has."""

from __future__ import annotations

import pytest

from leeward.engine.addresses import Addresses, client_of


@pytest.mark.parametrize(
    "address, client",
    [
        (("192.0.2.1", 4711), "192.0.2.1"),
        (("::ffff:192.0.2.1", 4711, 0, 0), "192.0.2.1"),
        (("2001:db8:1:2:3:4:5:6", 4711, 0, 0), "2001:db8:1:2::"),
        (("2001:db8:1:2::9", 1, 0, 0), "2001:db8:1:2::"),
        (("fe80::1%eth0", 1, 0, 2), "fe80::"),
        ("", ""),
        (b"\0abstract", ""),
    ],
)
def test_whose_it_is(address: object, client: str) -> None:
    """An IPv4 address, an IPv6 /64, or nobody."""
    assert client_of(address) == client


def test_so_many_and_no_more() -> None:
    """What ends makes room for another."""
    one, other = ("192.0.2.1", 1), ("192.0.2.2", 1)
    counts = Addresses()
    counts.tune(2, [])
    for _ in range(2):
        assert counts.allows(one)
        counts.begins(one)
    assert not counts.allows(one) and counts.allows(other) and counts.allows("")
    counts.ends(one)
    assert counts.allows(one)
    counts.ends(one)
    assert not counts._counts


def test_counting_begins_while_it_runs() -> None:
    """A cap that is set later counts those that are there; one that is lifted counts nobody."""
    one = ("192.0.2.1", 1)
    counts = Addresses()
    counts.begins(one)
    assert counts.allows(one) and not counts._counts
    counts.tune(2, [one, one, ""])
    assert not counts.allows(one)
    counts.tune(3, [])
    assert counts.allows(one), "counted on"
    counts.tune(0, [])
    for _ in range(9):
        counts.begins(one)
    assert counts.allows(one)


def test_who_speaks_for_others_is_not_counted_by_address() -> None:
    """Its connections are welcome; whom it speaks for counts together with those who come."""
    proxy, one = ("127.0.0.1", 1), ("192.0.2.1", 1)
    counts = Addresses()
    counts.speaks = lambda address: address == proxy
    counts.tune(1, [proxy, ""])
    for _ in range(3):
        assert counts.welcomes(proxy) and counts.allows(proxy)
        counts.begins(proxy)
    assert not counts._counts
    assert counts.has_room("192.0.2.1")
    counts.enter("192.0.2.1")
    assert not counts.has_room("192.0.2.1") and not counts.allows(one)
    counts.ends(proxy)
    counts.leave("")
    counts.leave("192.0.2.1")
    assert counts.allows(one) and not counts._counts
