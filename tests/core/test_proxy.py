"""The PROXY protocol's header: what is one, what is none, and how soon that is known."""

from __future__ import annotations

import random
import socket
import struct

import pytest

from leeward._core.proxy import MOST, RULES, VERSIONS, BadHeader, Header, read

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
BOTH = VERSIONS["any"]
SEED = 12
MUTATIONS = 20_000


def v2(command: int, family: int, block: bytes, size: int | None = None) -> bytes:
    length = len(block) if size is None else size
    return SIGNATURE + struct.pack("!BBH", command, family, length) + block


INET = socket.inet_aton("192.0.2.1") + socket.inet_aton("198.51.100.1") + struct.pack("!HH", 5, 80)
INET6 = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + socket.inet_pton(socket.AF_INET6, "::1")
    + struct.pack("!HH", 6, 443)
)
UNIX = b"/run/app.sock".ljust(108, b"\0") + b"\0" * 108
MAPPED = (
    socket.inet_pton(socket.AF_INET6, "::ffff:192.0.2.1")
    + socket.inet_pton(socket.AF_INET6, "::1")
    + struct.pack("!HH", 6, 443)
)
#: A checksum, one of nothing, and an authority.
TLVS = b"\x03\x00\x04abcd\x04\x00\x00\x02\x00\x07example"
#: The longest that the specification knows.
LONGEST = b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:f...f:ffff 65535 65535"
LONGEST = LONGEST.replace(b"...", b"fff:ffff:ffff:ffff:ffff:fff") + b"\r\n"

GOOD = {
    "v1 tcp4": (b"PROXY TCP4 192.0.2.1 198.51.100.1 5 80\r\n", ("inet", "192.0.2.1", 5)),
    "v1 ports of nought": (b"PROXY TCP4 192.0.2.1 192.0.2.2 0 0\r\n", ("inet", "192.0.2.1", 0)),
    "v1 highest ports": (
        b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        ("inet", "255.255.255.255", 65535),
    ),
    "v1 tcp6": (b"PROXY TCP6 2001:db8::1 ::1 6 443\r\n", ("inet6", "2001:db8::1", 6)),
    "v1 tcp6 mapped": (
        b"PROXY TCP6 ::ffff:192.0.2.1 ::1 6 443\r\n",
        ("inet6", "::ffff:192.0.2.1", 6),
    ),
    "v1 unknown": (b"PROXY UNKNOWN\r\n", ("", "", 0)),
    "v1 unknown, more": (b"PROXY UNKNOWN what ever\r\n", ("", "", 0)),
    "v1 longest": (LONGEST, ("", "", 0)),
    "v2 inet": (v2(0x21, 0x11, INET), ("inet", "192.0.2.1", 5)),
    "v2 inet6": (v2(0x21, 0x21, INET6), ("inet6", "2001:db8::1", 6)),
    "v2 inet6 mapped": (v2(0x21, 0x21, MAPPED), ("inet6", "::ffff:192.0.2.1", 6)),
    "v2 unix": (v2(0x21, 0x31, UNIX), ("unix", "/run/app.sock", 0)),
    "v2 unix, no path": (v2(0x21, 0x31, bytes(216)), ("unix", "", 0)),
    "v2 unix, the longest path": (v2(0x21, 0x31, b"a" * 108 + b"b" * 108), ("unix", "a" * 108, 0)),
    "v2 tlvs": (v2(0x21, 0x11, INET + TLVS), ("inet", "192.0.2.1", 5)),
    "v2 largest": (
        v2(0x21, 0x11, INET + struct.pack("!BH", 0xE0, MOST - 31) + bytes(MOST - 31)),
        ("inet", "192.0.2.1", 5),
    ),
    "v2 local": (v2(0x20, 0x00, b""), ("", "", 0)),
    "v2 local with an address": (v2(0x20, 0x11, INET), ("", "", 0)),
    "v2 local with half of one": (v2(0x20, 0x11, INET[:5]), ("", "", 0)),
    "v2 unspec": (v2(0x21, 0x00, b""), ("", "", 0)),
    "v2 unspec with rubbish": (v2(0x21, 0x00, b"rubbish"), ("", "", 0)),
    "v2 udp": (v2(0x21, 0x12, INET), ("", "", 0)),
    "v2 a family of the future": (v2(0x21, 0x41, b"abc"), ("", "", 0)),
}

BAD = {
    "http": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "proxy-missing"),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00", "proxy-missing"),
    "a nought": (b"\0", "proxy-missing"),
    "lower case": (b"proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "proxy-missing"),
    "a tab": (b"PROXY\tTCP4 192.0.2.1 192.0.2.2 1 2\r\n", "proxy-missing"),
    "a space before": (b" PROXY UNKNOWN\r\n", "proxy-missing"),
    "an empty line before": (b"\r\nPROXY UNKNOWN\r\n", "proxy-missing"),
    "two empty lines before": (b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", "proxy-missing"),
    "v1 without a protocol": (b"PROXY \r\n", "proxy-v1"),
    "v1 another protocol": (b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", "proxy-v1"),
    "v1 protocol in lower case": (b"PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n", "proxy-v1"),
    "v1 two spaces": (b"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n", "proxy-v1"),
    "v1 a space behind": (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n", "proxy-v1"),
    "v1 one port": (b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", "proxy-v1"),
    "v1 three ports": (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", "proxy-v1"),
    "v1 no ports": (b"PROXY TCP4 192.0.2.1 192.0.2.2\r\n", "proxy-v1"),
    "v1 port too high": (b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n", "proxy-v1"),
    "v1 other port too high": (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n", "proxy-v1"),
    "v1 port with a nought before": (b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n", "proxy-v1"),
    "v1 port with a sign": (b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n", "proxy-v1"),
    "v1 port in other digits": ("PROXY TCP4 192.0.2.1 192.0.2.2 ١ 2\r\n".encode(), "proxy-v1"),
    "v1 octet too high": (b"PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n", "proxy-v1"),
    "v1 octets with noughts": (b"PROXY TCP4 192.000.2.1 192.0.2.2 1 2\r\n", "proxy-v1"),
    "v1 three octets": (b"PROXY TCP4 192.0.20 192.0.2.2 1 2\r\n", "proxy-v1"),
    "v1 destination wrong": (b"PROXY TCP4 192.0.2.1 192.0.2.x 1 2\r\n", "proxy-v1"),
    "v1 destination too high": (b"PROXY TCP4 192.0.2.1 192.0.2.300 1 2\r\n", "proxy-v1"),
    "v1 a host name": (b"PROXY TCP4 localhost 192.0.2.2 1 2\r\n", "proxy-v1"),
    "v1 families mixed": (b"PROXY TCP4 ::1 ::1 1 2\r\n", "proxy-v1"),
    "v1 families mixed otherwise": (b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", "proxy-v1"),
    "v1 ipv6 with two gaps": (b"PROXY TCP6 1::2::3 ::1 1 2\r\n", "proxy-v1"),
    "v1 ipv6 with a zone": (b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", "proxy-v1"),
    "v1 ipv6 destination wrong": (b"PROXY TCP6 ::1 1:2 1 2\r\n", "proxy-v1"),
    "v1 ipv6 in brackets": (b"PROXY TCP6 [::1] [::1] 1 2\r\n", "proxy-v1"),
    "v1 LF alone": (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n", "proxy-v1"),
    "v1 CR alone": (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rGET / HTTP/1.1\r\n", "proxy-v1"),
    "v1 unknown, LF alone": (b"PROXY UNKNOWN\n", "proxy-v1"),
    "v1 unknown, CR within": (b"PROXY UNKNOWN a\rb\r\n", "proxy-v1"),
    "v1 unknown and letters": (b"PROXY UNKNOWNS\r\n", "proxy-v1"),
    "v1 a nought octet": (b"PROXY UNKNOWN \0\r\n", "proxy-v1"),
    "v1 endless": (b"PROXY UNKNOWN " + b"a" * 200, "proxy-v1"),
    "v1 108 octets": (b"PROXY UNKNOWN ".ljust(106, b"a") + b"\r\n", "proxy-v1"),
    "v1 endless digits": (b"PROXY TCP4 192.0.2.1 192.0.2.2 " + b"1" * 100, "proxy-v1"),
    "v2 another version": (SIGNATURE + b"\x11", "proxy-v2"),
    "v2 version 3": (SIGNATURE + b"\x31", "proxy-v2"),
    "v2 another command": (SIGNATURE + b"\x22", "proxy-v2"),
    "v2 inet too short": (v2(0x21, 0x11, INET[:-1]), "proxy-v2"),
    "v2 inet of nothing": (v2(0x21, 0x11, b""), "proxy-v2"),
    "v2 inet6 with inet's length": (v2(0x21, 0x21, INET), "proxy-v2"),
    "v2 unix too short": (v2(0x21, 0x31, UNIX[:-1]), "proxy-v2"),
    "v2 half a tlv": (v2(0x21, 0x11, INET + b"\x03"), "proxy-v2"),
    "v2 a tlv without its length": (v2(0x21, 0x11, INET + b"\x03\x00"), "proxy-v2"),
    "v2 a tlv beyond the end": (v2(0x21, 0x11, INET + b"\x03\x00\x05abcd"), "proxy-v2"),
    "v2 a last tlv beyond the end": (v2(0x21, 0x11, INET + TLVS + b"\x01\xff\xff"), "proxy-v2"),
    "v2 one octet too large": (v2(0x21, 0x11, INET, MOST - 15), "proxy-size"),
    "v2 largest length": (v2(0x21, 0x11, INET, 0xFFFF), "proxy-size"),
    "v2 largest length, local": (v2(0x20, 0x00, b"", 0xFFFF), "proxy-size"),
}


def rule(data: bytes, versions: tuple[int, ...] = BOTH) -> str:
    with pytest.raises(BadHeader) as found:
        read(data, versions)
    assert str(found.value) == RULES[found.value.rule]
    return found.value.rule


@pytest.mark.parametrize("name", GOOD)
def test_good_ones(name: str) -> None:
    """Taken from any data that begins so, and never before all of it is there."""
    data, told = GOOD[name]
    wanted = Header(len(data), *told)
    assert read(data, BOTH) == wanted
    assert read(data + b"GET / HTTP/1.1\r\n\r\n", BOTH) == wanted
    assert read(data + data, BOTH) == wanted
    for end in range(len(data)):
        assert read(data[:end], BOTH) is None


@pytest.mark.parametrize("name", BAD)
def test_bad_ones(name: str) -> None:
    """Refused by name, and never taken from a part of it."""
    data, wanted = BAD[name]
    assert rule(data) == wanted
    for end in range(len(data)):
        try:
            assert read(data[:end], BOTH) is None
        except BadHeader as error:
            assert error.rule == wanted


def test_a_first_wrong_octet_is_enough() -> None:
    """Nobody waits for the rest of what cannot become a header."""
    assert rule(b"G") == "proxy-missing"
    assert rule(b"PROXX") == "proxy-missing"
    assert rule(SIGNATURE[:5] + b"x") == "proxy-missing"
    assert rule(SIGNATURE + b"\x51") == "proxy-v2"
    assert rule(b"PROXY A\n") == "proxy-v1"


def test_the_other_version_is_refused_at_its_first_octet() -> None:
    assert rule(b"P", VERSIONS["v2"]) == "proxy-version"
    assert rule(b"\r", VERSIONS["v1"]) == "proxy-version"
    assert read(b"P", VERSIONS["v1"]) is None
    assert read(b"\r", VERSIONS["v2"]) is None
    assert read(b"", VERSIONS["v1"]) is None


def test_of_anything_it_says_header_more_or_no() -> None:
    """Random mutations: no other exception, lengths within the data, addresses that are some."""
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    seeds = [it for it, _ in (*GOOD.values(), *BAD.values())]
    verdicts = {"header": 0, "more": 0, "no": 0}
    for _ in range(MUTATIONS):
        data = bytearray(rng.choice(seeds)[:600])
        for _ in range(rng.randrange(4)):
            at = rng.randrange(len(data)) if data else 0
            match rng.randrange(4):
                case 0:
                    data[at : at + 1] = bytes([rng.randrange(256)])
                case 1:
                    del data[at : at + rng.randrange(4)]
                case 2:
                    data[at:at] = rng.choice(seeds)[: rng.randrange(40)]
                case _:
                    data[at : at + 2] = rng.choice(
                        [b"\r\n", b" ", b"\x21\x11", b"\0\x0c", b":", b"9"]
                    )
        try:
            found = read(bytes(data), BOTH)
        except BadHeader as error:
            assert error.rule in RULES
            verdicts["no"] += 1
            continue
        if found is None:
            verdicts["more"] += 1
            assert len(data) < MOST
            continue
        verdicts["header"] += 1
        assert 0 < found.length <= len(data)
        assert read(bytes(data[: found.length]), BOTH) == found
        assert read(bytes(data[: found.length - 1]), BOTH) is None
        if found.family.startswith("inet"):
            family = socket.AF_INET if found.family == "inet" else socket.AF_INET6
            packed = socket.inet_pton(family, found.host)
            assert socket.inet_ntop(family, packed) == found.host or family == socket.AF_INET6
            assert 0 <= found.port <= 65535
    assert min(verdicts.values()) > MUTATIONS / 50, verdicts
