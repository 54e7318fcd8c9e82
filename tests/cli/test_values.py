"""leeward.cli.values: what each kind of value accepts, and what it says when it does not."""

from __future__ import annotations

import pytest

from leeward.cli import values
from leeward.cli.values import Bad


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [
        ("30", 30.0),
        ("30s", 30.0),
        ("250ms", 0.25),
        ("2m", 120.0),
        ("1h", 3600.0),
        ("1.5", 1.5),
        (".5s", 0.5),
        (" 5 s ", 5.0),
        (30, 30.0),
        (0.25, 0.25),
        (0, 0.0),
    ],
)
def test_durations_are_seconds_unless_they_say_otherwise(raw: object, seconds: float) -> None:
    assert values.duration(raw) == seconds


@pytest.mark.parametrize(
    "raw",
    ["", "-1", "1d", "1 2", "inf", "nan", float("inf"), float("nan"), -1, True, None, [], "٣"],
)
def test_what_is_no_duration_is_told_what_one_looks_like(raw: object) -> None:
    with pytest.raises(Bad, match=r"expected a duration such as 30s, 250ms, 2m"):
        values.duration(raw)


def test_a_wait_without_end_cannot_be_had_by_zero() -> None:
    with pytest.raises(Bad, match="above 0"):
        values.positive_duration("0ms")


def test_numbers_are_whole_and_within_their_bounds() -> None:
    assert values.count("2048") == 2048
    assert values.port("0") == 0
    for raw in ("0", "-1", "1.5", 1.0, True, "x", "99999999999"):
        with pytest.raises(Bad, match="of at least 1"):
            values.count(raw)
    with pytest.raises(Bad, match="from 0 to 65535"):
        values.port("65536")


def test_workers_are_a_number_or_auto() -> None:
    assert [values.workers(raw) for raw in ("auto", "0", 0, "4", 4)] == [0, 0, 0, 4, 4]
    for raw in ("many", "-1", 257, True):
        with pytest.raises(Bad, match='1 to 256 workers or "auto"'):
            values.workers(raw)


def test_a_file_mode_is_octal_text() -> None:
    assert [values.octal(raw) for raw in ("660", "0o660", "0660")] == [0o660] * 3
    for raw in (444, 0o660, "888", "7777", "66"):
        with pytest.raises(Bad, match="octal file mode as text"):
            values.octal(raw)


def test_a_word_that_is_not_among_the_choices_gets_a_suggestion() -> None:
    choice = values.one_of("auto", "zygote", "spawn")
    assert choice("Zygote") == "zygote"
    with pytest.raises(
        Bad, match="expected auto, zygote or spawn, found 'spwan'; did you mean \"spawn\""
    ):
        choice("spwan")
    with pytest.raises(Bad, match="found 3$"):
        choice(3)


def test_addresses_are_one_or_many_and_never_twice_the_same() -> None:
    assert values.addresses("127.0.0.1:1") == ("127.0.0.1:1",)
    assert values.addresses("127.0.0.1:1, unix:/x  127.0.0.1:1") == ("127.0.0.1:1", "unix:/x")
    assert values.addresses(["[::1]:80", 8000]) == ("[::1]:80", "8000")
    for raw in ([], "", ["127.0.0.1:99999"], [1.5], "127.0.0.1:http"):
        with pytest.raises(Bad):
            values.addresses(raw)


@pytest.mark.parametrize(
    ("raw", "size"),
    [
        (0, 0),
        (1000, 1000),
        ("1000", 1000),
        ("512b", 512),
        ("256MiB", 256 * 2**20),
        ("256mib", 256 * 2**20),
        ("256M", 256 * 2**20),
        ("256 Mi", 256 * 2**20),
        ("1GB", 10**9),
        ("1.5G", 3 * 2**29),
        ("64kB", 64_000),
        ("2TiB", 2**41),
    ],
)
def test_sizes_are_bytes_binary_or_decimal_by_their_unit(raw: object, size: int) -> None:
    assert values.size(raw) == size


@pytest.mark.parametrize(
    "raw", ["", "-1", "MiB", "1 2", "1X", -1, 1.5, True, None, [], "٣", "9" * 400]
)
def test_what_is_no_size_is_told_what_one_looks_like(raw: object) -> None:
    with pytest.raises(Bad, match="expected a size such as 256MiB, 1GB"):
        values.size(raw)


def test_a_limit_of_0_is_none() -> None:
    assert [values.limit(raw) for raw in (0, "0", "1000")] == [0, 0, 1000]
    with pytest.raises(Bad, match="of at least 0"):
        values.limit("-1")


def test_a_part_is_a_number_or_so_many_per_cent() -> None:
    assert [values.part(raw) for raw in (0, "50", "10%", " 5% ")] == [0, 50, "10%", "5%"]
    for raw in ("-1", "x%", "1.5%", True, "1000%"):
        with pytest.raises(Bad, match="a part such as 10%"):
            values.part(raw)


def test_a_switch_is_on_or_off_and_nothing_else() -> None:
    for raw in (True, "true", "on", "Yes", " 1 "):
        assert values.switch(raw) is True
    for raw in (False, "false", "off", "No", "0"):
        assert values.switch(raw) is False
    for raw in ("", "2", "maybe", 1, 0, None, []):
        with pytest.raises(Bad, match="true or false"):
            values.switch(raw)


@pytest.mark.parametrize(
    ("raw", "peers"),
    [
        ("127.0.0.1", ("127.0.0.1",)),
        ("10.0.0.0/8, ::1,unix:", ("10.0.0.0/8", "::1", "unix:")),
        ("10.0.0.1 10.0.0.2  10.0.0.1", ("10.0.0.1", "10.0.0.2")),
        (["fd00::/8", "unix"], ("fd00::/8", "unix:")),
        ("*", ("*",)),
        ([], ()),
    ],
)
def test_peers_are_addresses_networks_unix_or_all(raw: object, peers: tuple[str, ...]) -> None:
    assert values.peers(raw) == peers


@pytest.mark.parametrize("raw", ["", "proxy.example", "10.0.0.1:80", "10.0.0.0/40", [1.5], "a,*"])
def test_what_is_no_peer_is_told_what_one_looks_like(raw: object) -> None:
    with pytest.raises(Bad, match=r"expected an IP address, a network such as 10\.0\.0\.0/8"):
        values.peers(raw)


def test_a_bound_of_nought_would_refuse_everything() -> None:
    assert values.positive_size("64KiB") == 65536
    with pytest.raises(Bad, match="above 0"):
        values.positive_size("0")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (1000, "1000"),
        (1024, "1KiB"),
        (100 << 20, "100MiB"),
        (1536, "1536"),
        (1 << 40, "1TiB"),
        (1 << 50, "1024TiB"),
    ],
)
def test_a_size_is_written_as_it_is_read(number: int, text: str) -> None:
    assert values.size_text(number) == text
    assert values.size(text) == number


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        ("100MB", "100000000"),
        ("64KiB", "65536"),
        (5000, "5000"),
        ("daily", "daily"),
        ("Weekly, 1G", "1073741824 weekly"),
        ("1MB hourly", "1000000 hourly"),
    ],
)
def test_a_rotation_is_a_size_a_period_or_both(raw: object, found: str) -> None:
    assert values.rotation(raw) == found


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("dayly", 'did you mean "daily"'),
        ("1MB,2MB", "a size, a period or both"),
        ("daily,hourly", "a size, a period or both"),
        ("12", "at least 1kB"),
        ("", "a size such as 100MB, a period such as daily, or both, found ''"),
        (" , ", "a size such as 100MB, a period such as daily, or both"),
        (True, "expected a size"),
        (-5, "expected a size"),
    ],
)
def test_what_is_no_rotation_is_told_what_one_looks_like(raw: object, words: str) -> None:
    with pytest.raises(Bad, match=words):
        values.rotation(raw)


def test_each_of_many_addresses_is_compared_with_few_others() -> None:
    class Counting(str):
        compared = 0
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            Counting.compared += 1
            return super().__eq__(other)

    many = [Counting(f"127.0.0.1:{port}") for port in range(1, 1001)]
    assert len(values.addresses([*many, Counting("127.0.0.1:7")])) == 1000
    assert Counting.compared < 10_000


@pytest.mark.parametrize("raw", ["0.0001ms", "0.0000001", f"0.{'0' * 400}1s"])
def test_what_would_be_rounded_to_for_ever_is_refused(raw: str) -> None:
    with pytest.raises(Bad, match=r"plain seconds, 0 or 0\.000001 to 1000000000, found '0\.0"):
        values.duration(raw)


def test_what_would_be_rounded_to_for_ever_only_almost_is_kept() -> None:
    assert (values.duration("0.001ms"), values.duration("0.0ms")) == (0.000001, 0.0)
    assert values.size("0.0") == 0
    with pytest.raises(Bad, match="expected a size"):
        values.size("0.5")


@pytest.mark.parametrize("raw", ["", (), ("",), " , "])
def test_hazards_that_are_empty_are_refused(raw: object) -> None:
    with pytest.raises(Bad, match="^expected spawn, warn, refuse or ignore:CODE, found"):
        values.hazards(raw)


@pytest.mark.parametrize("raw", ["a b", "a/b", "unix:b", "[::1]", "", "fd://3", "::g", 5])
def test_what_is_no_host_is_refused(raw: object) -> None:
    with pytest.raises(Bad, match="^expected"):
        values.host(raw)


@pytest.mark.parametrize("raw", ["127.0.0.1", "::", "::1", "fe80::1", "chat.example.org", "a_b"])
def test_a_host_is_a_name_or_an_address(raw: str) -> None:
    assert values.host(raw) == raw


@pytest.mark.parametrize(
    "parse", [values.text, values.duration, values.size, values.count, values.octal, values.host]
)
def test_a_value_is_shown_by_its_beginning(parse: values.Parser) -> None:
    with pytest.raises(Bad) as caught:
        parse("\0" + "x" * 100_000)
    assert 200 < len(str(caught.value)) < 400
    assert str(caught.value).endswith("xx…")
